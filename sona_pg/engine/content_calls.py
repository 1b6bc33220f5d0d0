"""Calls about the contents of candidates: the texts and documents behind their ids."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sona_pg.domain.content import StoredContent
from sona_pg.engine.lifetime import EngineLifetime
from sona_pg.errors import InvalidValue
from sona_pg.limits import LONGEST_CONTENT, LONGEST_ID, MOST_FOUND
from sona_pg.serving.arguments import require_count


class ContentCalls(EngineLifetime):
    """Calls that wait for the database, a millisecond or two, at most ten seconds."""

    def keep_contents(self, contents: Mapping[str, Mapping[str, Any]]) -> None:
        """Store the content of each candidate by its id, as JSON; a known id gets the new one.

        ``rank`` and ``recall`` return ids, ``contents`` the text or document behind them. An id needs no embedding
        to have a content. Committed when this returns.

        Raises:
            InvalidValue: an id or a content cannot be stored, or the space would have more than a million.
            DatabaseUnavailable: Postgres does not answer.
        """
        if not isinstance(contents, Mapping):
            raise InvalidValue(f"contents is of type {type(contents).__name__}, expected {{id: {{…}}, …}}")
        for id_, content in contents.items():
            _require_id(id_)
            require_content(id_, content)
        if contents:
            self._session.require_database()
            self._session.database.contents.keep(self._session.space, contents)

    def contents(self, ids: Sequence[str]) -> list[StoredContent]:
        """Return the contents of ``ids``, in their order; those without one are left out.

        Raises:
            DatabaseUnavailable: Postgres does not answer.
        """
        wanted = _as_ids(ids)
        self._session.require_database()
        return self._session.database.contents.read(self._session.space, wanted)

    def find_contents(
        self,
        prefix: str = "",
        *,
        containing: Mapping[str, Any] | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[StoredContent]:
        """Return contents whose id begins with ``prefix``, the latest first.

        Args:
            prefix: beginning of the ids; by default all.
            containing: JSON that they contain (``@>`` of Postgres): ``{"kind": "note"}``.
            limit: how many at most.
            offset: how many to leave out before them.

        Raises:
            InvalidValue: an argument is invalid.
            DatabaseUnavailable: Postgres does not answer.
        """
        _require_prefix(prefix)
        containing = {} if containing is None else containing
        require_content("containing", containing)
        limit, offset = require_count(limit, most=MOST_FOUND, what="limit"), require_count(offset, 0, what="offset")
        self._session.require_database()
        return self._session.database.contents.find(self._session.space, prefix, containing, limit, offset)

    def content_ids(self, prefix: str = "") -> list[str]:
        """Return all ids that have a content and begin with ``prefix``, sorted by their bytes."""
        _require_prefix(prefix)
        self._session.require_database()
        return self._session.database.contents.ids(self._session.space, prefix)

    def drop_contents(self, ids: Sequence[str]) -> int:
        """Delete the contents of ``ids``; return how many there were. The candidates stay, and what was learned."""
        wanted = _as_ids(ids)
        self._session.require_database()
        return self._session.database.contents.drop(self._session.space, wanted)


def _as_ids(ids: Sequence[str]) -> list[str]:
    if isinstance(ids, str):
        raise InvalidValue(f"ids={ids!r:.60} is one text: expected a list of ids")
    wanted = list(ids)
    for id_ in wanted:
        _require_id(id_)
    return wanted


def _require_id(id_: object) -> None:
    if not isinstance(id_, str) or not id_ or "\0" in id_ or len(id_.encode("utf-8", "surrogatepass")) > LONGEST_ID:
        raise InvalidValue(f"id {id_!r:.60} cannot be used: expected 1 to {LONGEST_ID} bytes of text without NUL")
    _require_characters("id", id_)


def _require_prefix(prefix: object) -> None:
    if prefix != "":
        _require_id(prefix)


def require_content(id_: str, content: object) -> None:
    """Refuse a content that cannot be stored.

    Raises:
        InvalidValue: it is no dictionary, not JSON, too long, or has characters that Postgres cannot store.
    """
    if not isinstance(content, Mapping):
        raise InvalidValue(f"content of {id_!r:.60} is of type {type(content).__name__}, expected a dictionary")
    try:
        told = json.dumps(content, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidValue(f"content of {id_!r:.60} is not JSON: {exc}") from exc
    if len(told) > LONGEST_CONTENT:
        raise InvalidValue(f"content of {id_!r:.60} has {len(told)} bytes of JSON: expected at most {LONGEST_CONTENT}")
    if "\\u0000" in told.replace("\\\\", ""):
        raise InvalidValue(f"content of {id_!r:.60} has a NUL character, which Postgres cannot store")
    if "\\ud" in told:
        _require_characters("content", json.dumps(content, ensure_ascii=False))


def _require_characters(what: str, told: str) -> None:
    try:
        told.encode()
    except UnicodeEncodeError as exc:
        raise InvalidValue(f"{what} has half of a surrogate pair, which is no text: {exc}") from exc
