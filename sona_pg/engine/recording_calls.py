"""Feedback and barriers: the recording calls that are not in the compiled hot path."""

from __future__ import annotations

from uuid import UUID

from sona_pg.engine.lifetime import EngineLifetime
from sona_pg.recorder import Trajectory
from sona_pg.serving.arguments import as_uuid


class RecordingCalls(EngineLifetime):
    """Calls that record facts, and wait for what was recorded."""

    def feedback(
        self,
        trajectory: UUID | str | Trajectory,
        quality: float | None = None,
        *,
        source: str = "user",
        correction: str | None = None,
        retract: bool = False,
        sequence: int | None = None,
    ) -> int:
        """Record a fact about a trajectory: how good it was, or what would have been right.

        It may come from any server, before its trajectory, weeks later, or again: of each source the latest
        counts, and the mean over sources replaces the quality told at the end.

        Args:
            trajectory: its id, or its handle.
            quality: in [0, 1].
            source: who says so, such as ``user`` or ``judge``.
            correction: the id of the candidate that would have been right.
            retract: take back what this source said.
            sequence: for callers that may send the same fact twice; by default the time.

        Returns:
            The fact's sequence number.
        """
        return self.record_feedback(
            as_uuid(trajectory), quality=quality, correction=correction, source=source, retract=retract,
            sequence=sequence,
        )  # fmt: skip

    def flush(self, timeout: float | None = 60.0) -> None:
        """Return once everything recorded before is committed; None waits for as long as it takes.

        Raises:
            DatabaseUnavailable: ``timeout`` seconds have passed; what waits goes on waiting.
        """
        self._session.flush(timeout)
