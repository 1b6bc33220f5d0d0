"""Prometheus figures of a worker, and whether it is healthy."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from sona_pg.domain import figure_text as text
from sona_pg.worker.store_worker import StoreWorker

FIGURES = (
    ("sona_worker_database_up", "gauge", "Whether the database has answered lately (1) or not (0).", "database_up"),
    ("sona_worker_spaces", "gauge", "Spaces that this worker takes care of.", "spaces"),
    ("sona_worker_due_spaces", "gauge", "Spaces in which a cycle is due, or would be but for failures.", "due"),
    ("sona_worker_failing_spaces", "gauge", "Spaces whose last cycle failed in this worker.", "failing"),
    ("sona_worker_cycles_total", "counter", "Cycles that this worker has run.", "cycles"),
    ("sona_worker_failures_total", "counter", "Cycles that failed in this worker.", "failures"),
    ("sona_worker_facts_total", "counter", "Trajectories and facts that this worker has learned.", "facts"),
    ("sona_worker_cycle_seconds_total", "counter", "Time that its cycles took.", "seconds"),
    ("sona_worker_last_cycle_timestamp_seconds", "gauge", "When its last cycle ended, or it began.", "last_cycle"),
)
FAILING = (
    "sona_worker_failing_since_timestamp_seconds",
    "gauge",
    "Since when every cycle of a space failed in this worker; spaces that do not fail have none.",
)
MOST_SPACES = 1_000  # that fail and are named


def figure_lines(worker: StoreWorker) -> Iterator[str]:
    """Give the figures of a worker in Prometheus' text format."""
    for name, kind, told, attribute in FIGURES:
        yield from text.figure_lines(name, kind, told, [("", getattr(worker, attribute))])
    since = sorted((space, at) for space, (at, _) in worker.failing_spaces.items())
    if since:
        yield from text.figure_lines(*FAILING, ((text.of_space(space), at) for space, at in since[:MOST_SPACES]))


def is_failing(worker: StoreWorker) -> bool:
    """Return whether the last cycle of every space that had one failed here: no grants, or a broken installation."""
    return 0 < worker.tried == worker.failing


def figures(worker: StoreWorker) -> tuple[int, str]:
    """Return status and text of /metrics."""
    return 200, "".join(f"{line}\n" for line in figure_lines(worker))


def health(worker: StoreWorker) -> tuple[int, str]:
    """Return status and text of /health, which names failing spaces; the log and sona.learning have their errors."""
    told = "".join(
        f"space {space!r} fails since {datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC: {error}\n"
        for space, (at, error) in sorted(worker.failing_spaces.items())[:MOST_SPACES]
    )
    if is_failing(worker):
        return 503, f"the last cycle of every space that had one failed: see this worker's log\n{told}"
    return 200, f"ok\n{told}"
