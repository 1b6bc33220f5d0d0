from collections.abc import Callable, Mapping, Sequence
from typing import Literal
from uuid import UUID

import numpy as np
from numpy.typing import ArrayLike, NDArray

TRAJECTORY_COLUMNS: tuple[str, ...]
STEP_COLUMNS: tuple[str, ...]
FEEDBACK_COLUMNS: tuple[str, ...]

class Trajectory:
    @property
    def id(self) -> UUID: ...
    @property
    def ended(self) -> bool: ...

class Adapter:
    rank: int
    dim: int
    scale: float
    A: NDArray[np.float32]  # (rank, dim), read-only
    B: NDArray[np.float32]  # (rank, dim), read-only
    def __init__(self, A: ArrayLike, B: ArrayLike, scale: float = 1.0) -> None: ...

class EncodedBatch:
    batch: int
    space_id: int
    trajectories: bytes
    steps: bytes
    feedback: bytes
    trajectory_rows: NDArray[np.int64]  # (n + 1,)
    step_rows: NDArray[np.int64]  # (n + 1,)
    feedback_rows: NDArray[np.int64]  # (m + 1,)
    trajectory_ids: NDArray[np.uint8]  # (n, 16)
    feedback_ids: NDArray[np.uint8]  # (m, 16)
    embeddings: NDArray[np.float32]  # (n, dim)
    qualities: NDArray[np.float32]  # (n,)
    policy_versions: NDArray[np.int64]  # (n,)
    step_trajectory: NDArray[np.int32]  # (s,)
    step_rewards: NDArray[np.float32]  # (s,)
    activation_step: NDArray[np.int32]  # (k,)
    step_activations: NDArray[np.float32]  # (k, dim)
    sequence_given: bool
    @property
    def trajectory_count(self) -> int: ...
    @property
    def step_count(self) -> int: ...
    @property
    def feedback_count(self) -> int: ...
    @property
    def first_id(self) -> UUID | None: ...
    @property
    def last_id(self) -> UUID | None: ...
    @property
    def routes(self) -> list[str | None]: ...
    def __len__(self) -> int: ...

class SpoolFile:
    segment: int
    size: int
    appended: int
    def __init__(self, rotate: Callable[[int], int], segment_bytes: int) -> None: ...
    def position(self) -> tuple[int, int, int]: ...

def encode_frames(
    data: bytes | bytearray | memoryview, dim: int, batch: int, space_id: int, max_rows: int = 8192, learn: bool = True
) -> tuple[EncodedBatch | None, int, int, Literal["end", "more", "torn", "bad"]]: ...

class HotPath:
    dim: int
    capacity: int
    def __init__(self, dim: int, capacity: int, buffer_bytes: int) -> None: ...
    def begin_trajectory(
        self,
        embedding: ArrayLike,
        *,
        query: str | None = None,
        ranking: object | None = None,
        decision: object | None = None,
        candidates: Sequence[str] | Mapping[str, ArrayLike] | None = None,
    ) -> Trajectory: ...
    def add_step(
        self,
        t: Trajectory,
        activations: ArrayLike | None = None,
        attention_weights: ArrayLike | None = None,
        reward: float = 0.0,
    ) -> None: ...
    def add_trajectory_step(
        self,
        t: Trajectory,
        activations: ArrayLike | None = None,
        attention_weights: ArrayLike | None = None,
        reward: float = 0.0,
    ) -> None: ...
    def set_trajectory_route(self, t: Trajectory, route: str) -> None: ...
    def add_trajectory_context(self, t: Trajectory, context: str) -> None: ...
    def set_trajectory_parameters(self, t: Trajectory, parameters: Mapping[str, float]) -> None: ...
    def end_trajectory(self, t: Trajectory, quality: float | None = None) -> None: ...
    def record_feedback(
        self,
        trajectory_id: UUID | Trajectory,
        *,
        quality: float | None = None,
        correction: str | None = None,
        source: str = "user",
        sequence: int | None = None,
        retract: bool = False,
    ) -> int: ...
    def set_enabled(self, enabled: bool) -> None: ...
    def is_enabled(self) -> bool: ...
    @property
    def recorded_count(self) -> int: ...
    @property
    def dropped_count(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    def attach(
        self,
        *,
        wake: Callable[[], object] | None = None,
        confirm: Callable[[int, bytes], object] | None = None,
        room: Callable[[], object] | None = None,
        spool: SpoolFile | None = None,
    ) -> None: ...
    def name_sets(self, shown: Callable[[Sequence[str] | Mapping[str, ArrayLike]], int | None]) -> None: ...
    def refuse_records(self, reason: str = ...) -> None: ...
    def drain(
        self, batch: int, space_id: int, max_rows: int = 8192, max_bytes: int = 33554432, learn: bool = True
    ) -> EncodedBatch | None: ...
    def set_adapters(self, micro: Adapter | None, base_layers: Sequence[Adapter | None] = ()) -> None: ...
    def apply_micro_lora(self, x: ArrayLike, out: NDArray[np.float32] | None = None) -> NDArray[np.float32]: ...
    def apply_base_lora(
        self, layer: int, x: ArrayLike, out: NDArray[np.float32] | None = None
    ) -> NDArray[np.float32]: ...
