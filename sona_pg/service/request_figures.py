"""Requests in Prometheus' text format."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)  # seconds
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class RequestFigures:
    """Counts requests by operation and status, and their durations: on one event loop, read by any thread."""

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
        for (method, operation, status), count in list(self._counts.items()):
            yield f'sona_http_requests_total{{method="{method}",operation="{operation}",status="{status}"}} {count}'
        yield "# HELP sona_http_request_seconds Time from a request to its answer."
        yield "# TYPE sona_http_request_seconds histogram"
        for (method, operation), kept in list(self._durations.items()):
            labels = f'method="{method}",operation="{operation}"'
            total = 0.0
            for bound, found in zip((*map(str, BUCKETS), "+Inf"), kept, strict=False):
                total += found
                yield f'sona_http_request_seconds_bucket{{{labels},le="{bound}"}} {total:.0f}'
            yield f"sona_http_request_seconds_sum{{{labels}}} {kept[-1]:.9g}"
            yield f"sona_http_request_seconds_count{{{labels}}} {total:.0f}"
