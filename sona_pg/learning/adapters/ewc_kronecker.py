"""EWC in the merged weights of an adapter, not in its factors, with a Kronecker-factored Fisher information.

An adapter adds ``W x`` with ``W = s·BᵀA``. If its output is the mean of an isotropic Gaussian over directions, the
Fisher information of ``W`` is exactly ``E[x xᵀ] ⊗ h·I`` (Martens and Grosse 2015), and the penalty of all tasks

    λ/2 · h · tr((W - W*) C (W - W*)ᵀ),   C = Σ_k E_k[x xᵀ]

is how far the outputs of earlier queries move, squared. A diagonal in the factors cannot say this: scaling or turning
``A`` against ``B`` changes every parameter and no output. ``W*`` are the weights at the last boundary, whose optimum
holds the earlier ones already (online Laplace: Ritter et al. 2018, Huszár 2018), so nothing grows with the tasks.

``C`` is kept as a sketch ``C Ω`` with ``sketch`` columns, which is linear: samples and tasks add up. From it come its
leading eigenvectors (Nyström; Tropp et al. 2017), ``C ≈ U Λ Uᵀ + ρ (I - U Uᵀ)``, with ρ from the trace that is left:
without it, directions outside of the sketch are forgotten (CLINC150, 64 columns: 8.8 points forgotten, with it 4.3).

The proximal step takes the factors in turn, each exactly:

    B ← (I + η A C Aᵀ)⁻¹ (B + η (A C A*ᵀ) B*)        A:  A + η (B Bᵀ) A C = A' + η (B B*ᵀ) A* C

with ``η`` the step size times ``λ h s²``. In the eigenvectors of ``B Bᵀ`` and of ``C`` the second is a division.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import EwcConfig
from sona_pg.domain.state import Arrays, FisherSnapshot, LoraWeights
from sona_pg.errors import DimensionMismatch, InvalidValue
from sona_pg.learning.adapters.elastic import Elastic

# h: raw Fisher information of one output, from gradients of cosines on CLINC150 (benchmarks/eval/EVIDENCE.md). Constant
# rather than each task's own, because outputs of a confident policy have no gradient and must be protected as well.
OUTPUT_FISHER = 2.5e-4
LASTING = 5  # times ``max_tasks``: older sketches weigh less than exp(1 - 5) = 2 % and are dropped
SMALLEST = 1e-6  # of the largest eigenvalue: below it a sketch in float32 is noise


class KroneckerEwc(Elastic):
    """Elastic weight consolidation of one low-rank adapter, in its merged weights."""

    kind = "kronecker"

    def __init__(self, dim: int, config: EwcConfig | None = None, layer: int = 0) -> None:
        """Start with nothing to protect.

        Args:
            dim: of the adapter's input.
            config: λ and its bounds, the decay of the average, the number of tasks, the columns of the sketch.
            layer: the layer of the snapshots.
        """
        super().__init__(config, layer)
        self._dim = dim
        self._random = _test_matrix(dim, min(self.config.sketch, dim))
        self._average = np.zeros((dim, self._random.shape[1]), np.float32)  # not yet bias-corrected
        self._trace = 0.0  # of the covariance that it is a sketch of
        self._samples = 0
        self._folded = np.zeros_like(self._average)  # Σ over tasks
        self._folded_trace = 0.0
        self._tasks = 0
        self._first_is = 1  # tasks that the first snapshot stands for: more than one after a consolidation
        self._optimum: NDArray[np.float32] | None = None  # (2 · rank · dim,) A first
        self._quadratic: _Quadratic | None = None

    @property
    def task_count(self) -> int:
        """The number of tasks that are protected."""
        return self._tasks

    @property
    def precision(self) -> NDArray[np.float32]:
        """Return ``C`` of all protected tasks together, as it is approximated, (dim, dim) float32."""
        if self._tasks == 0:
            return np.zeros((self._dim, self._dim), np.float32)
        vectors, values, rest = _spectrum(self._folded, self._folded_trace, self._random)
        return (vectors * (values - rest)) @ vectors.T + rest * np.eye(self._dim, dtype=np.float32)

    def update_fisher(self, inputs: NDArray[np.float32]) -> None:
        """Fold the inputs of samples (n, dim), or of one (dim,), into the moving average of ``x xᵀ``.

        Raises:
            DimensionMismatch: they are of another dimension.
            InvalidValue: they are not finite.
        """
        rows = np.atleast_2d(np.asarray(inputs, np.float32))
        if rows.shape[1] != self._dim:
            raise DimensionMismatch(self._dim, rows.shape[1], "input")
        if not np.isfinite(rows).all():
            raise InvalidValue("inputs are not finite: nothing was folded into the Fisher information")
        decay = self.config.fisher_decay
        weights = ((1.0 - decay) * decay ** np.arange(len(rows) - 1, -1, -1, dtype=np.float64)).astype(np.float32)
        kept = decay ** len(rows)
        weighted = rows * weights[:, None]
        self._average = np.asarray(kept * self._average + weighted.T @ (rows @ self._random), np.float32)
        self._trace = kept * self._trace + float(np.sum(weighted * rows, dtype=np.float64))
        self._samples += len(rows)

    def start_new_task(self, optimum: NDArray[np.float32]) -> FisherSnapshot | None:
        """Protect ``optimum`` (both factors, A first) for the inputs seen since the last task, and begin a new one.

        Returns:
            The snapshot to be stored, or None if no input was seen since the last task.

        Raises:
            DimensionMismatch: the optimum is not that of an adapter of this dimension.
        """
        if len(optimum) == 0 or len(optimum) % (2 * self._dim):
            raise DimensionMismatch(2 * self._dim, len(optimum), "optimum")
        if self._samples == 0:
            return None
        whole = 1.0 - self.config.fisher_decay**self._samples
        fisher = np.append(self._average.ravel() / np.float32(whole), np.float32(self._trace / whole))
        snapshot = FisherSnapshot(
            self._next_task, self.layer, fisher.astype(np.float32), np.array(optimum, np.float32), self.kind
        )
        self.protect(snapshot)
        self._average = np.zeros_like(self._average)
        self._trace, self._samples = 0.0, 0
        return snapshot

    def protect(self, snapshot: FisherSnapshot) -> None:
        """Add one task; beyond ``max_tasks`` earlier ones fade, so that an endless stream can still be learned."""
        most = self.config.max_tasks
        fade = np.float32(1.0 if self._tasks < most else (most - 1) / most)
        self._folded = self._folded * fade + snapshot.fisher[:-1].reshape(self._folded.shape)
        self._folded_trace = self._folded_trace * float(fade) + float(snapshot.fisher[-1])
        self._optimum = snapshot.optimum
        self._tasks += 1
        self._next_task = max(self._next_task, snapshot.task + 1)
        self._quadratic = None

    def consolidate_all_tasks(self) -> FisherSnapshot | None:
        """Return one snapshot in the place of those of all tasks, None without one; the penalty stays as it is.

        Tasks that come later fade it as they would have faded its parts.
        """
        if self._optimum is None:
            return None
        self._first_is = self._tasks
        fisher = np.append(self._folded.ravel(), np.float32(self._folded_trace))
        return FisherSnapshot(self._next_task - 1, self.layer, fisher, self._optimum, self.kind)

    def constrain(self, weights: LoraWeights, rate: float) -> LoraWeights:
        """Return the proximal step of an adapter whose factors were moved with the step size ``rate``.

        Raises:
            DimensionMismatch: the adapter's rank is not that of the protected one.
        """
        step = rate * self._lambda * OUTPUT_FISHER * weights.scale**2
        if self._optimum is None or step == 0:
            return weights
        if weights.a.size * 2 != len(self._optimum):
            raise DimensionMismatch(len(self._optimum), weights.a.size * 2, "parameters")
        if self._quadratic is None:
            a, b = np.split(self._optimum, 2)
            spectrum = _spectrum(self._folded, self._folded_trace, self._random)
            self._quadratic = _Quadratic.of(a.reshape(weights.a.shape), b.reshape(weights.b.shape), *spectrum)
        return self._quadratic.step(weights, np.float32(step))

    def penalty(self, weights: LoraWeights) -> float:
        """Return ``λ/2 · h · tr((W - W*) C (W - W*)ᵀ)``."""
        if self._optimum is None:
            return 0.0
        a, b = np.split(self._optimum.astype(np.float64), 2)
        shape = weights.a.shape
        moved = weights.scale * (weights.b.T.astype(np.float64) @ weights.a - b.reshape(shape).T @ a.reshape(shape))
        return 0.5 * self._lambda * OUTPUT_FISHER * float(np.sum((moved @ self.precision) * moved))

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays of the current task for a state version; earlier tasks are Fisher snapshots."""
        arrays: dict[str, NDArray[np.generic]] = {
            "sketch": self._average.copy(),
            "trace": np.array(self._trace, np.float64),
            "samples": np.array(self._samples, np.int64),
            "lambda": np.array(self._lambda, np.float64),
        }
        if self._first_is > 1:
            arrays["first_is"] = np.array(self._first_is, np.int64)
        return arrays

    def restore(self, arrays: Arrays, tasks: Sequence[FisherSnapshot], parameters: int) -> None:
        """Restore from ``to_arrays`` and the stored snapshots of this layer; ignore arrays of another shape.

        Args:
            arrays: of the state version; empty at first.
            tasks: in their order.
            parameters: of the adapter, whose rank may have been changed since.
        """
        own = [item for item in self._own(tasks, self._folded.size + 1) if len(item.optimum) == parameters]
        if "sketch" not in arrays or arrays["sketch"].shape != self._average.shape:
            return
        self._average = np.array(arrays["sketch"], np.float32)
        self._trace, self._samples = float(arrays["trace"]), int(arrays["samples"])
        self._lambda = float(arrays["lambda"])
        self._first_is = int(arrays.get("first_is", 1))
        for place, snapshot in enumerate(own):
            self.protect(snapshot)
            if place == 0:
                self._tasks = self._first_is


