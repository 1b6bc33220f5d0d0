"""Files that people ask for: whole, theirs alone, and nothing else on the machine is replaced by them."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.cli.commands import app
from sona_pg.store.whole_file import WRITING, whole_file

DIM = 8


def put(path: Path, text: str = "new") -> None:
    with whole_file(path) as beside:
        beside.write_text(text)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_is_its_owners_alone_and_an_old_one_keeps_who_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        put(tmp_path / "new")
        (tmp_path / "old").write_text("old")
        (tmp_path / "old").chmod(0o640)
        put(tmp_path / "old")
    finally:
        os.umask(before)
    assert (mode(tmp_path / "new"), mode(tmp_path / "old")) == (0o600, 0o640)
    assert (tmp_path / "old").read_text() == "new"


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_stays_and_the_file_behind_it_is_replaced(tmp_path: Path, is_there: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "real", tmp_path / "latest"
    if is_there:
        target.write_text("old")
    link.symlink_to(target)
    put(link)
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert sorted(tmp_path.glob(f"**/*{WRITING}")) == []


def test_a_block_that_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("old")
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "store") as beside:
        beside.write_bytes(Path(tmp_path, "missing").read_bytes())
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("store", "old")]


def test_what_a_killed_process_left_is_overwritten_and_what_another_one_writes_is_not(tmp_path: Path) -> None:
    (tmp_path / f"store{WRITING}").write_text("left, and longer than what comes now")
    with whole_file(tmp_path / "store") as beside:
        beside.write_text("new")
        with pytest.raises(BlockingIOError, match="another process is writing it"):
            put(tmp_path / "store", "other")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("store", "new")]


def test_an_editors_backup_stays(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl~").write_text("mine")
    put(tmp_path / "rows.jsonl")
    assert (tmp_path / "rows.jsonl~").read_text() == "mine"


def test_nothing_is_written_through_a_link_in_the_place_of_the_unfinished_file(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / f"soft{WRITING}").symlink_to(victim)
    (tmp_path / f"hard{WRITING}").hardlink_to(victim)
    os.mkfifo(tmp_path / f"pipe{WRITING}")
    with pytest.raises(OSError, match="soft"):
        put(tmp_path / "soft")
    for name in ("hard", "pipe"):
        with pytest.raises(FileExistsError, match="remove it"):
            put(tmp_path / name)
    assert victim.read_text() == "precious"
    assert stat.S_ISFIFO((tmp_path / f"pipe{WRITING}").lstat().st_mode)


def test_a_file_that_standard_output_is_appended_to_keeps_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "all").write_text("earlier\n")
    script = "import test_whole_file as t; t.put(t.Path('/dev/stdout'), 'new'); t.put(t.Path('/dev/fd/1'), ' more')"
    with (tmp_path / "all").open("ab") as output:
        subprocess.run([sys.executable, "-c", script], stdout=output, check=True, cwd=Path(__file__).parent)
    assert (tmp_path / "all").read_text() == "earlier\nnew more"


@pytest.mark.parametrize("target", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/stderr"])
def test_a_file_that_an_output_is_redirected_to_goes_on_behind_what_is_written(tmp_path: Path, target: str) -> None:
    script = f"import test_whole_file as t; print('a'); t.put(t.Path('{target}'), 'b\\n' * 9); print('c')"
    with (tmp_path / "all").open("wb") as output:
        output.write(b"earlier\n")
        output.flush()
        for _ in range(2):
            command = [sys.executable, "-c", script]
            subprocess.run(command, stdout=output, stderr=output, check=True, cwd=Path(__file__).parent)
    assert (tmp_path / "all").read_text() == "earlier\n" + 2 * ("a\n" + 9 * "b\n" + "c\n")


@pytest.mark.parametrize("name", ["n" * 239, "n" * 240, "n" * 255, "é" * 127, "n" + "é" * 127])
def test_every_name_that_a_file_can_have_can_be_written(tmp_path: Path, name: str) -> None:
    for text in ("old", "new"):
        put(tmp_path / name, text)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [(name, "new")]


def test_long_names_that_begin_alike_are_written_at_the_same_time(tmp_path: Path) -> None:
    with whole_file(tmp_path / ("n" * 254 + "a")) as beside:
        beside.write_text("a")
        put(tmp_path / ("n" * 254 + "b"), "b")
    assert {(file.name[-1], file.read_text()) for file in tmp_path.iterdir()} == {("a", "a"), ("b", "b")}


def test_one_whom_another_process_overtakes_waits_for_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, overtaken = fcntl.flock, []

    def overtake(held: int, how: int) -> None:
        lock(held, how)
        if not overtaken:  # what was opened has got its name meanwhile
            overtaken.append(True)
            os.replace(tmp_path / f"store{WRITING}", tmp_path / "store")

    monkeypatch.setattr(fcntl, "flock", overtake)
    with whole_file(tmp_path / "store") as beside:
        assert beside.exists()
        beside.write_text("new")
        assert (tmp_path / "store").read_text() == ""
    assert (tmp_path / "store").read_text() == "new"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="name a file in it"):
        put(tmp_path)


@pytest.fixture
def recorded(database_url: str) -> str:
    with SonaEngine(DIM, database_url, config=SonaConfig(loops=LoopConfig(automatic=False))) as engine:
        for row in range(4):
            x = np.eye(DIM, dtype=np.float32)[row]
            engine.end_trajectory(engine.begin_trajectory(x, query=f"q{row}"), 0.5)
        engine.flush()
        engine.force_learn()
    return database_url


def saved(url: str, path: Path) -> None:
    with SonaEngine(DIM, url, create=False) as engine:
        engine.save(path)


def called(*arguments: str) -> Callable[[str, Path], None]:
    def call(url: str, path: Path) -> None:
        done = CliRunner().invoke(app, [str(path) if part == "FILE" else part for part in (*arguments, "--url", url)])
        assert done.exit_code == 0, (done.output, done.exception)

    return call


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(saved, id="save"),
        pytest.param(called("dump", "FILE"), id="dump"),
        pytest.param(called("space", "archive", "default", "FILE"), id="archive"),
        pytest.param(called("export", "trajectories", "--output", "FILE"), id="export"),
    ],
)
def test_no_command_replaces_a_pipe_and_none_lets_others_read(
    recorded: str, tmp_path: Path, write: Callable[[str, Path], None]
) -> None:
    pipe, heard = tmp_path / "pipe.jsonl", bytearray()
    os.mkfifo(pipe)
    listener = threading.Thread(target=lambda: heard.extend(pipe.read_bytes()))
    listener.start()
    write(recorded, pipe)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    listener.join()
    file = tmp_path / "file.jsonl"
    write(recorded, file)
    assert heard[:4] == file.read_bytes()[:4]
    assert abs(len(heard) - file.stat().st_size) < 1000  # figures within say when it was written
    assert mode(file) == 0o600
