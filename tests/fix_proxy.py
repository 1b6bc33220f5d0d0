"""A TCP proxy between client and server that misbehaves on demand.

======================== ==============================================================================
`url`                    the test's database, through the proxy
`cut()`                  reset every connection; new ones are served
`refuse()`, `accept()`   reset every connection and stop listening, listen again
`stall()`, `resume()`    no byte moves in either direction, they move on and none is lost
`deaf()`, `hear()`       new connections are taken and never answered, are served again
`cut_before(b"COMMIT")`  reset the connection that sends this; the server never sees it
`cut_after(b"COMMIT")`   the server does it, and the client gets no answer
`mute_after(b"COMMIT")`  the same, but the connection stays open: the client waits
`on(b"COPY", action)`    call `action()` before these bytes are passed on, once
======================== ==============================================================================
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import make_url

RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass
class _Rule:
    """Action for a client's `pattern`; used once."""

    pattern: bytes
    action: Callable[[], object] | None = None  # None: cut that connection
    after: bool = False  # once the server has answered instead of before it is asked
    mute: bool = False  # keep the answers back instead of cutting


class Proxy:
    def __init__(self, server_url: str) -> None:
        self._server_url = make_url(server_url)
        self._lock = threading.Lock()
        self._links: set[_Link] = set()
        self._rules: list[_Rule] = []
        self._deaf = False
        self._flowing = threading.Event()
        self._flowing.set()
        self._listener: socket.socket | None = None
        self._port = 0
        self.accept()

    @property
    def url(self) -> str:
        through = self._server_url.set(host="127.0.0.1", port=self._port)
        return through.difference_update_query(["host", "port"]).render_as_string(hide_password=False)

    @property
    def connections(self) -> int:
        """Number of open connections."""
        return len(self._links)

    def cut(self) -> None:
        with self._lock:
            links = list(self._links)
        for link in links:
            link.close()

    def refuse(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
            listener.close()
        self.cut()

    def accept(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self._port), backlog=64)
            self._port = self._listener.getsockname()[1]
            threading.Thread(target=self._serve, args=[self._listener], daemon=True).start()

    def stall(self) -> None:
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    def deaf(self) -> None:
        self._deaf = True

    def hear(self) -> None:
        self._deaf = False

    def on(self, pattern: bytes, action: Callable[[], object]) -> None:
        self._rules.append(_Rule(pattern, action))

    def cut_before(self, pattern: bytes) -> None:
        self._rules.append(_Rule(pattern))

    def cut_after(self, pattern: bytes) -> None:
        self._rules.append(_Rule(pattern, after=True))

    def mute_after(self, pattern: bytes) -> None:
        self._rules.append(_Rule(pattern, after=True, mute=True))

    def close(self) -> None:
        self.resume()
        self.refuse()

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:  # closed
                return
            link = _Link(self, client)
            with self._lock:
                self._links.add(link)
            if not self._deaf:
                link.start()

    def _dial(self) -> socket.socket:
        """Connect to the server; a host that is a path is a folder with a socket in it."""
        query: dict[str, Any] = dict(self._server_url.query)
        host = str(query.get("host") or self._server_url.host or "127.0.0.1")
        port = int(query.get("port") or self._server_url.port or 5432)
        if host.startswith("/"):
            server = socket.socket(socket.AF_UNIX)
            server.connect(f"{host}/.s.PGSQL.{port}")
            return server
        return socket.create_connection((host, port), timeout=None)

    def _take_rule(self, sent: bytes) -> _Rule | None:
        with self._lock:
            for rule in self._rules:
                if rule.pattern in sent:
                    self._rules.remove(rule)
                    return rule
        return None

    def _forget(self, link: _Link) -> None:
        with self._lock:
            self._links.discard(link)


class _Link:
    """One client's connection and the matching one to the server."""

    def __init__(self, proxy: Proxy, client: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server: socket.socket | None = None
        self._cut_on_answer = self._is_mute = False

    def start(self) -> None:
        try:
            self._server = self._proxy._dial()
        except OSError:
            self.close()
            return
        for pump in (self._ask, self._answer):
            threading.Thread(target=pump, daemon=True).start()

    def close(self) -> None:
        self._proxy._forget(self)
        for end in (self._client, self._server):
            if end is not None:
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)  # wakes the thread in recv()
                end.close()

    def _ask(self) -> None:
        """Client to server. A pattern may be spread over two reads, so the last bytes are kept."""
        assert self._server is not None
        tail = b""
        with suppress(OSError):
            while data := self._client.recv(65536):
                self._proxy._flowing.wait()
                tail += data
                if rule := self._proxy._take_rule(tail):
                    tail = b""
                    if rule.after:
                        self._cut_on_answer, self._is_mute = not rule.mute, rule.mute
                    elif rule.action is None:
                        break
                    else:
                        rule.action()
                tail = tail[-64:]
                self._server.sendall(data)
        self.close()

    def _answer(self) -> None:
        assert self._server is not None
        with suppress(OSError):
            while data := self._server.recv(65536):
                self._proxy._flowing.wait()
                if self._cut_on_answer:
                    break
                if not self._is_mute:
                    self._client.sendall(data)
        self.close()


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    """A proxy in front of the test's own database."""
    proxy = Proxy(database_url)
    yield proxy
    proxy.close()
