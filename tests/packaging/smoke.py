"""Does an installed sona-pg work? Run by CI with the Python of a fresh environment, outside the source tree.

    python tests/packaging/smoke.py

It needs the extra `embedded`; the command line and the text embedder are tried if their extras are there.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

import numpy as np

SOURCES = Path(__file__).resolve().parents[2]


def check_files() -> None:
    """The package is the installed one, and complete."""
    import sona_pg
    import sona_pg._kernels
    import sona_pg.kernels

    package = Path(sona_pg.__file__).parent
    assert not package.is_relative_to(SOURCES / "sona_pg"), f"{package} is the source tree"
    for name in ("py.typed", "_kernels.pyi"):
        assert (package / name).exists(), f"{name} is missing"
    revisions = [path.name for path in files("sona_pg.migrations").joinpath("versions").iterdir()]
    assert any(name.startswith("v0001") for name in revisions), f"no first migration among {revisions}"
    print(f"package: {package}")


def check_engine() -> None:
    """It records, learns, and a second engine finds it."""
    from sona_pg import SonaEngine

    rng = np.random.default_rng(0)
    x = rng.standard_normal(256).astype(np.float32)
    with SonaEngine(hidden_dim=256) as engine:
        for _ in range(10):
            trajectory = engine.begin_trajectory(x + 0.1 * rng.standard_normal(256).astype(np.float32))
            engine.set_trajectory_route(trajectory, "small-model")
            engine.end_trajectory(trajectory, quality=0.85)
        engine.flush()
        print(f"learned: {engine.force_learn()}")
    with SonaEngine(hidden_dim=256) as engine:
        assert engine.find_patterns(x, k=1), "the second engine finds no pattern"
        assert engine.apply_micro_lora(x).dtype == np.float32


def check_command() -> None:
    """The command runs, or says which extra it needs."""
    command = [Path(sys.executable).with_name("sona-pg"), "info"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if importlib.util.find_spec("typer"):
        assert done.returncode == 0, done.stderr
        print(done.stdout.strip())
    else:
        assert done.returncode == 2, done
        assert "pip install 'sona-pg[cli]'" in done.stderr, done.stderr


def main() -> None:
    check_files()
    home = Path(tempfile.mkdtemp(prefix="sona-pg-smoke-"))
    os.environ["SONA_PG_HOME"] = str(home)
    os.environ.pop("SONA_PG_URL", None)
    check_engine()
    check_command()
    with (home / "postgres" / "keeper.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)  # until the server has stopped
    shutil.rmtree(home)
    print("smoke: ok")


if __name__ == "__main__":
    main()
