"""The examples run as they stand, and print the documented output."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, url: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / f"{name}.py")],
        capture_output=True, text=True, env=os.environ | {"SONA_PG_URL": url},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_is_a_test_of_every_example() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"retrieval", "router", "analytics"}


def test_retrieval_answers_more_after_thumbs(database_url: str) -> None:
    pytest.importorskip("wordllama", reason="the example embeds text: extra text")
    before, after = (int(count) for count in re.findall(r"(\d) of 6", run("retrieval", database_url)))
    assert after > before
    assert after >= 5


def test_the_router_beats_chance_within_its_budget(database_url: str) -> None:
    rounds = [
        [int(share) for share in re.findall(r"(\d+)%", line)] for line in run("router", database_url).splitlines()
    ]
    right, strong, by_chance = rounds[-1]
    assert right > by_chance
    assert abs(strong - 40) <= 5


def test_analytics_find_the_inserted_rows(database_url: str) -> None:
    told = run("analytics", database_url)
    worst = told.split("Which kinds of question go badly?")[1].strip().splitlines()[0]
    assert "debug this python function" in worst
    best = told.split("Which route is best at each?")[1].split("Which settings")[0]
    found = {line.split()[0]: line.split()[-2] for line in best.strip().splitlines()}
    assert found == {"debug": "large", "write": "large", "what": "small"}
