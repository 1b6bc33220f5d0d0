"""Sample answers and questions of a shop's help desk, for the chat demo; written for it, by hand."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

from sona_pg.config import SonaConfig
from sona_pg.engine import Store

SPACE = "demo"
DIM = 256  # of the default embedder


@cache
def helpdesk_json() -> bytes:
    """Return the answers, with the questions to teach them by and those held out, as JSON."""
    return (files("sona_pg.demo") / "helpdesk.json").read_bytes()


def helpdesk_answers() -> list[str]:
    """Return the answers; each is the id of a candidate, too."""
    told: dict[str, Any] = json.loads(helpdesk_json())
    return [row["answer"] for row in told["answers"]]


def prepare_chat(store: Store, space: str = SPACE, config: SonaConfig | None = None) -> None:
    """Open the demo's space with ``config``, made if it is missing, and store its answers; nothing is learned by that.

    Raises:
        ConfigError: extra ``text`` is not installed.
    """
    engine = store.space(space, DIM, config=config)
    answers = helpdesk_answers()
    engine.remember(answers, engine.embed(answers))
    engine.flush()
