"""Settings of the gate: how a new version is judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sona_pg.config.config_part import ConfigPart, require, require_types

GateMode = Literal["off", "watch", "hold"]


@dataclass(frozen=True, slots=True)
class GateConfig(ConfigPart):
    """The gate: judges every new version by the outcomes of decisions that it had not learned from."""

    # "watch": live at once, rolled back if it is shown to be worse; "hold": live once it is shown not to be worse.
    mode: GateMode = "watch"
    margin: float = 0.05  # of mean quality: a loss up to it is tolerated
    confidence: float = 0.95  # of each judgement, however often the figures are looked at
    # With "hold": share of the servers that serve the candidate while it is judged, as canaries; 0: nobody serves it.
    share: float = 0.0
    decisions: int = 1000  # judged decisions after which a judgement ends undecided

    def __post_init__(self) -> None:
        require_types(self, "gate")
        require(self.mode in ("off", "watch", "hold"), "gate.mode", self.mode, "'off', 'watch' or 'hold'")
        require(0.001 <= self.margin <= 0.5, "gate.margin", self.margin, "a number in [0.001, 0.5]")
        require(0.5 <= self.confidence <= 0.9999, "gate.confidence", self.confidence, "a number in [0.5, 0.9999]")
        require(0.0 <= self.share <= 0.5, "gate.share", self.share, "a number in [0, 0.5]")
        require(10 <= self.decisions <= 1_000_000, "gate.decisions", self.decisions, "10 to 1,000,000")
