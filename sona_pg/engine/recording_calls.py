"""Feedback and flush: the recording calls outside of the compiled hot path."""

from __future__ import annotations

from uuid import UUID

from sona_pg.engine.shared_trajectories import SharedCalls
from sona_pg.recorder import Trajectory
from sona_pg.serving.arguments import as_uuid


class RecordingCalls(SharedCalls):
    """Calls that record facts, and that wait for commits."""

    def feedback(
        self,
        trajectory: UUID | str | Trajectory,
        quality: float | None = None,
        *,
        source: str | None = None,
        correction: str | None = None,
        retract: bool = False,
        sequence: int | None = None,
        cost: float | None = None,
    ) -> int:
        """Record a fact about a trajectory: its quality, a correction, or its real cost.

        Facts may come from any server, before their trajectory, weeks later, or repeatedly. The latest fact of each
        source counts, and the mean over sources replaces the quality given at the end.

        Args:
            trajectory: its id, or its handle.
            quality: in [0, 1].
            source: name of the source, such as ``user`` or ``judge``; by default ``user``, of a cost alone ``cost``.
            correction: the id of the candidate that would have been right.
            retract: take back the earlier facts of this source.
            sequence: for callers that may send the same fact twice; by default the time.
            cost: in the unit of the costs and budgets of ``route``; the last one told of a trajectory counts.

        Returns:
            The fact's sequence number.
        """
        if source is None:
            source = "cost" if quality is None and correction is None and not retract else "user"
        return self.record_feedback(
            as_uuid(trajectory), quality=quality, correction=correction, source=source, retract=retract,
            sequence=sequence, cost=cost,
        )  # fmt: skip

    def flush(self, timeout: float | None = 60.0) -> None:
        """Return once all earlier records are committed; None waits without limit.

        Raises:
            DatabaseUnavailable: ``timeout`` seconds have passed; unwritten records are kept and tried again.
        """
        self._session.flush(timeout)
