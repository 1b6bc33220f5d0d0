"""Administrative acts: who changed what in a store or a space."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

ActKind = Literal[
    "space created", "space renamed", "space removed", "space unarchived", "settings changed", "budget set",
    "retention set", "key created", "key revoked", "version promoted", "version rolled back", "version loaded",
    "user erased", "weeks dropped", "facts expired", "roles installed", "login granted", "login revoked",
    "store restored", "store distributed",
]  # fmt: skip
WHOLE_STORE = 0  # as a space's number: an act about no single space, or about one that is removed

_actor: ContextVar[str | None] = ContextVar("sona_pg_actor", default=None)


@dataclass(frozen=True, slots=True)
class Act:
    """One administrative act, as it was recorded in the transaction that did it."""

    at: datetime  # by the database's clock
    act: ActKind
    space: str | None  # its name now; None: of the whole store
    login: str  # of the database
    actor: str  # who asked: an API key, or a user of a machine
    details: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON and tables."""
        return {
            "at": self.at, "act": self.act, "space": self.space, "login": self.login, "actor": self.actor,
            "details": self.details,
        }  # fmt: skip


@contextmanager
def acting_as(actor: str) -> Iterator[None]:
    """Record the acts of a block as those of ``actor``; without it they are this process's user's."""
    token = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(token)


def current_actor() -> str:
    """Return who acts: the actor of the block, else the user and the machine of this process."""
    actor = _actor.get()
    if actor is not None:
        return actor
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
