"""Recent evidence from the ledger: what other servers have committed, and what a version has learned."""

from __future__ import annotations

from collections.abc import Callable

from sona_pg.domain.space import Space
from sona_pg.serving.recent_evidence import RecentEvidence, Settled
from sona_pg.store.copying import as_ids
from sona_pg.store.database import Database

_UNKNOWN = -1  # number of no batch
MOST_NOTED = 512  # batches that were announced and not read yet; of more, all that wait are looked through


class EvidenceFeed:
    """Feeds the recent evidence of one space; one thread at a time reads."""

    def __init__(self, database: Callable[[], Database], evidence: RecentEvidence) -> None:
        """Feed ``evidence``."""
        self._database = database
        self._evidence = evidence
        self._noted: dict[int, None] = {}  # batches that were announced; changed by single operations
        self._read: set[int] = set()  # of those that wait, the ones that were read or are without a judgement
        self._newest: int | None = None  # batch that waited at the last look at all of them

    @property
    def is_wanted(self) -> bool:
        """Whether this process weighs recent evidence at all."""
        return self._evidence.most > 0

    @property
    def has_news(self) -> bool:
        """Whether batches were announced that are not read yet."""
        return bool(self._noted)

    def note(self, batch: int) -> None:
        """Note that a batch was committed in which something is judged."""
        if self.is_wanted:
            self._noted[batch] = None

    def keep_up(self, space: Space, version: int, newest: int | None) -> None:
        """Read announced batches beside ``version``; all that wait if ``newest`` was neither read nor announced."""
        if not self.is_wanted:
            return
        self._evidence.gather()
        noted = list(self._noted)
        missed = newest is not None and newest != self._newest and newest not in self._read and newest not in noted
        if missed or len(noted) > MOST_NOTED:
            waiting = self._database().waiting_batches(space).batches
            noted = [batch for batch in waiting if batch not in self._read]
            self._read.intersection_update(waiting)
            self._newest = newest if newest != _UNKNOWN else self._newest
        if noted:
            self._evidence.hear(self._database().judged(space, version, noted, self._evidence.most))
        for batch in list(self._noted):
            if batch in self._read or batch in noted:
                self._noted.pop(batch, None)
        self._read.update(noted)
        if len(self._read) > 4 * MOST_NOTED:
            self._read = set(noted)

    def look(self, space: Space, version: int) -> None:
        """Read all that waits and was not read yet."""
        self.keep_up(space, version, _UNKNOWN)

    def leave_to(self, space: Space, version: int, all_written: Callable[[], bool], erased: bool) -> None:
        """Let go of what ``version`` has learned, and take up what it has not, once it is served.

        ``all_written`` tells whether nothing is on its way: what is known here and the ledger lacks was refused then.
        ``erased`` tells whether records were erased: what the ledger lacks then goes at once, shown answers too. Of
        these, one that was merely on its way comes back with the batch that it or its feedback is in.
        """
        if not self.is_wanted:
            return
        database, evidence = self._database(), self._evidence
        if erased:
            evidence.drop(database.missing_of(space, as_ids(evidence.ids())))
        known, committed = evidence.known(), evidence.known(committed=True)
        refused = known if all_written() else {}
        noted = list(self._noted)
        live, waiting = database.waiting_batches(space)
        # If nothing waits beside the live version, it has learned all that is committed: that is not read again.
        learned = committed if live == version and not waiting else {}
        asked = [trajectory for trajectory in known if trajectory not in learned]
        read = database.judged(space, version, waiting, evidence.most, as_ids(asked))
        refused = {trajectory: facts for trajectory, facts in refused.items() if trajectory not in learned}
        evidence.leave_to(Settled(version, read, refused, learned))
        for batch in noted:  # those that do not wait were committed, too: the live version has learned them
            if live == version or batch in waiting:
                self._noted.pop(batch, None)
        self._read = set(waiting)
