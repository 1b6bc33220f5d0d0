"""Privileges of the group roles on each table of schema ``sona``; a table that is not listed here has none.

Each group also has the privileges of the groups before it. Nothing is granted on partitions: a partition is reached
through its table, whose policy holds.
"""

from __future__ import annotations

from collections.abc import Mapping

from sona_pg.domain.login import Capability

# Only the owner reads it: the index on its names would tell whoever asks for one whether it is there.
UNREADABLE = frozenset({"space_names"})
# Hashes of keys, answers to requests, and unfinished records: of app servers, not of analysts.
OF_SERVERS = frozenset({"api_keys", "idempotent_requests", "shared_trajectories"})
OF_ADMINS = frozenset({"acts"})

LEDGER = ("trajectories", "steps", "feedback", "imported_ids")
LEARNED = (
    "cycles", "leases", "set_aside", "patterns", "pattern_names", "pattern_routes", "state_versions", "adapters",
    "state_arrays", "fisher_snapshots", "route_statistics", "memory_nodes", "memory_edges", "memory_standing",
    "version_contents", "version_patterns", "version_tasks", "version_gates", "staged_versions", "space_settings",
)  # fmt: skip
FIGURES = ("summary_days", "summary_progress", "daily_figures", "daily_decisions")
# To hold the space's row while a batch is written, and to count for a server that is not on the list any more.
COUNTERS = "departed_trajectories, departed_feedback, departed_dropped, kinds_from, kind_weights, embedder_probe"

WRITES: Mapping[Capability, Mapping[str, tuple[str, ...]]] = {
    "reader": {"SELECT (space_id)": tuple(sorted(OF_SERVERS))},  # to count their rows
    "recorder": {
        "SELECT": tuple(sorted(OF_SERVERS)),
        "INSERT": LEDGER,
        "INSERT, UPDATE": ("batches", "servers", "candidates", "candidate_sets", "pattern_uses"),
        "INSERT, UPDATE, DELETE": (
            "shared_trajectories", "idempotent_requests", "candidate_contents", "telemetry_ids",
        ),
        f"UPDATE ({COUNTERS})": ("spaces",),
    },
    "learner": {
        "UPDATE": ("spaces",),
        "INSERT": tuple(OF_ADMINS),  # promoting, rolling back and erasing are acts
        "INSERT, UPDATE": ("erasures",),
        "INSERT, UPDATE, DELETE": (*LEARNED, *FIGURES),
        "DELETE": LEDGER,  # erasure, also of records of erased users that arrive late
    },
    "admin": {"SELECT": tuple(OF_ADMINS), "INSERT, UPDATE": ("api_keys",)},
}  # fmt: skip
