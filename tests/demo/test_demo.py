"""The demo, small: real questions in, a served version and a picture out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from sona_pg import SonaEngine, Store
from sona_pg.demo import corpus, run
from sona_pg.demo.plot import check_output, plot_curves
from sona_pg.demo.run import run_demo
from sona_pg.demo.serving_process import Point
from sona_pg.errors import ConfigError


def test_the_real_corpus_is_split_by_question() -> None:
    interactions = corpus.load_corpus(None)
    made = corpus.split(interactions, 0)
    learned = {item.question.lower() for item in made.stream}
    held_out = {item.question.lower() for item in made.held_out}
    assert len(made.topics) == 11
    assert len(learned) > 400
    assert len(held_out) > 150
    assert not learned & held_out
    assert corpus.split(interactions, 0) == made
    assert corpus.split(interactions, 1) != made


def test_a_users_own_file_teaches_the_process_that_only_serves(
    database_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    subjects = {
        "animals": ["lion", "tiger", "zebra", "horse", "rabbit", "elephant", "cow", "dog", "cat", "wolf"],
        "cooking": ["soup", "bread", "pasta", "rice", "salad", "cake", "stew", "pie", "omelette", "pizza"],
    }
    frames = ["what about a {}", "tell me of the {} please", "is the {} any good", "how old is this {}"]
    lines = [
        json.dumps({"question": frame.format(word), "topic": topic})
        for topic, words in subjects.items()
        for word in words
        for frame in frames
    ]
    data = tmp_path / "mine.jsonl"
    data.write_text("\n".join(lines) + "\n")
    picture = tmp_path / "curve.svg"
    run_demo(database_url, data, 1, picture)
    printed = capfd.readouterr().out
    drawn = ElementTree.parse(picture).getroot()
    assert len(drawn.findall("{http://www.w3.org/2000/svg}polyline")) == 4  # axes, seed, frozen embedding, mean
    assert "held-out accuracy" in printed
    assert "sona.pattern_summary" in printed
    told = " ".join(printed.split())
    assert "every answer and score as before, to the bit; the ledger gives that state again" in told
    assert str(picture.name) in printed.replace("\n", "")


def test_one_space_is_left_to_look_at_and_the_last_line_says_where(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def learn(url: str, space: str, *_: Any, **__: Any) -> tuple[list[Point], str]:
        with SonaEngine(2, url, space):
            return [Point(count, 1, 0.5, 0.5, 1.0, 0.1, "server", "digest") for count in (0, 50)], ""

    monkeypatch.setattr(run, "_learn", learn)
    monkeypatch.setattr(run, "_report", lambda *_: None)
    run_demo(database_url, None, 3, tmp_path / "curve.svg")
    with Store(database_url) as store:
        (space,) = [space.name for space in store.spaces() if space.name.startswith("demo-")]
    told = " ".join(capsys.readouterr().out.split())
    assert f"make dashboard in a clone, else sona-pg serve --demo; then http://127.0.0.1:8700/?space={space};" in told


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{nonsense", "line 1"),
        ('{"question": "a"}', "line 1: expected"),
        ('{"question": "", "topic": "b"}', "not empty"),
        ('{"question": "a", "topic": "b"}', "two or more"),
    ],
)
def test_an_unusable_file_is_refused_with_the_reason(tmp_path: Path, content: str, told: str) -> None:
    data = tmp_path / "bad.jsonl"
    data.write_text(content)
    with pytest.raises(ConfigError, match=told):
        corpus.load_corpus(data)


def test_the_picture_has_round_ticks(tmp_path: Path) -> None:
    plot_curves([[(0, 0.25), (513, 0.75)], [(0, 0.35), (513, 0.85)]], tmp_path / "curve.svg")
    drawn = (tmp_path / "curve.svg").read_text()
    assert [count for count in ("0", "100", "200", "500", "513") if f">{count}<" in drawn] == ["0", "100", "200", "500"]
    assert "mean of 2 seeds" in drawn


def test_a_picture_of_another_kind_is_refused_before_the_demo_runs() -> None:
    with pytest.raises(ConfigError, match=r"ends in \.svg"):
        check_output(Path("curve.png"))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.jsonl"):
        corpus.load_corpus(tmp_path / "none.jsonl")
