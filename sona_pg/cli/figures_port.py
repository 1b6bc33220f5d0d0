"""A port of figures for Prometheus, on this machine alone unless another address is given."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sona_pg.errors import ConfigError

log = logging.getLogger(__name__)

Answer = tuple[int, str]  # status and text


@contextmanager
def figures_served(
    figures: Callable[[], Answer], health: Callable[[], Answer], port: int | None, host: str = "127.0.0.1"
) -> Iterator[int | None]:
    """Serve ``figures`` as /metrics, and ``health`` as /health, while the block runs; yield the port."""
    if port is None:
        yield None
        return
    known = {"/metrics": figures, "/health": health}

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = known.get(self.path, lambda: (404, ""))()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.end_headers()
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
