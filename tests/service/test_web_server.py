"""A server that is told to end does so, whoever still listens to events."""

from __future__ import annotations

import signal
import socket
import threading
import time
from typing import Any

import httpx

from sona_pg.service import create_app
from sona_pg.service.web_server import WebServer
from tests.service.conftest import OPTIONS


def test_a_stream_of_events_does_not_hold_up_the_end(service_store: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = WebServer(create_app(service_store, OPTIONS), 600.0, log_level="warning")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server has not started"
            time.sleep(0.005)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/v1/events"
        with httpx.stream("GET", address, timeout=60) as told:
            lines = told.iter_lines()
            assert next(lines).startswith("id: ")
            server.handle_exit(signal.SIGTERM, None)
            assert list(lines)[-1] == ""
        thread.join(60)
        assert not thread.is_alive()
