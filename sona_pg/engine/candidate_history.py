"""Candidates that each version could answer with: those that were stored when it was made, and not retired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Self

from sona_pg.engine.session import Session
from sona_pg.serving.past_answers import Contenders
from sona_pg.store.candidate_times import Lifetime

LISTED = 200  # newest versions whose times are read
ALWAYS = datetime.min.replace(tzinfo=UTC)


class CandidateHistory(NamedTuple):
    """Times of versions and of candidates, by the clock of the database."""

    made: Sequence[tuple[int, datetime]]  # ascending versions; version 0 with the first records
    stored: Mapping[str, datetime]
    lifetimes: Mapping[str, Lifetime]

    @classmethod
    def read(cls, session: Session, ids: Sequence[str]) -> Self:
        """Read when the versions were made, and when the candidates ``ids`` were stored."""
        times = session.pages.overview.candidate_times(session.space, ids)
        listed = session.pages.versions.listing(session.space, LISTED)
        made = sorted((one.version, one.created_at) for one in listed if one.status != "candidate")
        starts = [at for at in (times.first_batch, made[0][1] if made else None) if at is not None]
        if starts:  # else nothing is recorded yet: version 0 has all there are
            made.insert(0, (0, min(starts)))
        stored = {name: one.stored or ALWAYS for name, one in times.lifetimes.items()}
        return cls(made, stored, times.lifetimes)

    def when_made(self, version: int, among: Contenders) -> Contenders:
        """Return the candidates of ``among`` that were stored, and not retired, when a version was made."""
        until = next((at for known, at in self.made if known >= version), None)
        there = [place for place, name in enumerate(among.ids) if self._was_there(name, until)]
        return Contenders([among.ids[place] for place in there], among.embeddings[there], among.slots[there])

    def _was_there(self, name: str, until: datetime | None) -> bool:
        lifetime = self.lifetimes.get(name)
        if lifetime is None:  # it is being committed
            return not self.made
        return (until is None or self.stored[name] <= until) and not lifetime.is_retired(until)

    def added(self, name: str) -> int | None:
        """Return the first version that was made with a candidate; None: none was yet."""
        if not self.made:
            return 0
        at = self.stored.get(name)
        return None if at is None else next((version for version, until in self.made if at <= until), None)
