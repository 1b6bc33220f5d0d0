"""Setting of costs: the unit that they are told in."""

from __future__ import annotations

from dataclasses import dataclass

from sona_pg.config.config_part import ConfigPart, require

LONGEST_UNIT = 16


@dataclass(frozen=True, slots=True)
class CostConfig(ConfigPart):
    """Costs of a space: nothing is computed with their unit, it is shown with them."""

    unit: str = ""  # such as USD, EUR or tokens; empty: costs are shown without one

    def __post_init__(self) -> None:
        known = isinstance(self.unit, str) and len(self.unit) <= LONGEST_UNIT and self.unit.isprintable()
        require(
            known and self.unit == self.unit.strip(), "costs.unit", self.unit,
            f"a text of up to {LONGEST_UNIT} characters, such as USD, EUR or tokens",
        )  # fmt: skip
