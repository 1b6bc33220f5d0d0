"""The evaluation suite: it reports when it cannot run, and its figures are correct."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from benchmarks.eval.continual import summary  # noqa: E402
from benchmarks.eval.data import LOCOMO_FILES, Mmlu, missing_files  # noqa: E402
from benchmarks.eval.money import NEVER, _until, best_mix  # noqa: E402
from benchmarks.eval.routing import _lift, apgr, neighbours_online  # noqa: E402
from benchmarks.eval.stats import Cell, Table, Target, gather  # noqa: E402


def prompts(weak: list[float], strong: list[float]) -> Mmlu:
    n = len(weak)
    return Mmlu(
        np.zeros((n, 1), np.float32),
        np.array(weak),
        np.array(strong),
        np.zeros(n, bool),
        np.zeros((n, 1), np.float32),
        np.full(n, "", object),
    )


@pytest.mark.parametrize("arguments", [[], ["--data", "/nowhere/at/all"]])
def test_without_data_it_skips_loudly_and_names_the_sources(arguments: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.eval", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stderr.startswith("EVALUATION SKIPPED")
    assert "https://github.com/clinc/oos-eval" in ran.stderr
    assert ran.stdout == ""


def test_missing_files_of_a_folder_are_listed(tmp_path: Path) -> None:
    (tmp_path / "mmlu.npz").touch()
    assert missing_files(tmp_path) == ["clinc150.npz", "clinc150_names.npz", "mmlu.jsonl", *LOCOMO_FILES]


def test_a_mean_comes_with_its_confidence_interval_and_its_target() -> None:
    cell = Cell("ours", "accuracy", (1.0, 2.0, 3.0), Target(2.0))
    assert cell.mean == 2.0
    assert cell.half_width == pytest.approx(4.3027 / np.sqrt(3), rel=1e-4)  # Student's t, two degrees of freedom
    assert cell.text(1) == "2.0 ± 2.5 (≥ 2: yes)"
    assert not Cell("ours", "loss", (2.1,), Target(2.0, at_most=True)).reached
    assert Cell("theirs", "accuracy", (1.0,)).as_dict()["ci95"] is None


def test_a_table_has_a_row_for_each_method_and_leaves_unknown_cells_empty() -> None:
    cells = gather([{"a": {"x": 1.0}, "b": {"x": 2.0, "y": 3.0}}, {"a": {"x": 3.0}, "b": {"x": 2.0, "y": 3.0}}])
    lines = Table("name", "Title", cells).text().splitlines()
    assert [line.split("|")[1].strip() for line in lines[4:]] == ["a", "b"]
    assert lines[4].split("|")[3].strip() == ""


def test_apgr_is_a_half_for_chance_and_more_for_a_perfect_router() -> None:
    some = prompts([0, 1] * 500, [1, 1] * 500)
    right = apgr(np.array([1.0, 0.0] * 500), some)
    assert right == pytest.approx(0.75, abs=0.01)  # all of the gap by half of the calls
    assert apgr(np.random.default_rng(0).random(1000), some) == pytest.approx(0.5, abs=0.03)
    assert apgr(np.array([0.0, 1.0] * 500), some) == pytest.approx(0.25, abs=0.01)


def test_lift_is_the_gain_over_a_random_choice_of_the_same_cost() -> None:
    figures = _lift(np.array([True, False] * 4), prompts([0, 1] * 4, [1, 1] * 4))
    assert figures["lift, whole"] == pytest.approx(25.0)  # 100 % right, where chance at half the cost has 75 %
    assert figures["drift, second half"] == 0.0


def test_the_online_opponent_knows_of_no_prompt_before_its_turn() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((800, 8)).astype(np.float32)
    weak, strong = (rng.random(800) < 0.5).astype(float), (x[:, 0] > 0).astype(float)

    def stream(x: np.ndarray, weak: np.ndarray, strong: np.ndarray) -> Mmlu:
        none = np.zeros((800, 0), np.float32)
        return Mmlu(x, weak, strong, np.zeros(800, bool), none, np.full(800, "", object))

    usual = neighbours_online(stream(x, weak, strong), 1)
    for known in (150, 550):  # within its first round of learning, and later
        later = np.arange(800) >= known
        other = stream(
            np.where(later[:, None], -x, x), np.where(later, 1 - weak, weak), np.where(later, 1 - strong, strong)
        )
        assert (neighbours_online(other, 1)[:known] == usual[:known]).all()
    assert usual[x[:, 0] > 0.5][-100:].mean() > usual[x[:, 0] < -0.5][-100:].mean() + 0.3  # and it has learned


def test_forgetting_is_best_minus_final_accuracy_of_a_task() -> None:
    after = np.array([[90.0, 10.0, 10.0], [70.0, 80.0, 10.0], [50.0, 75.0, 60.0]])
    figures = summary(after, [(domain, None) for domain in range(3)])  # type: ignore[misc]
    assert figures["final"] == pytest.approx((50 + 75 + 60) / 3)
    assert figures["forgetting"] == pytest.approx(((90 - 50) + (80 - 75)) / 2)


def test_a_figure_that_a_seed_lacks_is_left_out_of_the_mean() -> None:
    cells = gather([{"a": {"x": 1.0}}, {"a": {"x": 3.0, "y": 5.0}, "b": {"x": 2.0}}])
    assert [(cell.method, cell.heading, cell.mean) for cell in cells] == [
        ("a", "x", 2.0),
        ("a", "y", 5.0),
        ("b", "x", 2.0),
    ]


def test_the_best_mix_spends_the_budget_on_the_two_models_that_buy_most() -> None:
    reward, cost = np.tile([0.5, 0.9, 1.0, np.nan], (4, 1)), np.tile([1.0, 5.0, 100.0, np.nan], (4, 1))
    assert best_mix(reward, cost, 1.0) == pytest.approx(0.5)
    assert best_mix(reward, cost, 3.0) == pytest.approx(0.7)
    assert best_mix(reward, cost, 1000.0) == pytest.approx(1.0)


def test_a_change_is_noticed_once_its_share_of_the_last_fifty_is_reached() -> None:
    taken = np.arange(300) >= 100
    assert _until(taken, 0.5) == 125
    assert _until(taken[:110], 0.5) == NEVER
