"""Erasure at 100,000 decisions: ``python -m benchmarks.erasing``; many random erasures: ``… --random 1000``.

The first records decisions of a thousand users, learns them in slices, forgets one who came last and one who came
first, and prints the times. The second draws small histories, forgets a random user of each, and compares the state to
the bit with that of a space that never had the user: all through Postgres, as ``tests/worker/test_erasing.py`` does.
``--in-memory 1000`` leaves single trajectories out without a database: from the cycle that learned each, and from the
first one on.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from sona_pg import SonaConfig, SonaEngine, Store
from sona_pg.config import LoopConfig
from sona_pg.domain.ids import uuid7
from sona_pg.store.admin.embedded import start_embedded
from sona_pg.worker.left_out import PastInMemory
from sona_pg.worker.rebuild import differences
from tests.fix_erasure import CONFIG, DIM, PEOPLE, History, knowledge_of

ROUTES = ("small", "medium", "large")
USERS = 1000


def forget_among(decisions: int, dim: int, slice_: int) -> None:
    """Record decisions, learn them, forget a user who came first, and one who came last; print the times."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((50, dim)).astype(np.float32)
    with tempfile.TemporaryDirectory(prefix="sona-pg-erasing-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        with start_embedded(home) as server:
            config = SonaConfig(loops=LoopConfig(automatic=False, slice=slice_))
            with SonaEngine(dim, server.url, "erasing", config=config) as engine:
                began = time.perf_counter()
                for number in range(decisions):
                    query = centres[number % 50] + 0.5 * rng.standard_normal(dim).astype(np.float32)
                    decision = engine.route(query, ROUTES)
                    handle = engine.begin_trajectory(query, decision=decision)
                    user = number % USERS if number < decisions - 1000 else f"late {number % 10}"
                    engine.add_trajectory_context(handle, f"user:{user}")
                    engine.end_trajectory(handle, float(rng.random()))
                engine.flush(300)
                print(f"recorded {decisions} decisions in {time.perf_counter() - began:.1f} s", flush=True)
                began = time.perf_counter()
                learned = engine.force_learn()
                print(f"learned them in {time.perf_counter() - began:.1f} s, version {learned.version}", flush=True)
                for user in ("late 3", "7"):
                    plan = engine.forget_plan(user=user)
                    began = time.perf_counter()
                    receipt = engine.forget(user=user, key=_key(home)).facts
                    print(
                        f"forgot {plan.trajectories} decisions of user {user!r} in "
                        f"{time.perf_counter() - began:.1f} s: from version {receipt['rebuilt_from']}, "
                        f"{receipt['cycles']} cycles again",
                        flush=True,
                    )


def forget_at_random(count: int, first: int) -> int:
    """Forget a random user of each of ``count`` histories; return how many states equal one without the user."""
    equal = 0
    with tempfile.TemporaryDirectory(prefix="sona-pg-erasing-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        key = _key(home)
        with start_embedded(home) as server, Store(server.url) as store:
            for seed in range(first, first + count):
                rng = np.random.default_rng([seed, 1])
                history, person = History.drawn(seed, cycles=2, events=6), PEOPLE[int(rng.integers(len(PEOPLE)))]
                had = store.space("had", hidden_dim=DIM, config=CONFIG)
                never = store.space("never", hidden_dim=DIM, config=CONFIG)
                history.record(had)
                history.record(never, without=person)
                had.forget(user=person, key=key)
                found = differences(knowledge_of(had), knowledge_of(never))
                equal += not found
                if found:
                    print(f"seed {seed}: {found}", flush=True)
                if (seed - first) % 25 == 24:
                    print(f"{equal} of {seed - first + 1} equal", flush=True)
                for name in ("had", "never"):
                    store.remove_space(name)
    return equal


def leave_out_at_random(count: int) -> int:
    """Leave random trajectories out in memory; return how many states equal those of whole runs without them."""
    rng, equal = np.random.default_rng(0), 0
    with tempfile.TemporaryDirectory(prefix="sona-pg-erasing-") as folder:
        home = Path(folder)
        home.chmod(0o755)
        with start_embedded(home) as server, SonaEngine(DIM, server.url, "left out", config=CONFIG) as engine:
            History.drawn(0, cycles=4, events=12).record(engine)
            session = engine._session
            with session.database.learning_unit(session.space, uuid7()) as unit:
                assert unit is not None
                past = PastInMemory(session.database, unit, session.space, CONFIG)
            past.learn(range(len(past.inputs)))
            for _ in range(count):
                place = int(rng.integers(len(past.inputs)))
                claimed = past.inputs[place].claimed
                assert claimed is not None
                gone = claimed.fresh.ids[int(rng.integers(len(claimed.fresh)))].tobytes()
                equal += not differences(past.without(gone, place), past.without(gone, 0))
    return equal


def _key(home: Path) -> Path:
    path = home / "receipt.key"
    path.write_text("benchmark" * 4)
    return path


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decisions", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--slice", type=int, default=20_000)
    parser.add_argument("--random", type=int, default=0, help="how many random erasures instead")
    parser.add_argument("--seed", type=int, default=0, help="of the first of them")
    parser.add_argument("--in-memory", type=int, default=0, help="how many single trajectories to leave out instead")
    asked = parser.parse_args()
    if asked.in_memory:
        began = time.perf_counter()
        equal = leave_out_at_random(asked.in_memory)
        print(f"{equal} of {asked.in_memory} left out in memory equal, in {time.perf_counter() - began:.0f} s")
        return
    if asked.random:
        began = time.perf_counter()
        equal = forget_at_random(asked.random, asked.seed)
        print(f"{equal} of {asked.random} random erasures equal, in {time.perf_counter() - began:.0f} s")
        return
    forget_among(asked.decisions, asked.dim, asked.slice)


if __name__ == "__main__":
    main()
