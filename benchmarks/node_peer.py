"""npm's `@ruvector/sona` beside ours: installed on demand into the user's cache folder, run in Node, asked for JSON."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

PACKAGE = "@ruvector/sona"
SCRIPT = Path(__file__).with_name("sona_node.mjs")


class PeerMissing(Exception):
    """The peer cannot be run; the message says why."""


@cache
def measured(dim: int) -> dict[str, Any]:
    """Return seconds of ``apply``, ``record`` and ``find`` (by number of patterns), and the versions.

    Raises:
        PeerMissing: there is no Node or npm, or the package cannot be installed or run.
    """
    folder = _installed()
    try:
        done = subprocess.run(
            ["node", str(SCRIPT), str(folder), str(dim)], capture_output=True, text=True, timeout=300, check=True
        )
    except subprocess.CalledProcessError as exc:
        raise PeerMissing(f"{PACKAGE} failed: {_last_line(exc.stderr)}") from exc
    except subprocess.TimeoutExpired as exc:
        raise PeerMissing(f"{PACKAGE} took longer than 300 s") from exc
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _installed() -> Path:
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            raise PeerMissing(f"{tool} is not installed")
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sona-pg" / "npm"
    if not (folder / "node_modules" / PACKAGE / "package.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", PACKAGE]
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
        except subprocess.CalledProcessError as exc:
            raise PeerMissing(f"{PACKAGE} cannot be installed: {_last_line(exc.stderr)}") from exc
        except subprocess.TimeoutExpired as exc:
            raise PeerMissing(f"{PACKAGE} cannot be installed: npm took longer than 180 s") from exc
    return folder


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["no message"])[-1][:120]
