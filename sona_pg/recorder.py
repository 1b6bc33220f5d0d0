"""The façade over the compiled recorder: the only module that imports `sona_pg._recorder`.

Everything is re-exported as it is, for the reason that `kernels` gives. Types are in `_recorder.pyi`.
"""

from __future__ import annotations

from sona_pg._recorder import (
    FEEDBACK_COLUMNS,
    STEP_COLUMNS,
    TRAJECTORY_COLUMNS,
    Adapter,
    EncodedBatch,
    HotPath,
    SpoolFile,
    Trajectory,
    encode_frames,
    keep_directions,
    told_id,
    with_records,
)

__all__ = [
    "FEEDBACK_COLUMNS",
    "STEP_COLUMNS",
    "TRAJECTORY_COLUMNS",
    "Adapter",
    "EncodedBatch",
    "HotPath",
    "SpoolFile",
    "Trajectory",
    "encode_frames",
    "keep_directions",
    "told_id",
    "with_records",
]
