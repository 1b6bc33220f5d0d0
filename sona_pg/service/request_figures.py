"""Figures of the service in Prometheus' text format: requests, and what each open space is doing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)  # seconds
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class RequestFigures:
    """Counts requests by operation and status, and their durations; on one event loop."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, int], int] = {}
        self._durations: dict[tuple[str, str], list[float]] = {}  # a count a bucket and one beyond, then the sum

    def observe(self, method: str, operation: str, status: int, seconds: float) -> None:
        """Count one request that was answered."""
        key = (method, operation, status)
        self._counts[key] = self._counts.get(key, 0) + 1
        kept = self._durations.get((method, operation))
        if kept is None:
            kept = self._durations[method, operation] = [0.0] * (len(BUCKETS) + 2)
        kept[bisect_left(BUCKETS, seconds)] += 1
        kept[-1] += seconds

    def lines(self) -> Iterator[str]:
        """Give the figures of requests."""
        yield "# HELP sona_http_requests_total Requests that were answered."
        yield "# TYPE sona_http_requests_total counter"
        for (method, operation, status), count in self._counts.items():
            yield f'sona_http_requests_total{{method="{method}",operation="{operation}",status="{status}"}} {count}'
        yield "# HELP sona_http_request_seconds Time from a request to its answer."
        yield "# TYPE sona_http_request_seconds histogram"
        for (method, operation), kept in self._durations.items():
            labels = f'method="{method}",operation="{operation}"'
            total = 0.0
            for bound, found in zip((*map(str, BUCKETS), "+Inf"), kept, strict=False):
                total += found
                yield f'sona_http_request_seconds_bucket{{{labels},le="{bound}"}} {total:.0f}'
            yield f"sona_http_request_seconds_sum{{{labels}}} {kept[-1]:.9g}"
            yield f"sona_http_request_seconds_count{{{labels}}} {total:.0f}"


# name in Prometheus, kind, help, and where the figure is in SonaEngine.metrics()
SPACE_FIGURES = (
    ("sona_version", "gauge", "State version that this server serves.", ("version",)),
    ("sona_version_age_seconds", "gauge", "Age of the version that is served.", ("version_age_seconds",)),
    ("sona_patterns", "gauge", "Patterns of the version that is served.", ("patterns",)),
    ("sona_recorded_total", "counter", "Records accepted by this process.", ("recorded",)),
    ("sona_dropped_total", "counter", "Records refused because the buffer was full.", ("dropped",)),
    (
        "sona_conflicting_total",
        "counter",
        "Trajectories recorded again under a stored id with other contents, which are not stored.",
        ("server", "writer", "conflicting"),
    ),
    ("sona_abandoned_total", "counter", "Trajectories that were never ended.", ("abandoned",)),
    ("sona_queue_records", "gauge", "Records in memory that the writer has not taken yet.", ("waiting",)),
    (
        "sona_uncommitted_records",
        "gauge",
        "Records accepted by this process and not committed yet, in memory or in the spool.",
        ("server", "writer", "waiting"),
    ),
    (
        "sona_uncommitted_seconds",
        "gauge",
        "Age of the oldest record that is not committed yet, at most; 0 if none waits.",
        ("server", "writer", "waiting_seconds"),
    ),
    ("sona_trajectories_total", "counter", "Trajectories of the space, of all servers.", ("totals", "trajectories")),
    ("sona_feedback_total", "counter", "Facts of feedback of the space, of all servers.", ("totals", "feedback")),
    ("sona_unlearned_facts", "gauge", "Facts that wait to be learned.", ("totals", "waiting")),
    (
        "sona_failures_total",
        "counter",
        "Cycles and version changes that failed in this process.",
        ("server", "failed_cycles"),
    ),
)


def gauge_lines(name: str, told: str, value: float) -> Iterator[str]:
    """Give one gauge of the process."""
    yield f"# HELP {name} {told}"
    yield f"# TYPE {name} gauge"
    yield f"{name} {value:.12g}"


def space_lines(figures: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Give the figures of spaces, by name."""
    for name, kind, told, path in SPACE_FIGURES:
        found = list(_found(figures, path))
        if found:
            yield f"# HELP {name} {told}"
            yield f"# TYPE {name} {kind}"
            yield from (f'{name}{{space="{_escaped(space)}"}} {value:.12g}' for space, value in found)


def _found(figures: Mapping[str, Mapping[str, Any]], path: Iterable[str]) -> Iterator[tuple[str, float]]:
    for space, known in figures.items():
        value: Any = known
        for step in path:
            value = value.get(step) if isinstance(value, Mapping) else None
        if isinstance(value, int | float):
            yield space, float(value)


def _escaped(label: str) -> str:
    return label.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
