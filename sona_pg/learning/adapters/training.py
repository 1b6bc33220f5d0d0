"""Training a low-rank adapter by proximal Gauss-Newton steps on mini-batches, constrained by EWC.

For ``y = x + s·Bᵀ(A x)`` and ``δ`` the gradient at ``y`` (Hu et al. 2021):

    ∂B = s · (A x) δᵀ        ∂A = s · (B δ) xᵀ        A, B: (rank, dim)

``B = 0`` at the start, so ``A`` moves only once ``B`` has: both train.

Each sample has a quadratic model ``g z - h/2 z²`` of its objective, with ``z`` the product of the change of its output
and one direction ``u``. With ``J`` the gradients of all ``z`` in both factors, a step of size ``η`` maximises the sum
of the models less ``|Δθ|²/2η`` (Gauss-Newton, Levenberg 1944; the implicit form of normalised least mean squares,
Nagumo and Noda 1967):

    Δθ = η Jᵀ c,    (I + H K) c = g,    K = η J Jᵀ,    so    Δz = K (I + H K)⁻¹ g

One sample moves by ``η|Ax|² g / (1 + h η|Ax|²)``. Samples with equal inputs move together, the more of them the
farther, and never past the mean of their targets, weighed by ``h``: ``|√H Δz| ≤ |g / √H|`` whatever the batch. The
plain sum of gradients moved by n times one sample's step and diverged. The joint movement of both factors beyond ``Δz``
is of second order, and shortens the step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.state import LoraWeights
from sona_pg.errors import DimensionMismatch, LearningError


class Quadratics(NamedTuple):
    """Quadratic models ``g z - h/2 z²`` of the objectives of b samples; ``z``: direction times output's change."""

    direction: NDArray[np.float32]  # (b, dim) of any length; a zero row has no effect
    slope: NDArray[np.float32]  # (b,) g, of either sign
    curvature: NDArray[np.float32]  # (b,) h, not negative

    @property
    def gradient(self) -> NDArray[np.float32]:
        """The gradient at the outputs, (b, dim), to be ascended."""
        return np.asarray(self.slope[:, None] * self.direction, np.float32)


Pull = Callable[[NDArray[np.float32], NDArray[np.int64]], Quadratics]
"""Given outputs (b, dim) and their rows (b,), the models of their objectives there."""

BATCH = 64  # samples of an update: smaller batches learn no better, and slower (benchmarks/eval/EVIDENCE.md)
# An update is bounded, so a small set of samples is split into several batches to move the adapter far enough.
LEAST_BATCH = 16
BATCHES = 8  # a pass at least, while they hold so many
MAX_STEP = 0.5  # the most that both factors move in one batch, as a share of the length of A at the start
FLOOR = 0.1  # of the mean |A x|², as a share of its value for a random A: B must not grow for inputs that A misses


class Constraint(Protocol):
    """Constraint applied after every gradient step."""

    @property
    def task_count(self) -> int:
        """The number of tasks that are protected."""

    def constrain(self, weights: LoraWeights, rate: float) -> LoraWeights:
        """Return the proximal step of ``weights`` for the step size ``rate``."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast to train."""

    learning_rate: float  # share of the way that one sample moves its own output, whatever rank and dimension
    passes: int
    max_norm: float  # bound on the Frobenius norm of the merged update: the most a unit vector can move
    seed: int
    b_alone: bool = False  # leave A as it is: the outputs then move linearly, and no input is lost sight of


