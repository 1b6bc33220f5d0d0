"""MCP server: recall, remember and feedback as tools of an agent (extra ``mcp``; ``sona-pg mcp``)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any, TypeVar

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

from sona_pg._version import __version__
from sona_pg.engine import SonaEngine
from sona_pg.errors import SonaError
from sona_pg.integrations.text_candidates import find_texts, remember_texts
from sona_pg.limits import LONGEST_ID, LONGEST_QUERY

INSTRUCTIONS = """
Long-term memory that learns. Call recall before answering, remember for what will matter later, and feedback once you
know whether what was recalled helped: later recalls are better for it.
"""
SOURCE = "mcp"  # of feedback

R = TypeVar("R")
Text = Annotated[str, Field(min_length=1, max_length=LONGEST_QUERY)]
Id = Annotated[str, Field(min_length=1, max_length=LONGEST_ID)]


class RecalledText(BaseModel):
    """One remembered text."""

    id: str
    text: str
    score: float


class Recollection(BaseModel):
    """Remembered texts, best first, and the trajectory that feedback names."""

    memories: list[RecalledText]
    trajectory: str | None


class MemoryId(BaseModel):
    """The id of a remembered text."""

    id: str


class FactTaken(BaseModel):
    """The sequence number of a fact of feedback."""

    sequence: int


def memory_server(engine: SonaEngine) -> MCPServer:
    """Return a server with the tools over the space of ``engine``; ``server.run("stdio")`` serves one client."""
    server: MCPServer = MCPServer("sona-pg", instructions=INSTRUCTIONS.strip(), version=__version__)

    @server.tool()
    @_told
    def recall(query: Text, k: Annotated[int, Field(ge=1, le=100)] = 5) -> Recollection:
        """Find what was remembered that answers the query, best first, with the parts around a match in its group."""
        shown, trajectory = find_texts(engine, query, k, neighbours=True)
        memories = [RecalledText(id=one.stored.id, text=one.text, score=round(one.score, 6)) for one in shown]
        return Recollection(memories=memories, trajectory=None if trajectory is None else str(trajectory))

    @server.tool()
    @_told
    def remember(text: Text, id: Id | None = None, group: Id | None = None) -> MemoryId:
        """Remember a text. A known id gets the new text; a group is a conversation or document, in order."""
        key = id or hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        remember_texts(engine, {key: {"text": text}}, group=group)
        return MemoryId(id=key)

    @server.tool()
    @_told
    def feedback(
        trajectory: str,
        quality: Annotated[float, Field(ge=0, le=1)] | None = None,
        correction: Id | None = None,
    ) -> FactTaken:
        """Say how good the first memory of a recall was (1: right, 0: useless), or give the id of the right one."""
        if quality is None and correction is None:
            raise ToolError("say quality, or correction")
        return FactTaken(sequence=engine.feedback(trajectory, quality, correction=correction, source=SOURCE))

    return server


def _told(tool: Callable[..., R]) -> Callable[..., R]:
    """Have the errors of the engine told to the model, which may do better then."""

    @wraps(tool)
    def told(*args: Any, **kwargs: Any) -> R:
        try:
            return tool(*args, **kwargs)
        except SonaError as exc:
            raise ToolError(str(exc)) from exc

    return told
