"""A server's part in the budget of its space: reports of its own spending, and the sum of the others'."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from sona_pg.domain.budget import Budget, FleetSpending, ServerSpending
from sona_pg.domain.space import Space
from sona_pg.serving.space_budget import SpaceBudget
from sona_pg.store.database import Database


class SpendingFeed:
    """Connects a ``SpaceBudget`` with the store."""

    def __init__(
        self, account: SpaceBudget, server_id: UUID, space: Callable[[], Space], database: Callable[[], Database]
    ) -> None:
        """Report for ``server_id``; ``space`` and ``database`` are asked when they are needed."""
        self._account = account
        self.server_id = server_id
        self._space = space
        self._database = database
        self._heard: Budget | None = None

    @property
    def limit(self) -> Budget | None:
        """The budget by which decisions are paced."""
        return self._account.limit

    def follow(self, budget: Budget | None, at: datetime) -> bool:
        """Adopt what a poll has read, unless it has read that before: this server may have set another one since."""
        if budget == self._heard:
            return False
        self._heard = budget
        return self.adopt(budget, at)

    def adopt(self, budget: Budget | None, at: datetime | None = None) -> bool:
        """Pace decisions by a budget from now on, ``at`` by the database's clock; return whether it is a new one."""
        known = self._account.limit
        self._account.adopt(budget, at)
        return budget is not None and budget != known

    def due(self) -> ServerSpending | None:
        """Return the spending to report now, if any."""
        return self._spending() if self._account.is_due() else None

    def hear(self, others: FleetSpending) -> None:
        """Take over the spending of all other servers."""
        self._account.hear(others)

    def count_anew(self) -> None:
        """Report totals from 0: maintenance has deleted the server's row, and added its totals to the space's."""
        self._account.count_anew()

    def share(self, at: datetime | None = None) -> None:
        """Report the spending, and hear that of the others, now, which is ``at`` by the database's clock."""
        told = self._spending()
        if told is not None:
            database = self._database()
            for others in database.share_spending([told], at or database.now()).values():
                self._account.hear(others)

    def _spending(self) -> ServerSpending | None:
        limit, told = self._account.limit, self._account.report()
        return None if limit is None or told is None else ServerSpending(
            self._space().space_id, self.server_id, limit.set_at, *told
        )  # fmt: skip