def batch_size(samples: int) -> int:
    """Return how many samples of a pass over ``samples`` make a step."""
    return max(LEAST_BATCH, min(BATCH, samples // BATCHES))


def forward(weights: LoraWeights, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return ``x + s·Bᵀ(A x)`` for inputs (n, dim) float32."""
    return np.asarray(inputs + weights.scale * ((inputs @ weights.a.T) @ weights.b), np.float32)


def gradients(
    weights: LoraWeights, inputs: NDArray[np.float32], delta: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the summed gradients of both factors, (rank, dim) each, for ``delta`` (n, dim) at the outputs."""
    down = inputs @ weights.a.T  # (n, rank)
    back = delta @ weights.b.T  # (n, rank)
    of_a, of_b = weights.scale * (back.T @ inputs), weights.scale * (down.T @ delta)
    return np.asarray(of_a, np.float32), np.asarray(of_b, np.float32)


def per_sample_gradients(
    weights: LoraWeights, inputs: NDArray[np.float32], delta: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return each sample's own gradient over both factors, flattened as ``flatten`` does, (n, 2·rank·dim)."""
    down = inputs @ weights.a.T
    back = delta @ weights.b.T
    of_a = weights.scale * back[:, :, None] * inputs[:, None, :]
    of_b = weights.scale * down[:, :, None] * delta[:, None, :]
    return np.concatenate([of_a.reshape(len(inputs), -1), of_b.reshape(len(inputs), -1)], axis=1).astype(np.float32)


def flatten(weights: LoraWeights) -> NDArray[np.float32]:
    """Return both factors as one parameter vector, A first."""
    return np.concatenate([weights.a.ravel(), weights.b.ravel()])


def unflatten(parameters: NDArray[np.float32], like: LoraWeights) -> LoraWeights:
    """Return the adapter whose parameter vector is ``parameters``."""
    a, b = np.split(np.asarray(parameters, np.float32), 2)
    return LoraWeights(a.reshape(like.a.shape), b.reshape(like.b.shape), like.scale)


def displacements(wanted: NDArray[np.float32]) -> Pull:
    """Return the models of samples that ask for fixed displacements ``wanted`` (n, dim) of their outputs, no more."""

    def pull(outputs: NDArray[np.float32], rows: NDArray[np.int64]) -> Quadratics:
        asked = wanted[rows]
        length = np.sqrt(np.einsum("nd,nd->n", asked, asked))
        direction = asked / np.where(length > 0, length, np.float32(1.0))[:, None]
        return Quadratics(np.asarray(direction, np.float32), length, np.ones_like(length))

    return pull


def train(
    weights: LoraWeights,
    inputs: NDArray[np.float32],
    pull: Pull,
    schedule: Schedule,
    ewc: Constraint | None = None,
) -> LoraWeights:
    """Return ``weights`` after ascending the objectives of ``inputs``, in shuffled mini-batches.

    The step size is normalised by the input's power, ``η = rate / (s² |Ax|²)``: whatever rank and dimension, one sample
    moves its own output by ``rate · g / (1 + rate · h)``. Without it the first step from ``B = 0`` moves the output by
    ``rate · rank/dim``, a hundredth. Each step is clipped, and the norm of the merged update is capped.

    Args:
        weights: where to start.
        inputs: (n, dim) float32, n may be 0.
        pull: the models of the samples' objectives at their outputs.
        schedule: passes, rate, bounds and the seed of the shuffle.
        ewc: if given, its proximal step follows every gradient step.

    Raises:
        DimensionMismatch: inputs do not fit the adapter.
        LearningError: a slope or a curvature is not finite.
    """
    if inputs.shape[1] != weights.dim:
        raise DimensionMismatch(weights.dim, inputs.shape[1], "input")
    rng = np.random.default_rng(schedule.seed)
    both = np.stack([weights.a, weights.b]).astype(np.float32)  # (2, rank, dim), moved in place
    now = LoraWeights(both[0], both[1], weights.scale)
    scale = weights.scale if weights.scale != 0 else 1.0
    floor = FLOOR * weights.rank / weights.dim
    longest = MAX_STEP * float(np.sqrt(weights.rank))
    size = batch_size(len(inputs))
    for _ in range(schedule.passes):
        order = rng.permutation(len(inputs))
        shuffled = inputs[order]
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            chosen = shuffled[start : start + size]
            down = chosen @ now.a.T
            power = float(np.vdot(down, down)) / len(rows)
            rate = schedule.learning_rate / (scale * scale * max(power, floor))
            models = pull(np.asarray(chosen + now.scale * (down @ now.b), np.float32), rows)
            moved, share = _step(now, chosen, down, models, rate, schedule.b_alone)
            length = float(np.sqrt(np.vdot(moved, moved)))
            if not np.isfinite(length):
                raise LearningError("the gradient at the adapter's output is not finite: the update was not applied")
            if length > longest:
                moved *= np.float32(longest / length)
            both += moved
            if ewc is not None and ewc.task_count:
                held = ewc.constrain(now, rate * len(rows) * share)
                both[0], both[1] = held.a, held.b
            _cap(both, now.scale, schedule.max_norm)
    return LoraWeights(both[0].copy(), both[1].copy(), weights.scale)


def _step(
    now: LoraWeights,
    inputs: NDArray[np.float32],
    down: NDArray[np.float32],
    models: Quadratics,
    rate: float,
    b_alone: bool,
) -> tuple[NDArray[np.float32], float]:
    """Return ``Δθ`` (2, rank, dim) of a batch, and how far it goes as a share of the sum of the samples' own steps.

    ``down`` is ``A x`` (n, rank). The gradient of a sample in the factors is ``s (B u) xᵀ`` and ``s (A x) uᵀ``, so
    ``J Jᵀ`` needs their inner products alone.
    """
    direction, slope, curvature = models
    back = np.zeros_like(down) if b_alone else direction @ now.b.T
    kernel = (down @ down.T) * (direction @ direction.T) + (back @ back.T) * (inputs @ inputs.T)
    kernel *= np.float32(rate * now.scale * now.scale)
    system = curvature[:, None] * kernel
    system[np.diag_indices_from(system)] += np.float32(1.0)
    with np.errstate(invalid="ignore"):
        taken = np.linalg.solve(system, slope).astype(np.float32)
    alone = float(slope @ kernel @ slope)
    share = float(slope @ kernel @ taken) / alone if alone > 0 else 1.0
    step = np.float32(rate * now.scale)
    moved = np.stack([(back * taken[:, None]).T @ inputs, (down * taken[:, None]).T @ direction])
    moved *= step
    first = kernel @ taken
    second = now.scale * np.einsum("nr,nr->n", inputs @ moved[0].T, direction @ moved[1].T)
    weighed = float(curvature @ (first * first))
    beyond = max(float(curvature @ (first * second)) / weighed, 0.0) if weighed > 0 else 0.0
    moved /= np.float32(1.0 + beyond)
    return np.asarray(moved, np.float32), share


def _cap(both: NDArray[np.float32], scale: float, max_norm: float) -> None:
    """Shrink both factors (2, rank, dim) alike, in place, until the merged update's norm is at most ``max_norm``."""
    square = float(np.vdot(both[0] @ both[0].T, both[1] @ both[1].T))
    norm = abs(scale) * float(np.sqrt(max(square, 0.0)))
    if norm > max_norm:
        both *= np.float32(np.sqrt(max_norm / norm))
