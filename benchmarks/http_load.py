"""Load over HTTP: requests that are made beforehand, over a few connections, as fast as they are answered or paced."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

CONNECTIONS = 8


@dataclass(frozen=True)
class Load:
    """What came of some requests."""

    seconds: float
    latencies: list[float]  # from when a request was due to its answer, in order of size

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Return the latency below which this share of the requests stayed."""
        return self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


def post(path: str, body: bytes) -> bytes:
    """Return a request as it goes over the wire."""
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    )
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body


class _Connection(asyncio.Protocol):
    """Sends a request at a time, and says when it was answered."""

    def __init__(self) -> None:
        self._buffer = b""
        self._answered: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(self._buffer) < end + 4 + length:
            return
        if not head.startswith(b"http/1.1 2"):
            raise AssertionError(self._buffer[:500])
        self._buffer = self._buffer[end + 4 + length :]
        if self._answered is not None:
            self._answered.set_result(None)

    async def send(self, request: bytes) -> None:
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)  # type: ignore[attr-defined]
        await self._answered

    def close(self) -> None:
        self._transport.close()


async def _load(port: int, requests: Sequence[bytes], n: int, rate: float | None, connections: int) -> Load:
    loop = asyncio.get_running_loop()
    opened = [(await loop.create_connection(_Connection, "127.0.0.1", port))[1] for _ in range(connections)]
    latencies: list[float] = []
    taken = 0
    began = time.perf_counter()

    async def work(connection: _Connection) -> None:
        nonlocal taken
        while taken < n:
            mine, taken = taken, taken + 1
            due = time.perf_counter()
            if rate is not None:
                due = began + mine / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
            await connection.send(requests[mine % len(requests)])
            latencies.append(time.perf_counter() - due)

    await asyncio.gather(*map(work, opened))
    took = time.perf_counter() - began
    for connection in opened:
        connection.close()
    return Load(took, sorted(latencies))


def load(
    port: int, requests: Sequence[bytes], n: int, *, rate: float | None = None, connections: int = CONNECTIONS
) -> Load:
    """Send ``n`` of ``requests`` in turn: at ``rate`` a second, else as fast as they are answered."""
    return asyncio.run(_load(port, requests, n, rate, connections))
