"""EWC++: protects weights important for earlier tasks while new ones are learned.

Each task ``k`` leaves an optimum ``θ*_k`` and a diagonal Fisher information ``F_k``. Their quadratic penalties
(Kirkpatrick et al. 2017) add up to one (Schwarz et al. 2018):

    Σ_k F_k (θ - θ*_k)² = F (θ - θ*)² + const,   F = Σ F_k,   θ* = Σ F_k θ*_k / F

so the cost does not grow with the number of tasks. The Fisher information is a moving average of squared
per-sample gradients (Chaudhry et al. 2018), corrected for its start like Adam's (Kingma and Ba 2015). The
constraint is the proximal step ``θ = (θ' + ηλF θ*) / (1 + ηλF)``, which is stable at any λ.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg import kernels
from sona_pg.config import EwcConfig
from sona_pg.domain.state import Arrays, FisherSnapshot, LoraWeights
from sona_pg.errors import DimensionMismatch, InvalidValue
from sona_pg.learning.adapters.elastic import Elastic
from sona_pg.learning.adapters.training import flatten, unflatten


class EwcPlusPlus(Elastic):
    """Elastic weight consolidation of one parameter vector, with a diagonal Fisher information."""

    kind = "diagonal"

    def __init__(self, parameters: int, config: EwcConfig | None = None, layer: int = 0) -> None:
        """Start with nothing to protect.

        Args:
            parameters: length of the parameter vector.
            config: λ and its bounds, the Fisher average's decay, the number of tasks.
            layer: the layer of the snapshots.
        """
        super().__init__(config, layer)
        self.tasks: list[FisherSnapshot] = []
        self._average = np.zeros(parameters, np.float32)  # of squared gradients, not yet bias-corrected
        self._samples = 0
        self._precision = np.zeros(parameters, np.float32)  # F: sum over tasks
        self._weighted = np.zeros(parameters, np.float32)  # Σ F_k θ*_k
        self._optimum = np.zeros(parameters, np.float32)  # θ*

    @property
    def task_count(self) -> int:
        """The number of tasks that are protected."""
        return len(self.tasks)

    @property
    def fisher(self) -> NDArray[np.float32]:
        """Return the current task's diagonal Fisher information, (parameters,) float32."""
        if self._samples == 0:
            return self._average.copy()
        return np.asarray(self._average / (1.0 - self.config.fisher_decay**self._samples), np.float32)

    @property
    def precision(self) -> NDArray[np.float32]:
        """Return ``F``, the Fisher information of all protected tasks together, (parameters,) float32."""
        return self._precision.copy()

    @property
    def optimum(self) -> NDArray[np.float32]:
        """Return ``θ*`` of all protected tasks together, (parameters,) float32; zero where the precision is zero."""
        return self._optimum.copy()

    def update_fisher(self, gradients: NDArray[np.float32]) -> None:
        """Fold raw per-sample gradients (n, parameters), or one (parameters,), into the moving average.

        Raises:
            DimensionMismatch: they are not as long as the parameter vector.
            InvalidValue: they are not finite.
        """
        rows = np.atleast_2d(np.ascontiguousarray(gradients, np.float32))
        if rows.shape[1] != len(self._average):
            raise DimensionMismatch(len(self._average), rows.shape[1], "gradient")
        if not np.isfinite(rows).all():
            raise InvalidValue("gradients are not finite: nothing was folded into the Fisher information")
        decay = self.config.fisher_decay
        for gradient in rows:
            kernels.fisher_update(self._average, gradient, decay)
        self._samples += len(rows)

    def start_new_task(self, optimum: NDArray[np.float32]) -> FisherSnapshot | None:
        """Protect ``optimum`` with the Fisher information gathered since the last task, and begin a new one.

        Returns:
            The snapshot to be stored, or None if no gradient was seen since the last task.
        """
        if len(optimum) != len(self._average):
            raise DimensionMismatch(len(self._average), len(optimum), "optimum")
        if self._samples == 0:
            return None
        snapshot = FisherSnapshot(self._next_task, self.layer, self.fisher, np.array(optimum, np.float32))
        self.protect(snapshot)
        self._average = np.zeros_like(self._average)
        self._samples = 0
        return snapshot

    def protect(self, snapshot: FisherSnapshot) -> None:
        """Add one task's quadratic; beyond ``max_tasks`` the two oldest become one."""
        self.tasks.append(snapshot)
        self._next_task = max(self._next_task, snapshot.task + 1)
        self._precision = self._precision + snapshot.fisher
        self._weighted = self._weighted + snapshot.fisher * snapshot.optimum
        safe = np.where(self._precision > 0, self._precision, 1.0)
        self._optimum = np.asarray(np.where(self._precision > 0, self._weighted / safe, 0.0), np.float32)
        while len(self.tasks) > self.config.max_tasks:
            first, second = self.tasks[:2]
            precision = first.fisher + second.fisher
            safe = np.where(precision > 0, precision, 1.0)
            optimum = np.where(
                precision > 0, (first.fisher * first.optimum + second.fisher * second.optimum) / safe, 0.0
            )
            self.tasks[:2] = [FisherSnapshot(second.task, self.layer, precision, np.asarray(optimum, np.float32))]

    def consolidate_all_tasks(self) -> FisherSnapshot | None:
        """Fold all protected tasks into one, and return it, None without one; the penalty stays exactly as it is."""
        if len(self.tasks) > 1:
            last = self.tasks[-1].task
            self.tasks = [FisherSnapshot(last, self.layer, self.precision, self.optimum)]
        return self.tasks[0] if self.tasks else None

    def apply_constraints(self, parameters: NDArray[np.float32], learning_rate: float) -> NDArray[np.float32]:
        """Return the proximal step ``(θ' + ηλF θ*) / (1 + ηλF)`` of ``parameters`` (θ', after a gradient step)."""
        held = np.array(parameters, np.float32)
        kernels.ewc_prox(held, self._precision, self._optimum, learning_rate * self._lambda)
        return held

    def constrain(self, weights: LoraWeights, rate: float) -> LoraWeights:
        """Return the proximal step of an adapter whose factors were moved with the step size ``rate``."""
        return unflatten(self.apply_constraints(flatten(weights), rate), weights)

    def penalty(self, parameters: NDArray[np.float32]) -> float:
        """Return ``λ/2 · Σ_k Σ_i F_k,i (θ_i - θ*_k,i)²``."""
        total = sum(
            float(task.fisher.astype(np.float64) @ np.square(parameters - task.optimum, dtype=np.float64))
            for task in self.tasks
        )
        return 0.5 * self._lambda * total

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays of the current task for a state version; earlier tasks are Fisher snapshots."""
        return {
            "average": self._average.copy(),
            "samples": np.array(self._samples, np.int64),
            "lambda": np.array(self._lambda, np.float64),
        }

    def restore(self, arrays: Arrays, tasks: Sequence[FisherSnapshot]) -> None:
        """Restore from ``to_arrays`` and the stored snapshots of this layer; ignore arrays of another shape."""
        own = self._own(tasks, len(self._average))
        if "average" not in arrays or len(arrays["average"]) != len(self._average):
            return
        self._average = np.array(arrays["average"], np.float32)
        self._samples = int(arrays["samples"])
        self._lambda = float(arrays["lambda"])
        self.tasks = []
        self._precision = np.zeros_like(self._average)
        self._weighted = np.zeros_like(self._average)
        self._optimum = np.zeros_like(self._average)
        for snapshot in own:
            self.protect(snapshot)
