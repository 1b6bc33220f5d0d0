"""docs/erasure.md is true: its Python runs as it stands, its commands exist and do what it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

from typer.testing import CliRunner

from sona_pg import SonaEngine
from sona_pg.cli import render
from sona_pg.cli.commands import app

TEXT = (Path(__file__).parent.parent / "docs" / "erasure.md").read_text()
PYTHON = "\n".join(re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
(SHELL,) = re.findall(r"^```sh\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_the_page_on_erasure_runs(database_url, tmp_path, monkeypatch):
    monkeypatch.setenv("SONA_PG_URL", database_url)
    monkeypatch.setenv("SONA_PG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    known: dict = {}
    exec(compile(PYTHON, "erasure.md", "exec"), known)
    known["engine"].close()
    answers = []
    for line in SHELL.splitlines():
        command, _, file = line.removeprefix("sona-pg ").partition(" > ")
        done = CliRunner().invoke(app, command.split(), catch_exceptions=False)
        assert done.exit_code in (0, 3), done.output  # 3: the page's Python has erased the user before
        answers.append(json.loads(done.stdout))
        if file:
            Path(file).write_text(done.stdout)
    plan, receipt, verified = answers
    assert plan["trajectories"] == 0
    assert receipt["removed"]["trajectories"] == 0
    assert verified["genuine"]


def test_a_receipt_that_was_changed_ends_the_command_with_1(database_url, tmp_path, monkeypatch):
    monkeypatch.setenv("SONA_PG_HOME", str(tmp_path))
    options = ["--space", "made", "--url", database_url]
    with SonaEngine(2, database_url, "made") as engine:
        trajectory = engine.begin_trajectory([1.0, 0.0])
        engine.add_trajectory_context(trajectory, "user:7")
        engine.end_trajectory(trajectory, 1.0)
    refused = CliRunner().invoke(app, ["forget", "--user", "7", *options])
    assert refused.exit_code != 0
    done = CliRunner().invoke(app, ["forget", "--user", "7", "--yes", *options], catch_exceptions=False)
    receipt = json.loads(done.stdout)
    assert receipt["removed"]["trajectories"] == 1
    changed = json.dumps({**receipt, "kind": "session"})
    told = CliRunner().invoke(app, ["forget", "--verify", "-", *options], input=changed)
    assert (told.exit_code, json.loads(told.stdout)["genuine"]) == (1, False)
    elsewhere = ["forget", "--verify", "-", "--key", str(tmp_path / "another.key"), *options]
    (tmp_path / "another.key").write_text("0" * 64)
    told = CliRunner().invoke(app, elsewhere, input=json.dumps(receipt))
    facts = json.loads(told.stdout)
    assert (told.exit_code, facts["genuine"], facts["signed_with"]) == (4, False, receipt["signature"]["key"])
    assert facts["checked_with"] != facts["signed_with"]
    everywhere = ["forget", "--user", "7", "--all-spaces", "--dry-run", "--url", database_url]
    with SonaEngine(3, database_url, "other"):
        planned = CliRunner().invoke(app, everywhere, catch_exceptions=False)
    assert planned.exit_code == 3
    plans = [json.loads(line) for line in planned.stdout.splitlines()]
    assert [(plan["space"], plan["trajectories"]) for plan in plans] == [("made", 0), ("other", 0)]
    finished = CliRunner().invoke(app, ["forget", "--finish", *options], catch_exceptions=False)
    assert json.loads(finished.stdout) == {"space": "made", "finished": 0}


def test_a_dry_run_says_in_words_what_is_lost_and_where_else_the_user_is_known(database_url, tmp_path, monkeypatch):
    monkeypatch.setenv("SONA_PG_HOME", str(tmp_path))
    for space in ("made", "other", "strange"):
        with SonaEngine(2, database_url, space) as engine:
            trajectory = engine.begin_trajectory([1.0, 0.0])
            engine.add_trajectory_context(trajectory, "user:7" if space != "strange" else "user:8")
            engine.end_trajectory(trajectory, 1.0)
            engine.flush()
            if space == "made":
                engine.force_learn()
    words = ["forget", "--user", "7", "--space", "made", "--dry-run", "--url", database_url]
    planned = CliRunner().invoke(app, words, catch_exceptions=False)
    assert (planned.exit_code, json.loads(planned.stdout)["versions"]) == (0, [1])
    first, second = planned.stderr.splitlines()
    assert first.startswith("sona-pg: version 1 of space 'made' may hold what these records have taught")
    assert "nobody can return to them" in first
    assert second == "sona-pg: other spaces have records of user '7': 'other' (1 trajectories); see --all-spaces"


def test_a_subject_that_is_misspelt_is_told(database_url, tmp_path, monkeypatch):
    monkeypatch.setenv("SONA_PG_HOME", str(tmp_path))
    with SonaEngine(2, database_url, "made") as engine:
        trajectory = engine.begin_trajectory([1.0, 0.0])
        engine.add_trajectory_context(trajectory, "user:7")
        engine.end_trajectory(trajectory, 1.0)

    def forget(*words):
        return CliRunner().invoke(app, ["forget", *words, "--space", "made", "--url", database_url])

    assert "name one of --user" in str(forget().exception)
    assert "expected the name without user: before it, --user 7" in str(forget("--user", "user:7", "--yes").exception)
    nobody = forget("--user", "nobody", "--yes")
    assert nobody.stderr == "sona-pg: space 'made' has nothing of user 'nobody'\n"
    assert json.loads(nobody.stdout)["version"] == 0
    assert nobody.exit_code == 3


def test_an_erasure_says_first_what_it_removed_and_prints_the_whole_receipt(database_url, tmp_path, monkeypatch):
    monkeypatch.setenv("SONA_PG_HOME", str(tmp_path))
    monkeypatch.setattr(render, "wants_json", lambda: False)  # as on a terminal
    with SonaEngine(2, database_url, "made") as engine:
        for _ in range(2):
            trajectory = engine.begin_trajectory([1.0, 0.0])
            engine.add_trajectory_context(trajectory, "user:7")
            engine.end_trajectory(trajectory, 1.0)
    erased = CliRunner().invoke(app, ["forget", "--user", "7", "--yes", "--space", "made", "--url", database_url])
    assert erased.exit_code == 0
    assert erased.stderr.startswith("sona-pg: removed from space 'made' of user '7': 2 trajectories")
    receipt = json.loads(erased.stdout)
    assert (receipt["removed"]["trajectories"], len(receipt["signature"]["value"])) == (2, 64)
