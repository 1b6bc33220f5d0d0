"""A server that opens its engine and then forks, as gunicorn does with `--preload`; the parent records as well."""

from __future__ import annotations

import os
import signal
import sys

from sona_pg import SonaEngine
from sona_pg.errors import SonaError

from .process import LAST_FLUSH, Spec, flushed, opened, record, seed_all, traffic_on
from .traffic import Traffic

WORKERS = 2
FORKS_A_RUN = 64  # a worker's number is its parent's run and its own: no two of one place have the same


class Workers:
    """The children of a parent with an open engine; one that was killed is replaced."""

    def __init__(self, engine: SonaEngine, spec: Spec) -> None:
        """Fork the first ones, before the parent has recorded anything."""
        self._engine = engine
        self._spec = spec
        self._forks = [0] * WORKERS
        self._pids = [self._fork(place) for place in range(WORKERS)]

    def tend(self) -> None:
        """Replace workers that were killed; RuntimeError for one that ended by itself."""
        for place, pid in enumerate(self._pids):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                _require(place, status)
                self._pids[place] = self._fork(place)

    def end(self) -> None:
        """Stop all of them."""
        for place, pid in enumerate(self._pids):
            os.kill(pid, signal.SIGTERM)
            _require(place, os.waitpid(pid, 0)[1])

    def _fork(self, place: int) -> int:
        number = self._spec.run * FORKS_A_RUN + self._forks[place]
        self._forks[place] += 1
        pid = os.fork()
        if pid:
            return pid
        seed_all()
        _work(self._engine, self._spec, f"{self._spec.name}-{place + 1}", number)
        sys.exit(0)  # as gunicorn's workers end: through the frames of the parent


def _work(inherited: SonaEngine, spec: Spec, name: str, number: int) -> None:
    """Use the parent's engine if it works here; otherwise open another one, as its error message says."""
    traffic = traffic_on(inherited, spec, name, 2 * number)
    if _works(inherited, traffic, spec):
        record(inherited, traffic, spec)
        inherited.close()
        return
    with opened(spec) as engine:
        record(engine, traffic_on(engine, spec, name, 2 * number + 1), spec)


def _works(inherited: SonaEngine, traffic: Traffic, spec: Spec) -> bool:
    """Record through the parent's engine, whose acknowledgements must hold here as well."""
    try:
        traffic.burst(5)
    except SonaError:
        return False
    if spec.level != "memory":
        traffic.acknowledged()
    if not flushed(inherited, LAST_FLUSH / 24):
        return False
    traffic.acknowledged()
    return True


def _require(place: int, status: int) -> None:
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"worker {place + 1} ended with {code}: its journal and stderr say how far it came")
