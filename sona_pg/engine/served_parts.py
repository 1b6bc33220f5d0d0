"""Parts of the served version for clients that apply them themselves: adapters and patterns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sona_pg.domain.pattern import NEVER_USED, LearnedPattern, PatternUse
from sona_pg.domain.state import LoraWeights
from sona_pg.engine.sona_engine import SonaEngine


@dataclass(frozen=True, slots=True, eq=False)
class ServedParts:
    """What ``apply_micro_lora``, ``apply_base_lora`` and ``find_patterns`` answer with now."""

    version: int
    micro: LoraWeights  # with what loop A has learned since
    base: Sequence[LoraWeights]
    patterns: Sequence[LearnedPattern]
    uses: Mapping[UUID, PatternUse]

    @classmethod
    def of(cls, engine: SonaEngine) -> ServedParts:
        """Return the parts that ``engine`` serves now; from memory."""
        held = engine._session.held
        serving = held.serving
        return cls(serving.version, held.instant.micro, serving.state.base, serving.patterns, serving.accesses.known)

    def use_of(self, pattern: LearnedPattern) -> PatternUse:
        """Return the use of a pattern as this server knows it."""
        return self.uses.get(pattern.id, NEVER_USED)
