"""Journals of acknowledged records: one file a process, written once a record is durable.

A line is written after the acknowledgement, by one `write`: a process killed in between leaves a record without a line,
never a line without a record. An incomplete last line was being written when the process was killed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self
from uuid import UUID

SUFFIX = ".journal"
TAIL = 4096  # bytes of another process's journal, from which a trajectory is picked


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A trajectory as its process recorded it."""

    id: UUID
    nonce: str  # its text: the same in two rows means that it was stored twice, whatever their ids
    steps: int
    candidate_set: int  # 0: none was told

    def line(self) -> str:
        return f"t {self.id} {self.nonce} {self.steps} {self.candidate_set}\n"


@dataclass(frozen=True, slots=True)
class Fact:
    """Feedback as its process told it."""

    trajectory: UUID
    source: str
    sequence: int

    def line(self) -> str:
        return f"f {self.trajectory} {self.source} {self.sequence}\n"


class Journal:
    """Writes the promises that one process was given."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = name
        self._file = os.open(folder / f"{name}{SUFFIX}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_EXCL, 0o644)

    def write(self, promised: Sequence[Trajectory | Fact]) -> None:
        """Add records that are durable now."""
        if promised:
            os.write(self._file, "".join(entry.line() for entry in promised).encode())


@dataclass(slots=True)
class Promises:
    """Acknowledged records of all processes of a run."""

    trajectories: dict[UUID, Trajectory] = field(default_factory=dict)
    facts: set[tuple[UUID, str, int]] = field(default_factory=set)
    by_process: dict[str, int] = field(default_factory=dict)  # number of trajectories, by journal name

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read every journal of a folder."""
        promises = cls()
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            before = len(promises.trajectories)
            for line in path.read_text().splitlines(keepends=True):
                if line.endswith("\n"):
                    promises.add(line)
            name = path.name.split(".")[0]
            promises.by_process[name] = promises.by_process.get(name, 0) + len(promises.trajectories) - before
        return promises

    def add(self, line: str) -> None:
        """Add one line of a journal."""
        kind, *rest = line.split()
        if kind == "t":
            name, nonce, steps, candidate_set = rest
            entry = Trajectory(UUID(name), nonce, int(steps), int(candidate_set))
            self.trajectories[entry.id] = entry
        else:
            name, source, sequence = rest
            self.facts.add((UUID(name), source, int(sequence)))


def recent(folder: Path, choice: float) -> UUID | None:
    """Return a trajectory that some process was promised lately, chosen by a number in [0, 1)."""
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if not paths:
        return None
    with paths[int(choice * len(paths))].open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        lines = [line for line in file.read().split(b"\n")[1:-1] if line.startswith(b"t ")]
    return UUID(lines[int(choice * 1000) % len(lines)].split()[1].decode()) if lines else None
