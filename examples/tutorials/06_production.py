"""Tutorial 6: a drill of a deployment. Two servers record, one learns for both; then backup, loss and restore.

Run it: python examples/tutorials/06_production.py (extras embedded, cli, server). It uses a Postgres of its own in a
temporary folder; give it the URL of an EMPTY database to try it on yours. The deployment is docker/production.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import numpy as np

SPACE = "production"
COMMAND = [sys.executable, "-P", "-m", "sona_pg"]  # sona-pg, also where the current folder has one of that name
CENTERS = np.random.default_rng(0).standard_normal((4, 16))


def sona_pg(*words: str) -> None:
    """Run a command of sona-pg, as your deployment does."""
    print("$ sona-pg", *words)
    subprocess.run([*COMMAND, *words], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def server() -> Iterator[httpx.Client]:
    """Run a server that learns nothing, and give a client of it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = ["serve", "--no-learn", "--space", SPACE, "--dim", "16", "--port", str(port)]
    with subprocess.Popen([*COMMAND, *words], stderr=subprocess.DEVNULL) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
                wait_for(lambda: answers(client, "/ready"))
                yield client
        finally:
            process.terminate()  # it writes what it has accepted, and ends


def answers(client: httpx.Client, path: str) -> bool:
    """Return whether the server answers."""
    try:
        return client.get(path).status_code == 200
    except httpx.TransportError:
        return False


def wait_for(true: Callable[[], bool]) -> None:
    """Wait for something that comes within seconds."""
    for _ in range(600):
        if true():
            return
        time.sleep(0.05)
    raise TimeoutError("it did not come within 30 seconds")


def record(client: httpx.Client, rng: np.random.Generator, count: int = 150) -> None:
    """Record questions of four kinds, each answered by a random one of four desks; the right one is rated well."""
    kinds, desks = rng.integers(4, size=(2, count)).tolist()
    rows = [
        {"vector": near(rng, kind), "route": f"desk {desk}", "quality": float(kind == desk)}
        for kind, desk in zip(kinds, desks, strict=True)
    ]
    client.post("/v1/trajectories/batch", json={"trajectories": rows}).raise_for_status()


def right(client: httpx.Client, asked: int = 20) -> int:
    """Return how many new questions find the desk that answers them well."""
    rng, found = np.random.default_rng(1), 0
    for row in range(asked):
        vector = near(rng, row % 4)
        for pattern in client.post("/v1/patterns", json={"vector": vector, "k": 1}).json()["patterns"]:
            best = max(pattern["routes"], key=lambda desk: pattern["routes"][desk]["quality"] or 0.0)
            found += best == f"desk {row % 4}"
    return found


def near(rng: np.random.Generator, kind: int) -> list[float]:
    """Return the embedding of a question of a kind."""
    return [float(one) for one in CENTERS[kind] + 0.4 * rng.standard_normal(16)]


def version(client: httpx.Client) -> int:
    """Return the version that a server serves."""
    return int(client.get("/v1/versions").json()["serving"])


def drill(
    folder: Path,
    sona_pg: Callable[..., None] = sona_pg,
    server: Callable[[], AbstractContextManager[httpx.Client]] = server,
) -> None:
    """Deploy, use, back up, lose, restore and check; a test runs commands and servers in its own process."""
    rng = np.random.default_rng(0)
    sona_pg("db", "upgrade")
    with server() as one, server() as two:
        print(f"before: {right(one)} of 20 right")
        record(one, rng)
        record(two, rng)
        wait_for(lambda: one.get("/v1/stats").json()["totals"]["trajectories"] == 300)
        sona_pg("learn", "--space", SPACE)  # workers do it by themselves, half a minute after a space was made
        wait_for(lambda: version(one) == version(two) == 1)
        print(f"after: {right(one)} of 20 right on the first server, {right(two)} on the second")
    sona_pg("maintain", "--keep-weeks", "52", "--keep-steps-weeks", "8")
    sona_pg("dump", str(folder / "store.dump"))
    sona_pg("space", "remove", SPACE, "--yes")  # the accident
    sona_pg("restore", str(folder / "store.dump"), "--replace", "--yes")
    sona_pg("db", "check")
    with server() as one:
        print(f"restored: {right(one)} of 20 right, version {version(one)}")


def main(url: str | None = None) -> None:
    """Run the drill on the empty database at ``url``, or on a Postgres of its own."""
    with tempfile.TemporaryDirectory(prefix="sona-pg-drill-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # as root, Postgres runs as another user
        if url is None:
            os.environ |= {"SONA_PG_HOME": str(folder / "home")}
            os.environ.pop("SONA_PG_URL", None)
        else:
            os.environ["SONA_PG_URL"] = url
        drill(folder)


if __name__ == "__main__":
    main(*sys.argv[1:2])
