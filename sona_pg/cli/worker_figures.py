"""Prometheus figures of a worker, served on this machine alone unless another address is given."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sona_pg.errors import ConfigError
from sona_pg.worker.store_worker import StoreWorker

log = logging.getLogger(__name__)

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


@contextmanager
def figures_served(worker: StoreWorker, port: int | None, host: str = "127.0.0.1") -> Iterator[int | None]:
    """Serve /metrics and /health while the block runs; yield the port."""
    if port is None:
        yield None
        return

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found, status, body = self.path in ("/metrics", "/health"), 200, "ok\n"
            if self.path == "/metrics":
                body = "".join(f"{line}\n" for line in figure_lines(worker))
            elif is_failing(worker):
                status, body = 503, "the last cycle of every space failed: see this worker's log\n"
            self.send_response(status if found else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.end_headers()
            if found:
                self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            log.debug(format, *args)

    try:
        server = ThreadingHTTPServer((host, port), Answers)
    except OSError as exc:
        raise ConfigError(f"--metrics {port}: nothing can listen on {host}: {exc.strerror}") from exc
    thread = threading.Thread(target=server.serve_forever, name="sona-pg figures", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
