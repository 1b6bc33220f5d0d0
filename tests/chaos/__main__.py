"""Processes record and learn under every fault at once; then count: `python -m tests.chaos --minutes 20 --seed 1`.

At the end every acknowledged trajectory and fact must be stored, once, with its steps and candidates; markers and
counters must agree with the rows; and learning again from the ledger must give the live state. A run of less than a
minute has three processes instead of sixteen. With `--failover` the primary of two servers is killed instead, and its
standby promoted, while four servers record.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from sona_pg.store.admin.migrate import upgrade
from tests.fix_proxy import Proxy

from . import clock, report
from .convergence import converge
from .crew import Member, Places, failover_crew, full_crew, small_crew, workers
from .faults import Fault, all_faults, failover_faults
from .monkey import Monkey
from .pooler import Pooler, find_program
from .server import CrashingServer
from .standby import Pair
from .verdict import Verdict, judge

FULL_FROM = 1.0  # minutes


def main() -> int:
    """Run as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--failover", action="store_true", help="kill the primary of two servers, again and again")
    parser.add_argument("--only", metavar="KINDS", help="faults, separated by commas; by default all of them")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the server's files go, should it fail")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="sona-chaos-", dir=memory if memory.is_dir() else None) as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server runs as another user
        os.environ["SONA_PG_HOME"] = str(folder / "home")
        play = run_failovers if options.failover else run
        verdict = play(folder, options.minutes, options.seed, options.only and options.only.split(","))
        report.show(verdict, options.minutes)
        if not verdict.fine:
            kept = Path(tempfile.mkdtemp(prefix="sona-chaos-logs-"))
            for path in Path(name).glob("*.log"):
                shutil.copy(path, kept)
            if options.keep:
                shutil.copytree(Path(name, "data"), options.keep)
            print(f"the logs of the processes are in {kept}; --seed {options.seed} repeats the faults")
    print("nothing acknowledged is missing, nothing is doubled" if verdict.fine else "FAILED")
    return 0 if verdict.fine else 1


def run(folder: Path, minutes: float, seed: int, only: list[str] | None) -> Verdict:
    """Start server and crew in ``folder``, inject faults, and judge the result."""
    with ExitStack() as stack:
        server = stack.enter_context(CrashingServer(folder))
        upgrade(server.url)
        full = minutes >= FULL_FROM
        pooler = _pooler(folder, server) if full else None
        if pooler is not None:
            pooler.start()
            stack.callback(pooler.kill)
        proxy = Proxy(server.url) if full else None
        if proxy is not None:
            stack.callback(proxy.close)
        library = _clock_library(folder) if full else None
        places = Places(
            folder, server.url, pooler and pooler.url, proxy and proxy.url, library, seed, 60 * minutes
        )  # fmt: skip
        crew = full_crew(places) if full else small_crew(places)
        stack.callback(_kill_all, crew)
        return _play(places, crew, all_faults(crew, server, pooler, proxy), only)


def run_failovers(folder: Path, minutes: float, seed: int, only: list[str] | None) -> Verdict:
    """Do the same with a primary that is killed, and a standby that takes its place."""
    with ExitStack() as stack:
        pair = stack.enter_context(Pair(folder))
        upgrade(pair.url)
        places = Places(folder, pair.url, None, None, None, seed, 60 * minutes)
        crew = failover_crew(places)
        stack.callback(_kill_all, crew)
        if minutes >= FULL_FROM:
            crew += workers(places)
        return _play(places, crew, failover_faults(crew, pair), only)


def _play(places: Places, crew: list[Member], faults: dict[str, Fault], only: list[str] | None) -> Verdict:
    """Inject faults; then end the crew, and judge."""
    unknown = set(only or faults) - set(faults)
    if unknown:
        raise SystemExit(f"there is no fault {', '.join(sorted(unknown))} here; there are: {', '.join(faults)}")
    monkey = Monkey({kind: faults[kind] for kind in only or faults}, random.Random(places.seed), lambda: _look(crew))
    monkey.run(places.seconds)
    for member in crew:
        member.look()
    apart = converge(places.url, places.folder, crew)
    for member in crew:
        member.ask()
    for member in crew:
        member.stop()
    return judge(places, crew, monkey, apart)


def _look(crew: list[Member]) -> None:
    for member in crew:
        member.look()


def _kill_all(crew: list[Member]) -> None:
    for member in crew:
        member.end()


def _pooler(folder: Path, server: CrashingServer) -> Pooler | None:
    program = find_program()
    if program is None:
        print("SKIPPED: no process goes through a pooler: PgBouncer is not installed (apt-get install pgbouncer)")
        return None
    return Pooler(folder, program, server.url)


def _clock_library(folder: Path) -> Path | None:
    if problem := clock.missing():
        print(f"SKIPPED: no process has a wrong clock: {problem}")
        return None
    return clock.build(folder)


if __name__ == "__main__":
    sys.exit(main())
