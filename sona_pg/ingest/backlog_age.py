"""Age of the oldest record that is not committed, without a time for each record."""

from __future__ import annotations


class BacklogAge:
    """Upper bound of the age, from two moments: one before the oldest record came, and a later mark.

    A record knows no time of acceptance that this machine's monotonic clock could compare. So the number of accepted
    records is marked now and then, and a mark that is committed moves the bound up to its moment.
    """

    __slots__ = ("_is_empty", "_looks", "_mark", "_marked_at", "_since")

    def __init__(self, now: float, looks: float) -> None:
        """Begin at ``now`` without records; new ones are looked for every ``looks`` seconds."""
        self._looks = looks
        self._since = now  # everything accepted until then is committed
        self._mark, self._marked_at = 0, now
        self._is_empty = True  # at the last note

    def note(self, recorded: int, done: int, now: float) -> float:
        """Note how many records are accepted and committed; return the oldest's age, at most."""
        if done >= recorded:
            self._is_empty, self._since = True, now
            return 0.0
        if self._is_empty:  # the first record has come since the last look
            self._since = max(self._since, now - self._looks)
            self._mark, self._marked_at, self._is_empty = recorded, now, False
        elif done >= self._mark:
            self._since = self._marked_at
            self._mark, self._marked_at = recorded, now
        return now - self._since
