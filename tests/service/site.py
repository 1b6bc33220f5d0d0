"""A service on a port of this machine, for clients that are no Python."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
from typing import Any

import uvicorn

from sona_pg import Store
from sona_pg.service import ServiceOptions, create_app
from sona_pg.text import Embedder


class Site:
    """A service on a port of this machine."""

    def __init__(self, store: Store, options: ServiceOptions, embedder: Embedder | None = None, port: int = 0) -> None:
        with socket.socket() as free:
            free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            free.bind(("127.0.0.1", port))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._app = create_app(store, options, embedder=embedder)
        config = uvicorn.Config(self._app, port=self.port, log_level="warning", ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.02)

    def post(self, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            self.url + path, json.dumps(body or {}).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def close(self) -> None:
        self._app.state.is_stopping = True  # followers of events are told to go
        self._server.should_exit = True
        self._thread.join(60)
        assert not self._thread.is_alive()