def lasting(snapshots: Sequence[FisherSnapshot], max_tasks: int) -> list[FisherSnapshot]:
    """Return the snapshots without faded sketches, so that storage stays bounded."""
    sketches = [(item.layer, item.task) for item in snapshots if item.kind == KroneckerEwc.kind]
    faded = set(sketches[: -LASTING * max_tasks])
    return [item for item in snapshots if item.kind != KroneckerEwc.kind or (item.layer, item.task) not in faded]


@dataclass(frozen=True, slots=True, eq=False)
class _Quadratic:
    """The penalty around ``A*``, ``B*``, with ``C = U diag(values) Uᵀ + rest (I - U Uᵀ)``."""

    vectors: NDArray[np.float32]  # U (dim, k)
    values: NDArray[np.float32]  # (k,)
    rest: np.float32
    optimum_b: NDArray[np.float32]  # B* (rank, dim)
    pulled_a: NDArray[np.float32]  # A* C (rank, dim)

    @classmethod
    def of(
        cls,
        a: NDArray[np.float32],
        b: NDArray[np.float32],
        vectors: NDArray[np.float32],
        values: NDArray[np.float32],
        rest: np.float32,
    ) -> _Quadratic:
        pulled = ((a @ vectors) * (values - rest)) @ vectors.T + rest * a
        return cls(vectors, values, rest, b, pulled)

    def step(self, weights: LoraWeights, step: np.float32) -> LoraWeights:
        a, b = weights.a, weights.b
        seen = a @ self.vectors  # (rank, k)
        gram = (seen * (self.values - self.rest)) @ seen.T + self.rest * (a @ a.T)
        held = np.eye(len(a), dtype=np.float32) + step * gram
        b = np.linalg.solve(held, b + step * ((a @ self.pulled_a.T) @ self.optimum_b)).astype(np.float32)
        lengths, turn = np.linalg.eigh(b @ b.T)
        stiff = step * np.maximum(lengths, 0.0)[:, None]
        wanted = turn.T @ (a + step * ((b @ self.optimum_b.T) @ self.pulled_a))
        along = wanted @ self.vectors
        outside = 1.0 + stiff * self.rest
        a = turn @ (wanted / outside + (along / (1.0 + stiff * self.values) - along / outside) @ self.vectors.T)
        return LoraWeights(a.astype(np.float32), b, weights.scale)


