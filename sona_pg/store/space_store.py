"""Spaces and their servers in the store: no SQL in its signatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine

from sona_pg.config import SonaConfig
from sona_pg.domain.act import WHOLE_STORE, Act
from sona_pg.domain.budget import Budget, BudgetStatus, FleetSpending, Per, ServerSpending
from sona_pg.domain.space import Space, SpaceSummary
from sona_pg.domain.space_figures import SpaceFigures
from sona_pg.domain.strayed_feedback import StrayedFeedback
from sona_pg.errors import InvalidValue, SpaceRemoved
from sona_pg.limits import MOST_WEEKS
from sona_pg.store import (
    acts,
    arrival,
    budgets,
    fleet,
    leases,
    settings_log,
    spaces,
    upkeep_times,
)
from sona_pg.store.arrival import Arrival
from sona_pg.store.connect import driver_connection, translated
from sona_pg.store.figure_rows import space_figures
from sona_pg.store.strayed_rows import strayed_feedback
from sona_pg.store.transactions import BRIEF, prompt, reading, transaction
from sona_pg.store.worker_sessions import WorkerSession, connected_workers


class SpaceStore:
    """Operations on spaces, on their settings, and on the servers that have them open."""

    def __init__(self, engine: Engine) -> None:
        """Use the connections of ``engine``."""
        self.engine = engine
        self._partitioned: tuple[int, int] | None = None  # week with existing partitions

    def open_space(
        self, name: str, dim: int, at: datetime, *, create: bool = True, config: SonaConfig | None = None
    ) -> Space:
        """Return the space called ``name``, created if it is missing and ``create`` allows it, with its partitions.

        See ``spaces.open_space`` for the rules on ``config`` and the space's own settings.
        """
        with transaction(self.engine, f"opening space {name!r}", BRIEF) as connection:
            space = spaces.open_space(connection, name, dim, at, create=create, config=config)
        self._ensure_partitions(at)
        return space

    def join_space(
        self, name: str, dim: int, server: fleet.Server, *, create: bool = True, config: SonaConfig | None = None
    ) -> Arrival:
        """Open a space as ``open_space`` does, and add a server to its fleet."""
        doing = f"opening space {name!r}"
        spaces.require_name(name)
        with reading(self.engine, doing, BRIEF) as connection:
            arrived = arrival.find(connection, name)
            if arrived is not None:
                arrived = arrived._replace(space=spaces.agreed(arrived.space, dim, config))
                fleet.register(connection, arrived.space.space_id, server, arrived.at)
        if arrived is None:
            with transaction(self.engine, doing, BRIEF) as connection:
                at = leases.now(connection)
                space = spaces.open_space(connection, name, dim, at, create=create, config=config)
                fleet.register(connection, space.space_id, server, at)
                arrived = arrival.find(connection, name)
                assert arrived is not None
                arrived = arrived._replace(space=space)
        self._ensure_partitions(arrived.at)
        return arrived

    def _ensure_partitions(self, at: datetime) -> None:
        """Create missing partitions of the week of ``at``; their existence is checked once a week."""
        week = at.astimezone(UTC).isocalendar()[:2]
        if week == self._partitioned:
            return
        with reading(self.engine, "looking for partitions", BRIEF) as connection:
            ready = spaces.has_partition(connection, at)
        if ready:
            self._partitioned = week
            return
        with translated("making partitions", self.engine.url):
            spaces.ensure_partitions(self.engine, at)

    def find_space(self, name: str) -> Space:
        """Return the space called ``name``.

        Raises:
            DatabaseError: there is none.
        """
        with reading(self.engine, f"finding space {name!r}", BRIEF) as connection:
            space = spaces.find_space(connection, name)
            if space is None:
                raise spaces.unknown(connection, name)
            return space

    def dim_of(self, name: str) -> int | None:
        """Return the dimension of the space called ``name``; None if there is none."""
        with reading(self.engine, f"finding space {name!r}", BRIEF) as connection:
            space = spaces.find_space(connection, name)
            return None if space is None else space.dim

    def made_at(self, space: Space) -> datetime:
        """Return when a space was made: it tells spaces of one number in different databases apart."""
        with reading(self.engine, f"finding space {space.name!r}", BRIEF) as connection:
            return spaces.made_at(connection, space)

    def space_names(self, name: str, space_id: int | None) -> dict[int, spaces.NamedSpace]:
        """Return the names and ages, by number, of the spaces with this ``name`` or this ``space_id``."""
        with reading(self.engine, f"finding space {name!r}", BRIEF) as connection:
            return spaces.names_of(connection, name, space_id)

    def names(self) -> dict[int, str]:
        """Return the names of all spaces by number, without their settings."""
        return {number: found.name for number, found in self.named_spaces().items()}

    def named_spaces(self) -> dict[int, spaces.NamedSpace]:
        """Return the names and ages of all spaces by number, without their settings."""
        with reading(self.engine, "listing the spaces", BRIEF) as connection:
            return spaces.all_named(connection)

    def connected_workers(self) -> list[WorkerSession]:
        """Return the workers (``sona-pg worker``) that are connected to this store."""
        with reading(self.engine, "listing the workers", BRIEF) as connection:
            return connected_workers(driver_connection(connection))

    def list_spaces(self) -> list[Space]:
        """Return all spaces by name."""
        with reading(self.engine, "listing the spaces", BRIEF) as connection:
            return spaces.list_spaces(connection)

    def summarise_spaces(self) -> list[SpaceSummary]:
        """Return all spaces by name, with their row counts."""
        with reading(self.engine, "listing the spaces") as connection:
            return fleet.summarise_spaces(connection)

    def space_figures(self, space_id: int | None) -> list[SpaceFigures]:
        """Return the figures of a space, or of all; ``DatabaseUnavailable`` where they take longer than seconds."""
        with prompt(self.engine, "reading the figures of spaces") as connection:
            return space_figures(connection, space_id)

    def strayed_feedback(self, space_id: int | None) -> list[StrayedFeedback]:
        """Return what ``strayed_rows`` has of a space, or of all; ``DatabaseUnavailable`` if that takes seconds."""
        with prompt(self.engine, "counting feedback without a trajectory") as connection:
            return strayed_feedback(driver_connection(connection), space_id)

    def upkeep_times(self) -> Mapping[str, datetime]:
        """Return when maintenance and a dump ended last; ``DatabaseUnavailable`` if that takes longer than seconds."""
        with prompt(self.engine, "reading the times of upkeep") as connection:
            return upkeep_times.read(driver_connection(connection))

    def remove_space(self, name: str) -> dict[str, int]:
        """Delete a space with all its rows; return their number by table. Engines that have it open end.

        Raises:
            DatabaseError: there is none of that name.
        """
        with transaction(self.engine, f"removing space {name!r}") as connection:
            space = spaces.find_space(connection, name)
            if space is None:
                raise spaces.unknown(connection, name)
            removed = spaces.remove_space(connection, space.space_id)
            told = {"name": name, "space_id": space.space_id, "rows": sum(removed.values())}
            acts.note(driver_connection(connection), WHOLE_STORE, "space removed", told)
            return removed

    def rename_space(self, name: str, new_name: str) -> Space:
        """Rename a space, see ``spaces.rename_space``; engines that have it open continue."""
        with transaction(self.engine, f"renaming space {name!r}") as connection:
            return spaces.rename_space(connection, name, new_name)

    def settings(self, space: Space) -> Mapping[str, Any]:
        """Return the current learning settings of a space, by dotted name."""
        with reading(self.engine, "reading the space's settings", BRIEF) as connection:
            return settings_log.current(connection, space.space_id)

    def settings_history(self, space: Space) -> list[tuple[int, datetime, dict[str, Any]]]:
        """Return the history of a space's learning settings: first version, time of the change, and all settings."""
        with reading(self.engine, "reading the space's settings", BRIEF) as connection:
            return settings_log.history(connection, space.space_id)

    def set_settings(self, space: Space, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change learning settings of a space from its next version on; return all settings.

        Raises:
            ConfigError: a setting is unknown, has an invalid value, or would cut learned state.
        """
        with transaction(self.engine, f"changing the settings of space {space.name!r}") as connection:
            after = settings_log.change(connection, space.space_id, changes, leases.now(connection))
            acts.note(driver_connection(connection), space.space_id, "settings changed", changes)
            return after

    def set_budget(self, space: Space, amount: float | None, per: Per = "request") -> Budget | None:
        """Set the budget of a space, or remove it with None; only another limit of a day keeps what was spent."""
        with transaction(self.engine, f"setting the budget of space {space.name!r}", BRIEF) as connection:
            at = leases.now(connection)
            budget = budgets.set_budget(connection, space.space_id, amount, per, at)
            acts.note(driver_connection(connection), space.space_id, "budget set", {"amount": amount, "per": per})
        return budget

    def set_retention(self, space: Space, weeks: int | None) -> int | None:
        """Keep learned facts of a space for so many weeks, or with None as long as the store keeps them.

        Raises:
            InvalidValue: ``weeks`` is less than 1.
        """
        if weeks is not None and not 1 <= weeks <= MOST_WEEKS:
            raise InvalidValue(f"weeks={weeks}: expected 1 or more, at most {MOST_WEEKS}")
        with transaction(self.engine, f"setting the retention of space {space.name!r}", BRIEF) as connection:
            spaces.set_retention(connection, space.space_id, weeks)
            acts.note(driver_connection(connection), space.space_id, "retention set", {"weeks": weeks})
        return weeks

    def retention(self, space: Space) -> int | None:
        """Return the weeks for which learned facts of a space are kept; None: as long as the store keeps them."""
        with reading(self.engine, "reading the retention of a space", BRIEF) as connection:
            return spaces.retention(connection, space.space_id)

    def acts(self, space: Space | None, limit: int) -> list[Act]:
        """Return the latest administrative acts of a space, or of the whole store, newest first."""
        with reading(self.engine, "reading administrative acts", BRIEF) as connection:
            return acts.listing(driver_connection(connection), None if space is None else space.space_id, limit)

    def budget(self, space: Space) -> BudgetStatus | None:
        """Return the budget of a space with what its servers have reported; None if it has none."""
        with reading(self.engine, f"reading the budget of space {space.name!r}", BRIEF) as connection:
            return budgets.status(connection, space.space_id)

    def share_spending(self, told: Sequence[ServerSpending], at: datetime) -> Mapping[UUID, FleetSpending]:
        """Report the spending of servers ``at`` the database's time; return by server that of all others."""
        with reading(self.engine, "sharing what was spent", BRIEF) as connection:
            return budgets.share(connection, told, at)

    def register(self, space: Space, server: fleet.Server) -> None:
        """Add a server to the fleet of a space."""
        with transaction(self.engine, "registering the server", BRIEF) as connection:
            fleet.register(connection, space.space_id, server, leases.now(connection))

    def heartbeat(self, space: Space, server_id: UUID, version: int, skew_ms: float | None) -> fleet.Heartbeat:
        """Record a server's heartbeat, served version and clock skew; return the version to serve."""
        with transaction(self.engine, "sending a heartbeat", BRIEF) as connection:
            heard = fleet.heartbeat(connection, space.space_id, server_id, version, skew_ms)
        if heard is None:
            raise SpaceRemoved(space.name)
        return heard

    def depart(self, space: Space, server_id: UUID, version: int) -> None:
        """Mark the server as ended; it served ``version`` last."""
        with transaction(self.engine, "leaving the fleet", BRIEF) as connection:
            fleet.depart(connection, space.space_id, server_id, version)
