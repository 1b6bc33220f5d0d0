"""Types of the compiled kernels. Docstrings are in cython_ext/*.pyx and *.pxi."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Buffer

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Labels = NDArray[np.int32]
Indices = NDArray[np.int64]
One = TypeVar("One")
BytesLike = Buffer | NDArray[Any]  # NumPy declares __buffer__ from Python 3.12 on only

def use_isa(name: str | None = None) -> None: ...
def isa() -> str: ...
def available_isas() -> tuple[str, ...]: ...
def lora_forward(x: Floats, A: Floats, B: Floats, scale: float, out: Floats | None = None) -> Floats: ...
def lora_backward(
    x: Floats,
    delta: Floats,
    A: Floats,
    B: Floats,
    scale: float,
    dA: Floats,
    dB: Floats,
    weights: Floats | None = None,
) -> None: ...
def fisher_update(F: Floats, g: Floats, decay: float) -> None: ...
def ewc_prox(theta: Floats, F: Floats, optimum: Floats, step: float) -> None: ...
def exp_negative(x: Floats) -> None: ...
def normalize_rows(X: Floats, out: Floats) -> int: ...
def all_finite(x: Floats) -> bool: ...
def dot_rows(q: Floats, C: Floats, out: Floats | None = None) -> Floats: ...
def topk(q: Floats, C: Floats, k: int) -> tuple[Indices, Floats]: ...

@final
class CentroidBlock:
    def __init__(self, C: Floats) -> None: ...
    def __len__(self) -> int: ...
    @property
    def rows(self) -> Floats: ...
    @property
    def given_counts(self) -> Indices: ...
    @property
    def given_total(self) -> int: ...
    def topk(self, q: Floats, k: int) -> tuple[Indices, Floats]: ...
    def nearest(
        self, x: object, k: int, of: tuple[One, ...], rows: Indices | None = None
    ) -> tuple[tuple[One, ...], tuple[float, ...]] | None: ...

@final
class CandidateBlock:
    def __init__(self, weights: Floats, offset: Floats) -> None: ...
    def __len__(self) -> int: ...
    @property
    def weights(self) -> Floats: ...
    def best(
        self, x: object, k: int, ids: tuple[One, ...], sharpness: float = 1.0
    ) -> tuple[tuple[One, ...], Floats, float] | None: ...

@final
class RouterBlock:
    def __init__(
        self,
        landmarks: Floats,
        norms: Floats,
        transform: Floats,
        features: Floats,
        kernel: tuple[float, float],
        weights: Floats,
        variance: Floats,
        cost_weights: Floats,
        figures: Doubles,
        prior_route: float,
        curve: tuple[float, float, float],
        exploration: tuple[float, float, float, float, float, float],
        dim: int,
    ) -> None: ...
    @property
    def dim(self) -> int: ...
    def decide(
        self,
        x: object,
        features: Floats | None,
        rows: Indices,
        costs: Sequence[float] | None,
        price: float,
        budget: float | None,
        cost_weight: float,
        latency_weight: float,
        draw: float,
    ) -> tuple[int, float, str, tuple[float, ...], tuple[float, ...], tuple[float, ...]] | None: ...

@final
class PriceWindow:
    def __init__(self, window: int) -> None: ...
    @property
    def width(self) -> int: ...
    def put(self, slot: int, values: Sequence[float], costs: Sequence[float]) -> float: ...
    def reprice(self, newest: int, seen: int) -> None: ...
    def price(self, wanted: float) -> float: ...
    @property
    def turning(self) -> bool: ...
    def least_cost(self, seen: int) -> float: ...

def is_direction(x: object, d: int) -> bool: ...
def prices_of(names: tuple[str, ...], costs: Mapping[str, float]) -> tuple[float, ...] | None: ...
def text_features(text: str) -> Floats: ...
def dream_walks(
    starts: Indices,
    targets: Labels,
    weights: Floats,
    reinforced: Doubles,
    kinds: NDArray[np.uint8],
    accesses: Indices,
    begin: Doubles,
    jump: Doubles,
    chances: tuple[float, float, float],
    moment: tuple[float, float, int],
    seed: int,
    first: int,
    count: int,
    path: int,
    home: int = -1,
) -> tuple[Labels, NDArray[np.uint8]]: ...
def kmeans_assign(
    X: Floats,
    C: Floats,
    labels: Labels | None = None,
    distances: Floats | None = None,
    spherical: bool = True,
    threads: int = 1,
) -> tuple[Labels, Floats]: ...
def kmeans_update(
    X: Floats, labels: Labels, k: int, weights: Floats | None = None, threads: int = 1
) -> tuple[Doubles, Doubles]: ...
def kmeans_lloyd(
    X: Floats,
    C0: Floats,
    weights: Floats | None = None,
    max_iter: int = 100,
    tol: float = 1e-3,
    spherical: bool = True,
    threads: int = 1,
) -> tuple[Floats, Labels, float, int]: ...
def kmeans_fit(
    X: Floats,
    k: int,
    seed: int,
    weights: Floats | None = None,
    max_iter: int = 100,
    tol: float = 1e-3,
    spherical: bool = True,
    threads: int = 1,
) -> tuple[Floats, Labels, float, int]: ...
def kmeans_plus_plus(X: Floats, weights: Floats | None, k: int, random_uniforms: Doubles) -> Indices: ...
def f32_to_f16_be(x: Floats) -> bytes: ...
def f32_to_be(x: Floats) -> bytes: ...
def f16_be_to_f32(data: BytesLike) -> Floats: ...
def be_to_f32(data: BytesLike) -> Floats: ...
def crc32c(data: BytesLike, seed: int = 0) -> int: ...

@final
class CopyDecoder:
    def __init__(self, columns: Sequence[tuple[str, str] | tuple[str, str, int]], capacity: int = 1024) -> None: ...
    def feed(self, chunk: BytesLike) -> None: ...
    @property
    def rows(self) -> int: ...
    @property
    def null_masks(self) -> dict[str, NDArray[np.bool_]]: ...
    def finish(self) -> dict[str, NDArray[Any]]: ...
