"""The processes of a run: recorders and learners, their connections and clocks."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from .clock import Clock
from .process import Spec
from .server import children_of

ROOT = Path(__file__).parents[2]
STOP_TIMEOUT = 180.0  # seconds, for the last flush of a process and of its workers
REAP_TIMEOUT = 10.0  # seconds
YEAR, WEEK = 365 * 86_400, 7 * 86_400  # seconds
AHEAD, BEHIND = YEAR, -10 * WEEK


@dataclass(frozen=True, slots=True)
class Places:
    """Resources shared by the processes of a run."""

    folder: Path  # of the journals and logs
    url: str
    pooled: str | None  # the same database through the pooler
    proxied: str | None  # the same database through the proxy
    library: Path | None  # that sets clocks
    seed: int
    seconds: float


class Member:
    """One process after another in one place of the crew."""

    def __init__(self, spec: Spec, home: Path, clock: Clock | None) -> None:
        """Start the first one."""
        self.spec = spec
        self.clock = clock
        self.ended: list[str] = []  # times that it ended by itself
        self._home = home
        self._log = Path(spec.folder) / f"{spec.name}.log"
        self._start()

    def kill(self, chance: Random) -> None:
        """Kill it for real, with its workers or, at times, one worker alone; start another."""
        if self.look():
            return
        if self.spec.role == "preload" and (workers := children_of(self._process.pid)) and chance.random() < 0.5:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(workers), signal.SIGKILL)
            return
        self.end()
        self._again()

    def pause(self) -> None:
        """Stop it in the middle of whatever it does, with its workers."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGCONT)

    def show_threads(self) -> None:
        """Have it write to its log where its threads are."""
        with suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGUSR1)

    @property
    def pids(self) -> list[int]:
        """Its process, and its workers."""
        if self._process.poll() is not None:
            return []
        try:
            return [self._process.pid, *children_of(self._process.pid)]
        except OSError:  # it has just ended
            return []

    def look(self) -> bool:
        """Whether it has ended by itself: that is noted, and another one is started."""
        code = self._process.poll()
        if code is None:
            return False
        self.ended.append(f"{self.spec.name}.{self.spec.run} ended by itself with {code}")
        self.end()
        self._again()
        return True

    def ask(self) -> None:
        """Tell it to stop."""
        self._process.send_signal(signal.SIGTERM)

    def stop(self) -> None:
        """Wait until it has flushed and closed."""
        try:
            code = self._process.wait(timeout=STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            code = f"nothing: it was killed {STOP_TIMEOUT:.0f} s after SIGTERM"
        self.end()
        if code:
            self.ended.append(f"{self.spec.name}.{self.spec.run} ended at the end with {code}")

    def end(self) -> None:
        """Kill the process and its workers, and wait until their locks are free."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        deadline = time.monotonic() + REAP_TIMEOUT
        while _lives(self._process.pid) and time.monotonic() < deadline:
            time.sleep(0.01)

    def _again(self) -> None:
        self.spec = dataclasses.replace(self.spec, run=self.spec.run + 1)
        self._start()

    def _start(self) -> None:
        environment = {**os.environ, "SONA_PG_HOME": str(self._home), "OMP_NUM_THREADS": "1"}
        if self.clock is not None:
            environment |= self.clock.environment
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # from its first moment on
        try:
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", f"{__package__}.process", str(self.spec)],
                    cwd=ROOT,
                    env=environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _lives(group: int) -> bool:
    """Whether a process of the group still runs; a zombie does not count."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has just ended
            state, _, leader = path.read_text().rsplit(")", 1)[1].split()[:3]
            if int(leader) == group and state not in "ZX":
                return True
    return False


def small_crew(places: Places) -> list[Member]:
    """Return three processes for a run of seconds."""
    return [
        _member(places, "spool", "record", "spool", learns=True),
        _member(places, "memory", "record", "memory"),
        _member(places, "sync", "record", "sync"),
    ]


def full_crew(places: Places) -> list[Member]:
    """Return all kinds of processes that this machine can run."""
    crew = small_crew(places)
    crew.append(_member(places, "learner", "learn", "memory"))
    crew += workers(places)
    if places.proxied:
        proxied = dataclasses.replace(places, url=places.proxied)
        crew.append(_member(proxied, "proxied-spool", "record", "spool", learns=True))
        crew.append(_member(proxied, "proxied-memory", "record", "memory"))
    for level in ("memory", "spool"):
        crew.append(_member(places, f"preload-{level}", "preload", level))
    if places.pooled:
        pooled = dataclasses.replace(places, url=places.pooled)
        crew.append(_member(pooled, "pooled-spool", "record", "spool"))
        crew.append(_member(pooled, "pooled-sync", "record", "sync", learns=True))
        crew.append(_member(pooled, "pooled-memory", "record", "memory"))
    if places.library:
        crew.append(_member(places, "ahead", "record", "spool", learns=True, skew=AHEAD))
        crew.append(_member(places, "behind", "record", "memory", skew=BEHIND))
        crew.append(_member(places, "stepping", "record", "spool", learns=True, skew=0))
    return crew


def failover_crew(places: Places) -> list[Member]:
    """Return four servers of a fleet, one of which learns."""
    return [*small_crew(places), _member(places, "sync-2", "record", "sync")]


def workers(places: Places) -> list[Member]:
    """Return two workers, which share the space."""
    return [_member(places, f"worker-{number}", "work", "memory") for number in (1, 2)]


def _member(
    places: Places, name: str, role: str, level: str, *, learns: bool = False, skew: int | None = None
) -> Member:
    clock = None
    if skew is not None and places.library is not None:
        clock = Clock(places.folder, name, places.library, skew)
    spec = Spec(
        name, role, level, places.url, str(places.folder), learns, places.seed, places.seconds  # type: ignore[arg-type]
    )  # fmt: skip
    return Member(spec, places.folder / "home", clock)
