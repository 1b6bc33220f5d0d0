"""The names of candidates that come together: checked once, numbered by a hash, and kept by the store."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from sona_pg.errors import InvalidValue
from sona_pg.limits import LONGEST_ID

KEPT_SETS = 64  # that a server remembers at a time
TELL_AGAIN = 86_400.0  # seconds: the store notes to the day when a set was named last, and retention goes by it

KeepSet = Callable[[int, tuple[str, ...]], bool]  # False: there is no room, tell it again


class Named(NamedTuple):
    """A set of ids."""

    ids: tuple[str, ...]
    key: int  # a hash of the ids, the same in whatever order they come
    stored: bool  # whether the store has it, or will before any record that names it from now on
    until: float = 0.0  # monotonic seconds after which the store is to be told of it again

    @property
    def number(self) -> int | None:
        """Number by which a record names the set; None if the set could not be stored for lack of room."""
        return self.key if self.stored else None


class NamedSets:
    """Numbers sets of ids; tells ``keep`` of each that it has not met lately. Safe from many threads."""

    def __init__(self, what: str, keep: KeepSet) -> None:
        """Start without sets; ``what`` an id is called in errors."""
        self._what = what
        self._keep = keep
        self._told: dict[tuple[str, ...], tuple[int, float]] = {}  # key, monotonic seconds

    def number(self, ids: Iterable[str]) -> Named:
        """Return the set of these ids.

        Raises:
            InvalidValue: there is none, one comes twice, or one cannot be an id.
        """
        if isinstance(ids, str):
            raise InvalidValue(f"{ids!r} is one text: expected a list of {self._what}s")
        names = tuple(ids)
        try:
            known = self._told.get(names)
        except TypeError:  # an id that cannot be hashed is none, and the check says so
            known = None
        now = time.monotonic()
        if known is not None and now < known[1] + TELL_AGAIN:
            return Named(names, known[0], stored=True, until=known[1] + TELL_AGAIN)
        check_ids(self._what, names)
        key = _hashed(names)
        if not self._keep(key, names):
            return Named(names, key, stored=known is not None)
        if len(self._told) >= KEPT_SETS:
            self._told.clear()
        self._told[names] = (key, now)
        return Named(names, key, stored=True, until=now + TELL_AGAIN)


def check_ids(what: str, given: Sequence[str]) -> tuple[str, ...]:
    """Return ``given`` as a tuple; InvalidValue unless they are one or more texts that can be ids, each once."""
    if isinstance(given, str):
        raise InvalidValue(f"{given!r} is one text: expected a list of {what}s")
    names = tuple(given)
    for name in names:
        if not _is_id(name):
            raise InvalidValue(f"{what} {name!r} cannot be used: expected text of 1 to {LONGEST_ID} bytes")
    if not names:
        raise InvalidValue(f"there is no {what}: expected one or more, each once")
    if len(set(names)) != len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise InvalidValue(f"{what} {twice!r} is given more than once: expected one or more, each once")
    return names


def _is_id(name: object) -> bool:
    try:
        if not isinstance(name, str) or "\0" in name:
            return False
        return 1 <= (len(name) if name.isascii() else len(name.encode())) <= LONGEST_ID
    except UnicodeEncodeError:
        return False  # half of a surrogate pair, which UTF-8 cannot hold


def _hashed(names: tuple[str, ...]) -> int:
    digest = hashlib.blake2b("\0".join(sorted(names)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) or 1
