"""Calls about the budget of a space."""

from __future__ import annotations

from sona_pg.domain.budget import PERIODS, BudgetStatus, Per
from sona_pg.engine.lifetime import EngineLifetime
from sona_pg.errors import InvalidValue
from sona_pg.limits import BUDGET


class BudgetCalls(EngineLifetime):
    """Calls that set the budget of a space, and tell what was spent of it."""

    def set_budget(self, amount: float | None, per: Per = "request") -> None:
        """Set the budget of this space, for all its servers together; ``None`` removes it.

        It paces every ``route`` without a budget of its own, from now on here, and within a poll on other servers. It
        is stored: what was spent since it was set counts across restarts. Real costs count where ``end_trajectory``
        tells them, else estimates. Where even the cheapest route costs more, the cheapest is chosen. Another limit of a
        day keeps what was spent that day; any other change, and removing it first, begins the count anew.

        Args:
            amount: more than 0, in the unit of ``costs``.
            per: ``"request"``: the mean cost of a request; ``"day"``: the sum of a day, from midnight UTC on, spread
                over the requests to be expected until its end.

        Raises:
            InvalidValue: the amount is not a positive number, or the period is unknown.
        """
        self._session.set_budget(None if amount is None else require_budget(amount, per), per)

    def budget(self) -> BudgetStatus | None:
        """Return the budget of this space and what all servers have reported as spent, or None; asks the database."""
        return self._session.budget()


def require_budget(amount: float, per: str) -> float:
    """Return a valid amount; ``InvalidValue`` names what is wrong."""
    if per not in PERIODS:
        raise InvalidValue(f"per={per!r}: expected one of {', '.join(PERIODS)}")
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not BUDGET[0] <= amount <= BUDGET[1]:
        raise InvalidValue(
            f"amount={amount!r}: expected a number above 0, {BUDGET[0]:g} to {BUDGET[1]:g}, or None for no budget"
        )
    return float(amount)
