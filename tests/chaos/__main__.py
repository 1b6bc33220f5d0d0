"""Processes record and learn under every fault at once; then count: `python -m tests.chaos --minutes 20 --seed 1`.

At the end every acknowledged trajectory and fact must be stored, once, with its steps and candidates; markers and
counters must agree with the rows; and learning again from the ledger must give the live state. A run of less than a
minute has three processes instead of twelve.
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

from . import clock, report
from .crew import Member, Places, full_crew, small_crew
from .faults import all_faults
from .monkey import Monkey
from .pooler import Pooler, find_program
from .server import CrashingServer
from .verdict import Verdict, judge

FULL_FROM = 1.0  # minutes


def main() -> int:
    """Run as the command line says; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", metavar="KINDS", help="faults, separated by commas; by default all of them")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the server's files go, should it fail")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="sona-chaos-", dir=memory if memory.is_dir() else None) as name:
        verdict = run(Path(name), options.minutes, options.seed, options.only and options.only.split(","))
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
    folder.chmod(0o755)  # the server runs as another user
    os.environ["SONA_PG_HOME"] = str(folder / "home")
    with ExitStack() as stack:
        server = stack.enter_context(CrashingServer(folder))
        upgrade(server.url)
        full = minutes >= FULL_FROM
        pooler = _pooler(folder, server) if full else None
        if pooler is not None:
            pooler.start()
            stack.callback(pooler.kill)
        library = _clock_library(folder) if full else None
        places = Places(folder, server.url, pooler and pooler.url, library, seed, 60 * minutes)
        crew = full_crew(places) if full else small_crew(places)
        stack.callback(_kill_all, crew)
        faults = all_faults(crew, server, pooler)
        unknown = set(only or faults) - set(faults)
        if unknown:
            raise SystemExit(f"there is no fault {', '.join(sorted(unknown))} here; there are: {', '.join(faults)}")
        monkey = Monkey({kind: faults[kind] for kind in only or faults}, random.Random(seed), lambda: _look(crew))
        monkey.run(60 * minutes)
        for member in crew:
            member.look()
        for member in crew:
            member.ask()
        for member in crew:
            member.stop()
        return judge(places, server, crew, monkey)


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