@functools.lru_cache(maxsize=8)
def _test_matrix(dim: int, columns: int) -> NDArray[np.float32]:
    """Return Ω (dim, columns) with orthonormal columns, always the same; the identity if it is square."""
    if columns == dim:
        return np.eye(dim, dtype=np.float32)
    return np.linalg.qr(np.random.default_rng(dim).standard_normal((dim, columns)))[0].astype(np.float32)


def _spectrum(
    sketch: NDArray[np.float32], trace: float, random: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32], np.float32]:
    """Return U (dim, k), the eigenvalues (k,) and the mean of the others of the covariance with this sketch."""
    wide = sketch.astype(np.float64)
    core = random.T.astype(np.float64) @ wide
    values, vectors = np.linalg.eigh((core + core.T) / 2)
    sure = values > SMALLEST * max(float(values[-1]), 0.0)
    root = wide @ (vectors[:, sure] / np.sqrt(values[sure]))  # C ≈ root rootᵀ
    values, vectors = np.linalg.eigh(root.T @ root)
    leading = values > SMALLEST * max(float(values[-1]) if len(values) else 0.0, 0.0)
    values, vectors = values[leading], root @ (vectors[:, leading] / np.sqrt(values[leading]))
    left = max(trace - float(values.sum()), 0.0)
    rest = left / max(len(sketch) - len(values), 1)
    return vectors.astype(np.float32), values.astype(np.float32), np.float32(rest)
