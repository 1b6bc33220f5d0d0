"""Candidate sets by their ids: checked once, numbered by a hash, and stored."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from sona_pg.errors import InvalidValue
from sona_pg.limits import LARGEST_TABLE, LONGEST_ID
from sona_pg.serving.recently_used import RecentlyUsed

KEPT_SETS = 64  # sets in a server's cache
NAMED_SETS = 256  # whose ids a server can tell
TELL_AGAIN = 86_400.0  # seconds: the store records the last use of a set to the day, for retention

KeepSet = Callable[[int, tuple[str, ...]], bool]  # returns False if there is no room; call it again


class Named(NamedTuple):
    """A set of ids."""

    ids: tuple[str, ...]
    key: int  # hash of the ids, independent of their order
    stored: bool  # whether it is stored, or will be before any later record that names it
    until: float = 0.0  # monotonic seconds after which it is reported to the store again

    @property
    def number(self) -> int | None:
        """Number of the set in records; None if there was no room to store it."""
        return self.key if self.stored else None


class NamedSets:
    """Numbers sets of ids; passes new and long unused ones to ``keep``. Thread-safe."""

    def __init__(self, what: str, keep: KeepSet) -> None:
        """Start without sets; ``what`` is the name of an id in errors."""
        self._what = what
        self._keep = keep
        self._told: RecentlyUsed[tuple[str, ...], tuple[int, float]] = RecentlyUsed(KEPT_SETS)  # key, monotonic seconds
        self._named: OrderedDict[int, tuple[str, ...]] = OrderedDict()  # as they are stored, by number

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
        # A larger set is learned as if it were all candidates. Its ids would only take room: 4 MB each time that a
        # candidate was added to a hundred thousand which are ranked.
        stored = names if len(names) <= LARGEST_TABLE else ()
        if not self._keep(key, stored):
            return Named(names, key, stored=known is not None)
        self._named.pop(key, None)  # the latest are last; another thread may drop the oldest at any moment
        self._named[key] = stored
        while len(self._named) > NAMED_SETS:
            self._named.popitem(last=False)
        self._told.put(names, (key, now))
        return Named(names, key, stored=True, until=now + TELL_AGAIN)

    def ids_of(self, number: int) -> tuple[str, ...] | None:
        """Return the ids of a set that was named lately, none of them for a large set; None if it was not."""
        return self._named.get(number)


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
