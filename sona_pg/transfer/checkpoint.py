"""Progress of an import in a file beside the imported one: a killed import goes on where all is committed."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A place in a file up to which everything is committed."""

    target: str  # the space, and when it was made: another database has another one of its name
    file: str  # size and time of change: a changed file is read from its beginning
    line: int
    offset: int  # in the unzipped file
    rows: int
    rejected: int
    rejects_size: int  # bytes of the file of rejects


def identity_of(path: Path) -> str:
    """Return a text that differs once the file has changed."""
    known = path.stat()
    return f"{known.st_size} {known.st_mtime_ns}"


def load_checkpoint(path: Path, target: str, file: str) -> Checkpoint | None:
    """Return the checkpoint of an import of the unchanged file into ``target``; None if there is none."""
    try:
        known = Checkpoint(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None  # the import begins again, which records nothing twice
    return known if (known.target, known.file) == (target, file) else None


def save_checkpoint(path: Path, known: Checkpoint) -> None:
    """Replace the checkpoint in one step."""
    beside = path.with_name(path.name + "~")
    beside.write_text(json.dumps(asdict(known)))
    os.replace(beside, path)
