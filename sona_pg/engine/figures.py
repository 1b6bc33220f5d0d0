"""Figures of a space and of this server, for ``SonaEngine.metrics`` and ``get_stats``.

The database's counters are cached, and all others are in memory, so that a health check takes microseconds. While
callers read figures, the follower's polls keep the cache current.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, NamedTuple

from sona_pg.errors import DatabaseError
from sona_pg.serving.served_version import ServedVersion

if TYPE_CHECKING:
    from sona_pg.engine.current_space import CurrentSpace

WAITING_FOR = 60.0  # seconds for which the count of feedback without a trajectory is cached
SILENT_FOR = 5.0  # seconds beyond a poll until a silent database counts as away, and is not asked for figures
ASKED_FOR = 30.0  # seconds after a read for which the follower keeps the figures current
LATE = 1.0  # seconds that the follower may be late, before the database is asked directly

AGE = "version_age_seconds"


class _Heard(NamedTuple):
    """Cached figures of the database."""

    at: float  # monotonic seconds
    figures: dict[str, Any]
    text: str  # the same as members of a JSON object


class _ToldVersion(NamedTuple):
    """Description of a version, without its age."""

    serving: ServedVersion
    figures: dict[str, Any]  # members with the age at its place
    before: str  # the members before the age, as JSON
    after: str


class Figures:
    """Reads the figures of a session, and caches the expensive ones."""

    def __init__(self, session: CurrentSpace) -> None:
        """Start with an empty cache."""
        self._session = session
        self._waiting: tuple[float, dict[str, Any] | None] = (0.0, None)
        self._heard: _Heard | None = None
        self._asked = -ASKED_FOR  # monotonic seconds
        self._version: _ToldVersion | None = None

    def read(self, *, fresh: bool) -> dict[str, Any]:
        """Return the figures of the space and this server, as JSON-ready values.

        Args:
            fresh: ask the database now; otherwise its last answer, about a poll old, is used.
        """
        return {**self.of_process(), **self._of_database(fresh).figures}

    def of_process(self) -> dict[str, Any]:
        """Return the figures of ``read`` that need no database."""
        known = self._of_version()
        return {
            "space": self._session.space_name,
            "dim": self._session.hot.dim,
            **known.figures,
            AGE: known.serving.age,
            **self._of_server(),
        }

    def text(self, *, fresh: bool) -> str:
        """Return ``read`` as JSON, indented by 2."""
        known, session = self._of_version(), self._session
        members = [
            f'  "space": {encode_basestring_ascii(session.space_name)}',
            f'  "dim": {session.hot.dim}',
            known.before,
            f'  "{AGE}": {known.serving.age!r}',
            known.after,
            _members(self._of_server(), "  "),
            self._of_database(fresh).text,
        ]
        return "{\n" + ",\n".join(members) + "\n}"

    @property
    def are_asked(self) -> bool:
        """Whether figures were read lately."""
        return time.monotonic() < self._asked + ASKED_FOR

    def keep_up(self) -> None:
        """Ask the database again, if figures were read lately; called on the follower's thread."""
        if self.are_asked:
            self._ask()

    def forget(self) -> None:
        """Invalidate the cache: this server has just changed the counted rows."""
        self._heard = None

    def _of_version(self) -> _ToldVersion:
        """Return the figures of the served version; its norms are computed once."""
        serving, known = self._session.held.serving, self._version
        if known is None or known.serving is not serving:
            described = serving.described()
            names = list(described)
            place = names.index(AGE)
            before, after = (
                _members({name: described[name] for name in part}, "  ") for part in (names[:place], names[place + 1 :])
            )
            known = self._version = _ToldVersion(serving, described, before, after)
        return known

    def _of_server(self) -> dict[str, Any]:
        session = self._session
        hot, held, skew, written = session.hot, session.held, session.member.skew_ms, session.writer.stats()
        return {
            "refused_version": None if held.refused is None else str(held.refused.reason),
            "adapters": held.adapters,
            "server": {
                "id": str(session.server_id),
                "recorded": hot.recorded_count,
                "dropped": hot.dropped_count,
                "abandoned": hot.abandoned_count,
                "waiting": hot.waiting,
                "instant_updates": held.instant.metrics().updates,
                "automatic": session.config.loops.automatic,
                "failed_cycles": session.failures,
                "clock_skew_ms": None if skew is None else round(skew, 3),
                "standby": session.database.reads.state,
                "writer": {known.name: _as_json(getattr(written, known.name)) for known in fields(written)},
            },
        }

    def _of_database(self, fresh: bool) -> _Heard:
        now, heard = time.monotonic(), self._heard
        problem = self._session.silence(SILENT_FOR)
        if problem is not None:
            return _heard({"database": problem})
        if fresh:
            return self._ask()
        self._asked = now
        self._session.attend()
        if heard is not None and now - heard.at <= self._session.poll_interval + LATE:
            return heard
        return self._ask()

    def _ask(self) -> _Heard:
        session = self._session
        try:
            heard = _heard(
                {
                    "totals": session.database.totals(session.space),
                    "waiting_feedback": {name: _as_json(value) for name, value in self._waiting_feedback().items()},
                    "database": "answers",
                }
            )
        except DatabaseError as exc:
            return _heard({"database": str(exc)})
        self._heard = heard
        return heard

    def _waiting_feedback(self) -> dict[str, Any]:
        """Return the figures of feedback without a trajectory, at most a minute old, because they need a scan."""
        asked, known = self._waiting
        if known is None or time.monotonic() - asked > WAITING_FOR:
            known = self._session.database.waiting_feedback(self._session.space)
            self._waiting = (time.monotonic(), known)
        return known


def _heard(figures: dict[str, Any]) -> _Heard:
    return _Heard(time.monotonic(), figures, _members(figures, "  "))


def _as_json(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _members(values: Mapping[str, Any], indent: str) -> str:
    """Return the members of a JSON object, a line each: ``json.dumps(…, indent=2)`` takes ten times as long."""
    return ",\n".join(
        f"{indent}{encode_basestring_ascii(name)}: {_value(value, indent)}" for name, value in values.items()
    )


def _value(value: Any, indent: str) -> str:
    kind = type(value)
    if kind is str:
        return encode_basestring_ascii(value)
    if kind is int:
        return repr(value)
    if value is None:
        return "null"
    if kind is dict:
        return f"{{\n{_members(value, indent + '  ')}\n{indent}}}" if value else "{}"
    return json.dumps(value, default=str)
