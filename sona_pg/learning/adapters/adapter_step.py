"""Learning of the adapters of a space from a slice: signals, training, EWC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import SonaConfig
from sona_pg.domain.state import Arrays, FisherSnapshot, LoraWeights
from sona_pg.learning.adapters.boundary import StreamMoments
from sona_pg.learning.adapters.choices import Choices
from sona_pg.learning.adapters.ewc import EwcPlusPlus
from sona_pg.learning.adapters.ewc_kronecker import KroneckerEwc
from sona_pg.learning.adapters.reversal import Reversal, take_back
from sona_pg.learning.adapters.samples import Samples
from sona_pg.learning.adapters.training import Constraint, Schedule, flatten, forward, per_sample_gradients, train

FISHER_SAMPLES = 512  # samples per cycle for the Fisher information
FISHER_CHUNK = 32  # rows of per-sample gradients in memory at once
VISITS = 16_384  # samples of all passes of a cycle together; a large slice gets fewer passes
PROBES = 256  # earlier choices that measure a cycle's forgetting


@dataclass(frozen=True, slots=True, eq=False)
class AdapterStep:
    """The adapters after a cycle."""

    micro: LoraWeights
    base: tuple[LoraWeights, ...]
    fisher: list[FisherSnapshot]  # new ones, to be stored
    arrays: dict[str, Arrays]  # parts of the state version: ewc, stream
    samples: int
    shift: float  # the boundary statistic of this cycle's inputs
    ewc_lambda: float


def learn_adapters(
    samples: Samples,
    replay: Choices,
    stream: NDArray[np.float32],
    micro: LoraWeights,
    base: tuple[LoraWeights, ...],
    arrays: Mapping[str, Arrays],
    snapshots: Sequence[FisherSnapshot],
    config: SonaConfig,
    seed: int,
    reversal: Reversal | None = None,
) -> AdapterStep:
    """Train the micro adapter and layer 0 of the base.

    Args:
        samples: of this cycle.
        replay: earlier choices, from which the base adapter learns again; they also measure forgetting.
        stream: (n, dim) unit embeddings of this cycle, tested for a task boundary.
        micro, base: the adapters so far.
        arrays: the parts ``ewc`` and ``stream`` of the live state; empty at first.
        snapshots: Fisher information and optima of earlier tasks.
        config: rates, ranks, bounds.
        seed: of the shuffles.
        reversal: samples of earlier cycles, taken back first.
    """
    layer = base[0]
    if reversal is not None and len(reversal):
        layer = take_back(layer, reversal, config.base.max_norm, seed)
        micro = take_back(micro, reversal, config.micro.max_norm, seed)
    ewc = protection(layer, arrays.get("ewc", {}), snapshots, config)
    moments = StreamMoments.empty(layer.dim)
    if "stream" in arrays:
        moments = StreamMoments.from_arrays(arrays["stream"])
    shift = moments.shift(stream)
    new: list[FisherSnapshot] = []
    if shift > config.ewc.boundary_threshold:
        snapshot = ewc.start_new_task(flatten(layer))
        new = [snapshot] if snapshot is not None else []
        moments = StreamMoments.empty(layer.dim)
    moments = moments.fold(stream)
    if len(samples):
        probes = replay.take(np.arange(len(replay))[:PROBES])
        layer, before = _train_base(layer, samples, replay, ewc, config, seed), layer
        if ewc.task_count:
            ewc.adapt_lambda(_forgetting(before, layer, probes))
        quick = Schedule(config.micro.learning_rate, 1, config.micro.max_norm, seed + 1)
        micro = train(micro, samples.inputs, samples.pull, quick)
        _fold_fisher(ewc, layer, samples, seed)
    return AdapterStep(
        micro=micro,
        base=(layer, *base[1:]),
        fisher=new,
        arrays={"ewc": ewc.to_arrays(), "stream": moments.to_arrays()},
        samples=len(samples),
        shift=shift,
        ewc_lambda=ewc.lambda_,
    )


def protection(
    layer: LoraWeights, arrays: Arrays, snapshots: Sequence[FisherSnapshot], config: SonaConfig
) -> EwcPlusPlus | KroneckerEwc:
    """Return the EWC of the configured kind, with the Fisher information and optima of earlier tasks."""
    parameters = 2 * layer.rank * layer.dim
    if config.ewc.fisher == "diagonal":
        diagonal = EwcPlusPlus(parameters, config.ewc)
        diagonal.restore(arrays, snapshots)
        return _within_bounds(diagonal)
    kronecker = KroneckerEwc(layer.dim, config.ewc)
    kronecker.restore(arrays, snapshots, parameters)
    return _within_bounds(kronecker)


def _within_bounds(ewc: EwcPlusPlus | KroneckerEwc) -> EwcPlusPlus | KroneckerEwc:
    """Clip a stored λ to the configured bounds, which may have changed since."""
    ewc.set_lambda(min(max(ewc.lambda_, ewc.config.lambda_), ewc.config.lambda_max))
    return ewc


def _train_base(
    layer: LoraWeights, samples: Samples, replay: Choices, ewc: Constraint, config: SonaConfig, seed: int
) -> LoraWeights:
    again = Samples(samples.directions, samples.choices.joined(replay))
    passes = max(1, min(config.base.passes, VISITS // len(again)))
    schedule = Schedule(config.base.learning_rate, passes, config.base.max_norm, seed)
    return train(layer, again.inputs, again.pull, schedule, ewc)


def _forgetting(before: LoraWeights, after: LoraWeights, probes: Choices) -> float:
    """Return the share of earlier choices lost by this cycle, minus those gained."""
    liked = probes.take(np.flatnonzero(probes.verdict >= 0.5))
    if not len(liked):
        return 0.0
    right = [float(liked.best(forward(layer, liked.inputs)).mean()) for layer in (before, after)]
    return right[0] - right[1]


def _fold_fisher(ewc: EwcPlusPlus | KroneckerEwc, layer: LoraWeights, samples: Samples, seed: int) -> None:
    rng = np.random.default_rng([seed, len(samples)])
    rows = rng.permutation(len(samples))[:FISHER_SAMPLES]
    if isinstance(ewc, KroneckerEwc):
        ewc.update_fisher(samples.inputs[rows])
        return
    for start in range(0, len(rows), FISHER_CHUNK):
        chosen = rows[start : start + FISHER_CHUNK]
        inputs = samples.inputs[chosen]
        delta = samples.sampled_delta(forward(layer, inputs), chosen, rng)
        ewc.update_fisher(per_sample_gradients(layer, inputs, delta))
