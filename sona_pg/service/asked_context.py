"""Questions with what came before them, as texts or vectors."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sona_pg.limits import LONGEST_QUERY
from sona_pg.service.operations import Call
from sona_pg.service.wire_vectors import Asked, WireMatrix, embedded, matrix_of

MOST_CONTEXT = 64  # the engine looks at no more
Text = Annotated[str, Field(min_length=1, max_length=LONGEST_QUERY)]


class AskedInContext(Asked):
    """A question, and what it was said after."""

    context: Annotated[list[Text], Field(max_length=MOST_CONTEXT)] = Field(default_factory=list)  # the latest last
    context_vectors: Annotated[WireMatrix, Field(max_length=MOST_CONTEXT)] | None = None


async def context_of(call: Call[Any], body: AskedInContext, dim: int) -> list[NDArray[np.float32]]:
    """Return the embeddings of the context of a call's ``body``, vectors before texts."""
    context: list[NDArray[np.float32]] = []
    if body.context_vectors is not None:
        context += list(matrix_of(body.context_vectors, dim, "/context_vectors"))
    if body.context:
        context += list(await embedded(call, body.context, "/context"))
    return context
