"""Logins of the database that sona-pg has given rights to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Capability = Literal["reader", "recorder", "learner", "admin"]
CAPABILITIES: tuple[Capability, ...] = (
    "reader",
    "recorder",
    "learner",
    "admin",
)  # each may do what those before it may


@dataclass(frozen=True, slots=True)
class Login:
    """A login, what it may do, and the space it sees."""

    name: str
    capability: Capability | None  # None: rights that were granted by hand
    space: str | None  # None: every space
    password: str | None = None  # only of a login that was just made


@dataclass(frozen=True, slots=True)
class Guarded:
    """The result of turning row-level security on."""

    prefix: str  # of the group roles
    made_groups: tuple[str, ...]
    guarded: int  # tables on which row-level security was turned on now
    kept: tuple[str, ...]  # logins with rights of their own, which go on seeing every space
