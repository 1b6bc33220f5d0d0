"""ReasoningBank: patterns in memory, without a store."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import PatternConfig
from sona_pg.domain.answer import Interpolation
from sona_pg.domain.pattern import LearnedPattern
from sona_pg.domain.trajectory import QueryTrajectory
from sona_pg.domain.verdict import Verdict
from sona_pg.learning.patterns.extraction import extract, nearest
from sona_pg.learning.patterns.parameters import interpolate
from sona_pg.learning.patterns.tally import Observations
from sona_pg.learning.patterns.verdicts import judge_trajectory
from sona_pg.learning.vectors import unit


class ReasoningBank:
    """Patterns in memory, without a store: add trajectories, extract, query."""

    def __init__(
        self,
        config: PatternConfig | None = None,
        *,
        seed: int = 0,
        patterns: Sequence[LearnedPattern] = (),
        version: int = 0,
    ) -> None:
        """Start empty, or with the ``patterns`` of a ``version``."""
        self.config = config or PatternConfig()
        self.patterns = list(patterns)
        self._pending: list[QueryTrajectory] = []
        self._seed = seed
        self._version = version

    @property
    def trajectory_count(self) -> int:
        """Trajectories added since patterns were last extracted."""
        return len(self._pending)

    def add_trajectory(self, trajectory: QueryTrajectory) -> None:
        """Keep ``trajectory`` for the next extraction."""
        self._pending.append(trajectory)

    def extract_patterns(self) -> list[LearnedPattern]:
        """Fold the added trajectories into the patterns, and return these."""
        if self._pending:
            self._version += 1
            observations = Observations(
                embeddings=unit(np.stack([np.asarray(item.embedding, np.float32) for item in self._pending])),
                quality=np.array([np.nan if item.quality is None else item.quality for item in self._pending]),
                routes=[item.route for item in self._pending],
                queries=[item.query for item in self._pending],
                verdicts=[self.judge(item) for item in self._pending],
                parameters=[item.parameters for item in self._pending],
            )
            self.patterns = extract(
                self.patterns, observations, self.config, seed=self._seed, version=self._version
            ).patterns
            self._pending.clear()
        return list(self.patterns)

    def judge(self, trajectory: QueryTrajectory) -> Verdict | None:
        """Return the verdict on ``trajectory``: success, recovered, partial or failure; None if it has no quality."""
        return judge_trajectory(trajectory, self.config)

    def get_pattern(self, wanted: uuid.UUID) -> LearnedPattern | None:
        """Return the pattern with this id, or None."""
        return next((pattern for pattern in self.patterns if pattern.id == wanted), None)

    def find(self, query: NDArray[np.float32], k: int = 5) -> list[LearnedPattern]:
        """Return the ``k`` nearest patterns, nearest first."""
        return nearest(self.patterns, np.asarray(query, np.float32), k)

    def interpolate_parameters(self, query: NDArray[np.float32], k: int = 5) -> Interpolation:
        """Return the parameters that went well in the ``k`` nearest patterns with any; see ``interpolate``."""
        knowing = [pattern for pattern in self.patterns if pattern.parameters]
        return interpolate(nearest(knowing, np.asarray(query, np.float32), k), self._version)

    def clear(self) -> None:
        """Forget everything."""
        self.patterns.clear()
        self._pending.clear()
