"""The command line as a user types it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import psycopg
import pytest
from click.testing import Result
from typer.main import get_command
from typer.testing import CliRunner

from sona_pg import LoopConfig, SonaConfig, SonaEngine, kernels
from sona_pg._version import __version__
from sona_pg.cli import render, space_commands
from sona_pg.cli.commands import app
from sona_pg.cli.main import exit_status
from sona_pg.config.space_settings import PARTS
from sona_pg.errors import ConfigError, SettingsConflict, SonaError
from sona_pg.service.web_server import WebServer

DIM = 8
MAIN = "import sys; from sona_pg.cli.main import main; sys.exit(main())"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, *arguments],
        capture_output=True, text=True, env=os.environ | environment,
    )  # fmt: skip


@pytest.fixture
def taught(database_url: str) -> str:
    """The URL of a database whose default space has learned."""
    with SonaEngine(DIM, database_url) as engine:
        for row in range(12):
            t = engine.begin_trajectory(np.eye(DIM, dtype=np.float32)[row % 2], query=f"question {row % 2}")
            engine.set_trajectory_route(t, "a" if row % 3 else "b")
            engine.end_trajectory(t, 0.5)
        engine.feedback(uuid.uuid4(), quality=1.0)
        engine.force_learn()
    return database_url


def test_every_command_has_help() -> None:
    def commands(group: object) -> list:
        found = []
        for command in group.commands.values():  # type: ignore[attr-defined]
            found.append(command)
            if hasattr(command, "commands"):
                found.extend(commands(command))
        return found

    every = commands(get_command(app))
    assert len(every) >= 12
    for command in every:
        assert command.help, command.name
        for option in command.params:
            assert getattr(option, "help", None) or option.name == "help", f"{command.name} {option.name}"


def test_the_release_is_told_as_other_programs_tell_it() -> None:
    told = CliRunner().invoke(app, ["--version"])
    assert (told.exit_code, told.output) == (0, f"sona-pg {__version__}\n")


def test_info_names_the_instruction_set_in_use() -> None:
    facts = json.loads(run("info").stdout)
    assert facts["kernels"] == kernels.isa()
    assert kernels.isa() in facts["kernels available"]
    forced = json.loads(run("info", SONA_PG_ISA="scalar").stdout)
    assert forced["kernels"] == "scalar"


@pytest.mark.parametrize(
    ("command", "holds"),
    [
        ("patterns", {"typical_query", "size", "quality", "routes"}),
        ("quality", {"day", "route", "trajectories", "quality"}),
        ("cycles", {"loop", "version", "milliseconds", "trajectories"}),
        ("fleet --all", {"server_id", "serving_version", "versions_behind", "state"}),
        ("waiting-feedback", {"trajectory_id", "source", "quality", "age"}),
    ],
)
def test_views_are_json_in_a_pipe(taught: str, command: str, holds: set[str]) -> None:
    done = CliRunner().invoke(app, [*command.split(), "--url", taught])
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.output.splitlines()]
    assert rows
    assert holds <= rows[0].keys()


def test_the_fleet_hides_servers_that_have_ended(taught: str) -> None:
    assert CliRunner().invoke(app, ["fleet", "--url", taught]).output == ""
    with SonaEngine(DIM, taught) as engine:
        [line] = CliRunner().invoke(app, ["fleet", "--url", taught]).output.splitlines()
        assert json.loads(line)["server_id"] == str(engine.server_id)


@pytest.mark.parametrize("command", ["fleet", "cycles"])
def test_a_space_without_live_servers_names_those_that_have_some(taught: str, command: str) -> None:
    """Tutorial 6 asked for the fleet of the default space: in a pipe no rows look like no servers."""
    with SonaEngine(DIM, taught, "shop"), SonaEngine(DIM, taught, "docs"):
        done = run(command, "--url", taught)
        there = run(command, "--url", taught, "--space", "shop")
    assert done.returncode == 0, done.stderr
    assert "space 'default' has no live server; spaces with live servers: 'docs', 'shop' (--space NAME)" in done.stderr
    assert [json.loads(line)["space"] for line in done.stdout.splitlines()] == ["default"] * (command == "cycles")
    assert "live server" not in there.stderr


def test_stats_and_learn_speak_of_the_space(taught: str) -> None:
    stats = json.loads(run("stats", "--url", taught).stdout)
    assert (stats["trajectories"], stats["waiting"], stats["servers"]) == (12, 0, 0)
    assert stats["feedback_without_trajectory"] == 1
    assert json.loads(run("learn", "--url", taught).stdout)["learned"] is False


def test_learn_goes_to_every_space_in_which_a_cycle_is_due(database_url: str) -> None:
    soon = LoopConfig(automatic=False, min_trajectories=15, shortest_interval=0.0)  # a first cycle at 3 facts
    for name, facts in (("a", 3), ("b", 2), ("c", 4)):
        with SonaEngine(DIM, database_url, name, config=SonaConfig(hidden_dim=DIM, loops=soon)) as engine:
            for _ in range(facts):
                engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.5)
    done = CliRunner().invoke(app, ["learn", "--due", "--url", database_url]).output
    learned = {row["space"]: row["trajectories"] for row in map(json.loads, done.splitlines())}
    assert learned == {"a": 3, "c": 4}


def test_the_exit_status_of_rebuild_tells_whether_it_reproduces_the_live_state(taught: str) -> None:
    first = CliRunner().invoke(app, ["rebuild", "--url", taught])
    assert (first.exit_code, json.loads(first.output)["differences"]) == (0, [])
    with psycopg.connect(taught) as connection:
        connection.execute(
            "DELETE FROM sona.trajectories WHERE id = (SELECT max(id::text)::uuid FROM sona.trajectories)"
        )
    unlearned = CliRunner().invoke(app, ["rebuild", "--url", taught])
    assert unlearned.exit_code == 1
    assert "patterns" in json.loads(unlearned.output)["differences"]
    assert CliRunner().invoke(app, ["rebuild", "--publish", "--url", taught]).exit_code == 0
    assert CliRunner().invoke(app, ["rebuild", "--url", taught]).exit_code == 0


def test_the_schema_is_checked_and_upgraded(empty_database_url: str) -> None:
    before = run("db", "check", "--url", empty_database_url)
    assert before.returncode == 1
    assert "run sona-pg db upgrade" in before.stderr
    done = json.loads(run("db", "upgrade", "--url", empty_database_url).stdout)
    assert done["revision"] == done["head"] >= "0003"
    checked = run("db", "check", "--url", empty_database_url)
    assert (checked.returncode, json.loads(checked.stdout)["faults"]) == (0, 0)
    told = json.loads(run("db", "info", "--url", empty_database_url).stdout)
    assert told["pgvector"].startswith("0.8")
    with psycopg.connect(told["url"]):  # as psql reads it
        pass


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["stats", "--space", "nowhere"], "no space 'nowhere'; there are: 'default'"),
        (["patterns", "--space", "nowhere"], "no space 'nowhere'"),
    ],
)
def test_an_unknown_space_is_an_error_of_one_line(taught: str, arguments: list[str], told: str) -> None:
    done = run(*arguments, "--url", taught)
    assert done.returncode == 1
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1


WRONG = [
    ("space budget default --amount 1 --per week", 2, "'week'"),
    ("route [1,0,0,0,0,0,0,0] --candidate a --cost a", 2, "--cost a: expected ROUTE=NUMBER"),
    ("keys create web --scope all", 2, "--scope all: expected one of"),
    (f"feedback {uuid.uuid4()}", 2, "give one or more of --quality, --correction and --cost, or --retract alone"),
    (f"feedback {uuid.uuid4()} --cost 1 --retract", 2, "--retract alone"),
    ("feedback nope --quality 1", 2, "'nope' is no id of a trajectory: expected the UUID that `sona-pg record`"),
    ("space remove default", 2, "pass --yes"),
    ("rank [1,0,0,0,0,0,0,0] --id red", 1, "space 'default' does not have all of 'red': store candidates first"),
]


def test_wrong_usage_differs_from_failure_and_is_told_in_the_words_of_the_command_line(database_url: str) -> None:
    SonaEngine(DIM, database_url).close()
    for arguments, status, told in WRONG:
        done = CliRunner().invoke(app, [*arguments.split(), "--url", database_url])
        if isinstance(done.exception, SonaError):
            assert (exit_status(done.exception), told in str(done.exception)) == (status, True), done.exception
        else:
            assert (done.exit_code, told in done.output) == (status, True), done.output


def test_a_real_cost_is_told_later(database_url: str) -> None:
    SonaEngine(DIM, database_url).close()
    made = json.loads(CliRunner().invoke(app, ["record", "[1,0,0,0,0,0,0,0]", "--url", database_url]).stdout)
    told = CliRunner().invoke(app, ["feedback", made["id"], "--cost", "0.25", "--url", database_url])
    assert told.exit_code == 0, told.exception
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT paid FROM sona.feedback WHERE paid IS NOT NULL").fetchall() == [(0.25,)]


def test_a_port_that_is_taken_is_told_before_anything_starts(database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        done = CliRunner().invoke(app, ["serve", "--port", str(listening.getsockname()[1]), "--url", database_url])
    assert isinstance(done.exception, ConfigError)
    assert "nothing can listen there: Address already in use" in str(done.exception)


def test_a_service_that_is_told_to_end_ends_with_0(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    start = WebServer.startup

    async def startup(server: WebServer, sockets: list[socket.socket] | None = None) -> None:
        await start(server, sockets)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(WebServer, "startup", startup)
    before = signal.getsignal(signal.SIGTERM)
    done = CliRunner().invoke(app, ["serve", "--port", "0", "--dim", "8", "--url", database_url])
    assert (done.exit_code, done.exception) == (0, None)
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_service_of_another_dimension_than_the_space_has_is_refused(taught: str) -> None:
    done = CliRunner().invoke(app, ["serve", "--port", "0", "--dim", "12", "--url", taught])
    assert isinstance(done.exception, SettingsConflict)
    assert "serve it without --dim" in str(done.exception)


def test_versions_are_listed_staged_promoted_and_rolled_back(taught: str, tmp_path: Path) -> None:
    def told(*arguments: str) -> list[dict]:
        done = CliRunner().invoke(app, [*arguments, "--url", taught], catch_exceptions=False)
        return [json.loads(line) for line in done.output.splitlines()]

    with SonaEngine(DIM, taught) as engine:
        engine.end_trajectory(engine.begin_trajectory(np.ones(DIM, np.float32)), 0.9)
    ((staged,), (live, waits)) = told("stage"), (1, 2)
    assert (staged["base_version"], staged["version"]) == (live, waits)
    assert [(v["version"], v["status"]) for v in told("versions")] == [(2, "candidate"), (1, "live")]
    for command in (["promote", "2"], ["rollback", "1"], ["load", "v"]):
        with pytest.raises(ConfigError, match="pass --yes"):
            told(*command)
    assert told("promote", "2", "--yes") == [{"live": 2}]
    assert {row["part"] for row in told("diff", "1", "2")} >= {"pattern", "array"}
    (saved,) = told("save", str(tmp_path / "v"))
    assert (saved["version"], saved["bytes"]) == (2, (tmp_path / "v").stat().st_size)
    (done,) = told("rollback", "1", "--keep-facts", "--yes")
    assert (done["version"], done["restores"], done["undone"], done["batches"]) == (3, 1, 1, 1)
    (made,) = told("load", str(tmp_path / "v"), "--space", "another", "--create", "--yes")
    assert [v["status"] for v in told("versions", "--space", "another")] == ["live"]
    assert made["live"] == 3  # above every version that its patterns name


def test_gaps_of_a_restore_are_listed(taught: str) -> None:
    with psycopg.connect(taught) as connection:
        connection.execute("DROP VIEW sona.fleet")
        connection.execute("DELETE FROM sona.adapters")
    done = run("db", "check", "--url", taught)
    assert done.returncode == 1
    found = {(fault["kind"], fault["name"]) for fault in map(json.loads, done.stdout.splitlines())}
    assert found == {("view", "fleet"), ("version", "1 of space 1")}
    assert "3 things are missing or wrong" in done.stderr


def test_no_command_prints_the_password_of_its_url() -> None:
    urls = {"postgres//someone:hunter2@db/x": 2, "postgresql://someone@127.0.0.1:9/x?password=hunter2": 1}
    for url, status in urls.items():
        for command in (["stats"], ["db", "info"], ["db", "check"], ["maintain"]):
            done = run(*command, "--url", url)
            assert done.returncode == status
            assert "hunter2" not in done.stdout + done.stderr
            assert len(done.stderr.splitlines()) == 1


def test_a_process_that_may_only_check_the_schema_names_the_command_to_run(empty_database_url: str) -> None:
    done = run("stats", "--url", empty_database_url, SONA_PG_MIGRATE="check")
    assert done.returncode == 1
    assert "run sona-pg db upgrade" in done.stderr


def test_maintain_prints_each_action_once(taught: str) -> None:
    made = [json.loads(line) for line in run("maintain", "--url", taught).stdout.splitlines()]
    assert {thing["action"] for thing in made} <= {"made", "summed"}
    again = [json.loads(line) for line in run("maintain", "--url", taught).stdout.splitlines()]
    assert {thing["action"] for thing in again} <= {"summed"}  # the figures of today


def test_recall_is_measured_on_stored_vectors(taught: str) -> None:
    facts = json.loads(run("recall", "--url", taught, "--queries", "5").stdout)
    assert (facts["recall"], facts["queries"], facts["incomplete"]) == (1.0, 5, 0)


def test_every_command_says_what_it_did(database_url: str, tmp_path: Path) -> None:
    SonaEngine(DIM, database_url).close()

    def told(*words: str) -> Result:
        return CliRunner().invoke(app, [*words, "--url", database_url])

    for words in (["worker", "--once"], ["learn", "--due"]):
        assert (told(*words).stdout, told(*words).stderr) == ("", "cycles that were due: none\n")
    listed = json.loads(told("space", "list").stdout)
    assert (listed["space"], listed["dim"], listed["live_version"], listed["trajectories"]) == ("default", DIM, 0, 0)
    assert CliRunner().invoke(app, ["--json", "stats", "--url", database_url]).exit_code == 0
    for words in (["dump"], ["space", "archive", "default"]):
        refused = told(*words, str(tmp_path / "none" / "x")).exception
        assert str(refused) == f"{tmp_path / 'none' / 'x'} cannot be written: there is no folder {tmp_path / 'none'}"
    removed = json.loads(told("space", "remove", "default", "--yes").stdout)
    assert (removed["space"], removed["removed"]) == ("default", True)


def test_a_space_is_shown_changed_and_renamed(taught: str) -> None:
    shown = json.loads(run("space", "show", "default", SONA_PG_URL=taught).stdout)
    assert (shown["dim"], shown["base.rank"]) == (DIM, 8)
    called = CliRunner().invoke(
        app, ["space", "set", "default", "base.rank=16", "ewc.fisher=diagonal", "--url", taught]
    )
    assert json.loads(called.stdout)["base.rank"] == 16
    rows = CliRunner().invoke(app, ["space", "show", "default", "--history", "--url", taught]).stdout.splitlines()
    assert [json.loads(row)["from_version"] for row in rows] == [0, 2]
    assert json.loads(rows[1])["changed"] == {"base.rank": 16, "ewc.fisher": "diagonal"}
    assert json.loads(CliRunner().invoke(app, ["rebuild", "--url", taught]).stdout)["differences"] == []
    CliRunner().invoke(app, ["space", "rename", "default", "questions", "--url", taught])
    listed = CliRunner().invoke(app, ["space", "list", "--url", taught]).stdout
    assert json.loads(listed)["space"] == "questions"


def test_the_settings_of_a_space_are_printed_by_part_and_a_change_alone(taught: str, monkeypatch) -> None:
    assert json.loads(run("space", "set", "default", SONA_PG_URL=taught).stdout)["base.rank"] == 8
    monkeypatch.setattr(render, "wants_json", lambda: False)
    monkeypatch.setattr(space_commands, "wants_json", lambda: False)
    lines = CliRunner().invoke(app, ["space", "set", "default", "--url", taught]).stdout.splitlines()
    parts = [line.split(".")[0].strip(" │") if "." in line else "" for line in lines if line[:1] in "│├"]
    assert parts.count("base") > 2
    assert [part for part, before in zip(parts, ["", *parts], strict=False) if part and not before] == [*PARTS]
    told = CliRunner().invoke(app, ["space", "set", "default", "base.rank=16", "--url", taught]).stdout
    assert ("base.rank" in told, "base.learning_rate" in told) == (True, False)


@pytest.mark.parametrize(("told", "named"), [("base.speed=2", "base.learning_rate"), ("speed=2", "patterns")])
def test_a_setting_that_a_space_does_not_have_is_refused_with_those_like_it(taught: str, told: str, named: str) -> None:
    done = run("space", "set", "default", told, SONA_PG_URL=taught)
    assert done.returncode == 2
    assert named in done.stderr
    assert len(done.stderr) < 600


def test_a_space_is_reembedded(taught: str, tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(
        "import numpy as np\ndef embed(texts):\n    return np.array([[len(t), 1, 0, 2] for t in texts], np.float32)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "space", "reembed", "default", "--dim", "4", "--model", "models:embed"],
        capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"SONA_PG_URL": taught},
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert (told["dim"], told["kept_as"], told["trajectories"], told["version"]) == (4, "default~1", 12, 1)
    for arguments, problem in [
        (["--dim", "4"], "256 dimensions"),
        (["--model", "models:embed"], "say with --dim"),
        (["--model", "nothing:embed", "--dim", "4"], "nothing"),
        (["--model", "models", "--dim", "4"], "MODULE:NAME"),
        (["--candidate-texts", "nofile.json"], "nofile.json: there is no such file"),
    ]:
        refused = CliRunner().invoke(app, ["space", "reembed", "default", *arguments, "--url", taught])
        assert problem in str(refused.exception)
