"""The evaluation suite keeps the results of each seed, and goes on after an interruption."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.eval.context import Context  # noqa: E402
from benchmarks.eval.results import KeptResults, SeedResult  # noqa: E402
from benchmarks.eval.running import run_all, tasks_of  # noqa: E402

STAMP = {"commit": "abc", "split": "validation", "code": "1", "data": "2", "settings": "3"}
Define = Callable[..., list[int]]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(tmp_path, "validation", "", tmp_path)


@pytest.fixture
def kept(tmp_path: Path) -> KeptResults:
    return KeptResults(tmp_path / "seeds", STAMP)


@pytest.fixture
def define(monkeypatch: pytest.MonkeyPatch) -> Define:
    """Add an experiment; returns the seeds that it has run. It fails at one seed if that is given."""

    def added(name: str, fails_at: int | None = None) -> list[int]:
        ran: list[int] = []

        def run_seed(context: Context, seed: int) -> dict[str, dict[str, float]]:
            if seed == fails_at:
                raise KeyboardInterrupt
            ran.append(seed)
            return {"ours": {"accuracy": seed / 3}}

        module = types.ModuleType(name)
        vars(module)["run_seed"] = run_seed
        monkeypatch.setitem(sys.modules, f"benchmarks.eval.{name}", module)
        return ran

    return added


def test_a_result_is_read_as_it_was_found(kept: KeptResults) -> None:
    result = SeedResult({"ours": {"accuracy": 1 / 3, "none": float("inf")}}, 0.1)
    kept.keep("retrieval", 3, result)
    assert kept.load("retrieval", 3) == result
    assert kept.load("retrieval", 4) is None
    assert kept.load("unseen", 3) is None


@pytest.mark.parametrize("part", ["split", "code", "data", "settings"])
def test_a_result_of_other_code_data_or_settings_does_not_count(kept: KeptResults, part: str) -> None:
    kept.keep("retrieval", 0, SeedResult({}, 0.0))
    assert KeptResults(kept.folder, {**STAMP, part: "other"}).load("retrieval", 0) is None
    assert KeptResults(kept.folder, {**STAMP, "commit": "other"}).load("retrieval", 0) is not None


@pytest.mark.parametrize("text", ["", "[1]", '{"stamp": {}}', '{"stamp": 1, "figures": {}}'])
def test_a_file_that_is_no_result_is_none(kept: KeptResults, text: str) -> None:
    kept.keep("retrieval", 0, SeedResult({}, 0.0))
    (path,) = kept.folder.iterdir()
    assert json.loads(path.read_text())["stamp"] == STAMP
    path.write_text(text)
    assert kept.load("retrieval", 0) is None


def test_the_stamp_names_the_code_and_the_data(context: Context) -> None:
    (context.folder / "some.npz").write_bytes(b"one")
    one = KeptResults.of(context).stamp
    (context.folder / "some.npz").write_bytes(b"two")
    other = KeptResults.of(context).stamp
    assert {part for part in one if one[part] != other[part]} == {"data"}
    assert len(one["code"]) == 16


def test_after_an_interruption_only_what_is_missing_is_run(context: Context, kept: KeptResults, define: Define) -> None:
    ran = define("first", fails_at=2)
    with pytest.raises(KeyboardInterrupt):
        list(run_all(context, kept, {"first": 4}, 1))
    assert ran == [0, 1]
    ran, other = define("first"), define("second")
    found = list(run_all(context, kept, {"first": 4, "second": 1}, 1))
    assert (ran, other) == ([2, 3], [0])
    assert [name for name, _ in found] == ["first", "second"]
    assert [one.figures["ours"]["accuracy"] for one in found[0][1]] == [0.0, 1 / 3, 2 / 3, 1.0]


def test_all_of_it_is_run_again_when_asked_to(context: Context, kept: KeptResults, define: Define) -> None:
    ran = define("first")
    for again in (False, False, True):
        list(run_all(context, kept, {"first": 2}, 1, again=again))
    assert ran == [0, 1, 0, 1]


def test_what_measures_time_is_run_last(context: Context, kept: KeptResults, define: Define) -> None:
    define("cost"), define("first")
    assert [name for name, _ in run_all(context, kept, {"cost": 1, "first": 1}, 1)] == ["first", "cost"]


def test_experiments_that_share_engine_runs_are_one_task() -> None:
    seeds = {"confidence": 2, "drift": 1, "retrieval": 2}
    known = {("retrieval", 1): SeedResult({}, 0.0)}
    assert tasks_of(seeds, known) == [(["drift"], 0), (["retrieval", "confidence"], 0), (["confidence"], 1)]


def test_what_experiments_share_is_forgotten_after_their_task(context: Context) -> None:
    with context.sharing():
        context.made["run"] = 1
    assert not context.made
