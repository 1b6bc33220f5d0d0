"""Prometheus figures of a worker, and whether it is healthy."""

from __future__ import annotations

from collections.abc import Iterator

from sona_pg.worker.store_worker import StoreWorker

FIGURES = (
    ("sona_worker_database_up", "gauge", "Whether the database has answered lately (1) or not (0).", "database_up"),
    ("sona_worker_spaces", "gauge", "Spaces that this worker takes care of.", "spaces"),
    ("sona_worker_due_spaces", "gauge", "Spaces in which a cycle is due.", "due"),
    ("sona_worker_failing_spaces", "gauge", "Spaces whose last cycle failed in this worker.", "failing"),
    ("sona_worker_cycles_total", "counter", "Cycles that this worker has run.", "cycles"),
    ("sona_worker_failures_total", "counter", "Cycles that failed in this worker.", "failures"),
    ("sona_worker_facts_total", "counter", "Trajectories and facts that this worker has learned.", "facts"),
    ("sona_worker_cycle_seconds_total", "counter", "Time that its cycles took.", "seconds"),
    ("sona_worker_last_cycle_timestamp_seconds", "gauge", "When its last cycle ended, or it began.", "last_cycle"),
)


def figure_lines(worker: StoreWorker) -> Iterator[str]:
    """Give the figures of a worker in Prometheus' text format."""
    for name, kind, told, attribute in FIGURES:
        yield f"# HELP {name} {told}"
        yield f"# TYPE {name} {kind}"
        yield f"{name} {getattr(worker, attribute):.12g}"


def is_failing(worker: StoreWorker) -> bool:
    """Return whether the last cycle of every space failed here: a role without grants, or a broken installation."""
    return 0 < worker.spaces == worker.failing


def figures(worker: StoreWorker) -> tuple[int, str]:
    """Return status and text of /metrics."""
    return 200, "".join(f"{line}\n" for line in figure_lines(worker))


def health(worker: StoreWorker) -> tuple[int, str]:
    """Return status and text of /health."""
    if is_failing(worker):
        return 503, "the last cycle of every space failed: see this worker's log\n"
    return 200, "ok\n"
