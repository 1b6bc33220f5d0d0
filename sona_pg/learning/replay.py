"""Replay: a uniform sample of all rated trajectories, of bounded size, for cycles to read again.

Reservoir sampling (Vitter 1985); for retracted ratings, random pairing (Gemulla, Lehner and Haas 2006): later ones take
the places of removed ones, so that the sample stays uniform. Beside it, the latest corrected trajectories are a stratum
of their own, for the ranker: a uniform sample of a long history has few of them, and cycles would take them back.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.state import Arrays

MOST_CORRECTED = 1024  # corrected trajectories beside the sample
SHARE_CORRECTED = 8  # and at most one for so many of its places


def _no_ids() -> NDArray[np.uint8]:
    return np.zeros((0, 16), np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Reservoir:
    """Ids of a uniform sample of all rated trajectories so far; the store keeps the trajectories themselves."""

    capacity: int
    seen: int  # rated trajectories that it is a sample of
    ids: NDArray[np.uint8]  # (held, 16) uint8, held <= capacity
    versions: NDArray[np.int32]  # (held,) int32: each one's, that learned it first; 0 where unknown
    gone_held: int = 0  # retracted ones of the sample, not replaced yet
    gone_others: int = 0  # retracted ones outside of the sample
    turned: int = 0  # changed ratings since adapters were last learned anew (``relearning``)
    # (k, 16) uint8: the latest corrected trajectories, in or outside of the sample, by the time of their feedback
    corrected: NDArray[np.uint8] = field(default_factory=_no_ids)

    @classmethod
    def empty(cls, capacity: int) -> Self:
        """Return an empty sample."""
        return cls(capacity, 0, _no_ids(), np.zeros(0, np.int32))

    def offer(self, ids: NDArray[np.uint8], seed: int, version: int = 0) -> Self:
        """Return the sample after ``ids`` (n, 16), which ``version`` learns, were seen."""
        if self.capacity == 0:
            return dataclasses.replace(self, seen=self.seen + len(ids))
        gone = self.gone_held + self.gone_others
        first = min(gone, len(ids))
        chosen = np.zeros(first, np.bool_)
        if first:  # replacements of removed entries, as many as by chance
            places = np.random.default_rng([seed, self.seen, gone]).permutation(gone)[:first]
            chosen = places < self.gone_held
        taken = int(chosen.sum())
        paired = dataclasses.replace(
            self,
            seen=self.seen + first,
            ids=np.concatenate([self.ids, ids[:first][chosen]])[: self.capacity],
            versions=_followed_by(self.versions, taken, version)[: self.capacity],
            gone_held=self.gone_held - taken,
            gone_others=self.gone_others - first + taken,
        )
        return paired._offered(ids[first:], seed, version) if first < len(ids) else paired

    def _offered(self, ids: NDArray[np.uint8], seed: int, version: int) -> Self:
        """Return the sample after ``ids``, where nothing waits to be replaced (algorithm R)."""
        free = self.capacity - len(self.ids)
        held = np.concatenate([self.ids, ids[:free]])
        versions = _followed_by(self.versions, len(ids[:free]), version)
        order = self.seen + np.arange(len(ids))[free:]  # how many were seen before each of the rest
        places = np.random.default_rng([seed, self.seen]).integers(order + 1)
        kept = places < self.capacity
        held[places[kept]] = ids[free:][kept]  # of two that fall on one place the later stays
        versions[places[kept]] = version
        return dataclasses.replace(
            self, seen=self.seen + len(ids), ids=held, versions=versions, gone_held=0, gone_others=0
        )

    def withdraw(self, ids: NDArray[np.uint8]) -> Self:
        """Return the sample after the ratings of ``ids`` (n, 16), each offered before, were taken back."""
        seen = max(self.seen - len(ids), 0)
        if seen == 0:
            return self.empty(self.capacity)
        stay = ~np.isin(sortable(self.ids), sortable(ids))
        held = len(self.ids) - int(stay.sum())
        others = max(self.gone_others + len(ids) - held, 0)
        return dataclasses.replace(
            self,
            seen=seen,
            ids=self.ids[stay],
            versions=self.versions[stay],
            gone_held=self.gone_held + held,
            gone_others=others,
        )

    def keeping(self, standing: NDArray[np.uint8], later: NDArray[np.uint8]) -> Self:
        """Return the sample with the latest corrected trajectories.

        Args:
            standing: ids (n, 16) of the replayed ones that are corrected still.
            later: ids (m, 16) of those that are corrected since, latest last.
        """
        places = {id_.tobytes(): place for place, id_ in enumerate(self.corrected)}
        # Of the sample there may be others: earlier ones, or all of them after a version that knew no stratum.
        order = sorted(range(len(standing)), key=lambda row: places.get(standing[row].tobytes(), -1))
        ids = np.concatenate([standing[order], later])
        most = min(MOST_CORRECTED, self.capacity // SHARE_CORRECTED)
        return dataclasses.replace(self, corrected=ids[max(len(ids) - most, 0) :])

    @property
    def replayed(self) -> NDArray[np.uint8]:
        """Ids (n, 16) of the sample, then of the corrected trajectories outside of it."""
        outside = ~self.sampled(self.corrected)
        return np.concatenate([self.ids, self.corrected[outside]]) if outside.any() else self.ids

    def sampled(self, ids: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return (n,) which of ``ids`` (n, 16) are in the uniform sample."""
        return np.isin(sortable(ids), sortable(self.ids))

    @property
    def is_stratified(self) -> bool:
        """Whether corrected trajectories stand for fewer others than the rest of the sample."""
        return bool(len(self.corrected)) and self.seen > len(self.ids)

    def weights(self, ids: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return (n,) how many trajectories each of the replayed ``ids`` (n, 16) stands for."""
        rest = int(np.count_nonzero(~np.isin(sortable(self.ids), sortable(self.corrected))))
        each = max(self.seen - len(self.corrected), rest) / max(rest, 1)
        return np.where(np.isin(sortable(ids), sortable(self.corrected)), 1.0, each).astype(np.float32)

    def learned_in(self, ids: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Return the versions (n,) that learned ``ids`` (n, 16) first; of those not held, that of the id before.

        Ids begin with the time, so that it was learned at about the same time, and rather later: as an earlier event it
        counts for no more than it is.
        """
        if not len(self.ids):
            return np.zeros(len(ids), np.int32)
        held = sortable(self.ids)
        order = np.argsort(held, kind="stable")
        places = np.searchsorted(held[order], sortable(ids), side="right") - 1
        return self.versions[order[np.maximum(places, 0)]]

    def after_turning(self, turned: int) -> Self:
        """Return the sample with a count of ratings changed since adapters were learned anew; 0 if it is empty."""
        return dataclasses.replace(self, turned=turned if self.seen else 0)

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the sample as named arrays."""
        corrected = {"corrected": self.corrected} if len(self.corrected) else {}
        return {
            **corrected,
            "ids": self.ids,
            "versions": self.versions,
            "seen": np.array(self.seen),
            "capacity": np.array(self.capacity),
            "gone": np.array([self.gone_held, self.gone_others]),
            "turned": np.array(self.turned),
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, capacity: int) -> Self:
        """Restore from ``to_arrays``; a smaller capacity keeps the first entries."""
        ids = np.array(arrays["ids"], np.uint8).reshape(-1, 16)
        gone = [int(count) for count in arrays["gone"]] if "gone" in arrays else [0, 0]
        turned = int(arrays["turned"]) if "turned" in arrays else 0
        versions = np.array(arrays["versions"] if "versions" in arrays else np.zeros(len(ids)), np.int32)
        corrected = np.array(arrays["corrected"], np.uint8).reshape(-1, 16) if "corrected" in arrays else _no_ids()
        seen = int(arrays["seen"])
        return cls(capacity, seen, ids[:capacity], versions[:capacity], gone[0], gone[1], turned, corrected)


def _followed_by(versions: NDArray[np.int32], count: int, version: int) -> NDArray[np.int32]:
    return np.concatenate([versions, np.full(count, version, np.int32)])


def sortable(ids: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """Return ``ids`` (n, 16) as (n,) byte strings, whose order is that of the ids."""
    return np.ascontiguousarray(ids).view("S16").reshape(-1)
