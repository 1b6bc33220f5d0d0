"""SQLAlchemy metadata of the tables; ``migrations/`` creates them, and a test compares the two.

Checks, comments, views and functions live in the migrations alone: nothing here is used to create tables.
"""

from __future__ import annotations

from sona_pg.store.figure_tables import daily_decisions, daily_figures, summary_days, summary_progress
from sona_pg.store.learned_tables import (
    adapters,
    cycles,
    fisher_snapshots,
    leases,
    memory_edges,
    memory_nodes,
    pattern_routes,
    pattern_uses,
    patterns,
    route_statistics,
    staged_versions,
    state_arrays,
    state_versions,
    version_contents,
    version_gates,
    version_patterns,
    version_tasks,
)
from sona_pg.store.recorded_tables import (
    batches,
    candidate_contents,
    candidate_sets,
    candidates,
    feedback,
    sealed_weeks,
    set_aside,
    space_names,
    space_settings,
    spaces,
    steps,
    trajectories,
)
from sona_pg.store.server_tables import (
    api_keys,
    erasures,
    idempotent_requests,
    servers,
    shared_trajectories,
    telemetry_ids,
)
from sona_pg.store.table_columns import metadata

__all__ = [
    "adapters",
    "api_keys",
    "batches",
    "candidate_contents",
    "candidate_sets",
    "candidates",
    "cycles",
    "daily_decisions",
    "daily_figures",
    "erasures",
    "feedback",
    "fisher_snapshots",
    "idempotent_requests",
    "leases",
    "memory_edges",
    "memory_nodes",
    "metadata",
    "pattern_routes",
    "pattern_uses",
    "patterns",
    "route_statistics",
    "sealed_weeks",
    "servers",
    "set_aside",
    "shared_trajectories",
    "space_names",
    "space_settings",
    "spaces",
    "staged_versions",
    "state_arrays",
    "state_versions",
    "steps",
    "summary_days",
    "summary_progress",
    "telemetry_ids",
    "trajectories",
    "version_contents",
    "version_gates",
    "version_patterns",
    "version_tasks",
]
