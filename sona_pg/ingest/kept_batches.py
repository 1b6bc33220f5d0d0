"""Files of encoded batches that a process could not commit before it ended; the next process does.

<folder of the process>/batch-<number>    a length, a checksum, a JSON header and the rows as COPY streams
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg.kernels import crc32c
from sona_pg.recorder import EncodedBatch

PREFIX = "batch-"
HEAD = struct.Struct("<QI")  # length of the payload, CRC-32C of the payload
STREAMS = ("trajectories", "steps", "feedback")
ARRAYS = ("trajectory_rows", "step_rows", "feedback_rows", "trajectory_ids", "feedback_ids", "step_trajectory")


@dataclass(frozen=True, slots=True, eq=False)
class KeptBatch:
    """Rows of an ``EncodedBatch`` without the arrays for loop A, which has learned from them already."""

    batch: int
    trajectories: bytes
    steps: bytes
    feedback: bytes
    trajectory_rows: NDArray[np.int64]
    step_rows: NDArray[np.int64]
    feedback_rows: NDArray[np.int64]
    trajectory_ids: NDArray[np.uint8]
    feedback_ids: NDArray[np.uint8]
    step_trajectory: NDArray[np.int32]
    first_id: UUID | None
    last_id: UUID | None
    sequence_given: bool

    @property
    def judged(self) -> bool:
        """Whether other servers should look: it is not known any more what the records were."""
        return True

    @property
    def trajectory_count(self) -> int:
        """Rows of trajectories."""
        return len(self.trajectory_ids)

    @property
    def step_count(self) -> int:
        """Rows of steps."""
        return len(self.step_trajectory)

    @property
    def feedback_count(self) -> int:
        """Rows of feedback."""
        return len(self.feedback_ids)

    def __len__(self) -> int:
        return self.trajectory_count + self.feedback_count


Batch = EncodedBatch | KeptBatch


def files_in(folder: Path) -> list[Path]:
    """Return the batches of a process, in the order of their numbers."""
    return sorted(folder.glob(f"{PREFIX}*"))


def save(folder: Path, batch: Batch) -> None:
    """Write a batch to a file of ``folder``, atomically.

    Raises:
        OSError: it cannot be written.
    """
    parts: list[bytes] = [getattr(batch, name) for name in STREAMS]
    arrays = [(name, np.ascontiguousarray(getattr(batch, name))) for name in ARRAYS]
    header = {
        "batch": batch.batch,
        "streams": [len(part) for part in parts],
        "arrays": [[name, array.dtype.str, array.shape] for name, array in arrays],
        "first_id": None if batch.first_id is None else str(batch.first_id),
        "last_id": None if batch.last_id is None else str(batch.last_id),
        "sequence_given": bool(batch.sequence_given),
    }
    text = json.dumps(header).encode()
    body = b"".join([struct.pack("<I", len(text)), text, *parts, *(array.tobytes() for _, array in arrays)])
    temporary = folder / f".{batch.batch}"
    temporary.write_bytes(HEAD.pack(len(body), crc32c(body)) + body)
    os.replace(temporary, folder / f"{PREFIX}{batch.batch:020d}")


def load(path: Path) -> KeptBatch | None:
    """Return the batch of a file, or None if the file is damaged."""
    data = path.read_bytes()
    body = data[HEAD.size :]
    if len(data) < HEAD.size or HEAD.unpack_from(data) != (len(body), crc32c(body)):
        return None
    (size,) = struct.unpack_from("<I", body)
    header = json.loads(body[4 : 4 + size])
    at = 4 + size
    values: dict[str, Any] = {"batch": header["batch"], "sequence_given": header["sequence_given"]}
    for name, length in zip(STREAMS, header["streams"], strict=True):
        values[name] = body[at : at + length]
        at += length
    for name, dtype, shape in header["arrays"]:
        count = int(np.prod(shape, dtype=np.int64))
        values[name] = np.frombuffer(body, dtype, count, at).reshape(shape)
        at += count * np.dtype(dtype).itemsize
    for name in ("first_id", "last_id"):
        values[name] = None if header[name] is None else UUID(header[name])
    return KeptBatch(**values)
