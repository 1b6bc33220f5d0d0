"""Figures of each seed, kept as they are found: the same command after an interruption goes on where it was."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import sona_pg
from benchmarks.eval.context import Context
from benchmarks.eval.stats import Figures
from sona_pg import kernels

PACKAGES = ("numpy", "scipy", "scikit-learn", "paretobandit")
FOLDERS = (Path(sona_pg.__file__).parent, Path(__file__).parent)  # of the code that decides about figures


@dataclass(frozen=True, slots=True)
class SeedResult:
    """Figures of an experiment with one seed."""

    figures: Figures
    minutes: float


@dataclass(frozen=True, slots=True)
class KeptResults:
    """Results in the output folder, stamped with all that decides about them but the experiment and its seed."""

    folder: Path
    stamp: Mapping[str, str]

    @classmethod
    def of(cls, context: Context) -> Self:
        """Read what decides now: a change of the code while it runs is not what ran."""
        settings = [context.split, context.quick, kernels.isa(), [_version(name) for name in PACKAGES]]
        parts = {"code": _code(), "data": _data(context.folder), "settings": _hash(settings)}
        return cls(context.output / "seeds", {"commit": _commit(), "split": context.split, **parts})

    def load(self, name: str, seed: int) -> SeedResult | None:
        """Return what the same code has found with the same settings and data; None without it."""
        try:
            found = json.loads(self._path(name, seed).read_text())
            same = all(found["stamp"][part] == value for part, value in self.stamp.items() if part != "commit")
            return SeedResult(found["figures"], found["minutes"]) if same else None
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # none, cut off, or of another release
            return None

    def keep(self, name: str, seed: int, result: SeedResult) -> None:
        """Write a result, whole or not at all."""
        path = self._path(name, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"stamp": dict(self.stamp), "minutes": result.minutes, "figures": result.figures}
        beside = path.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(content, indent=1, default=float) + "\n")
        beside.replace(path)

    def _path(self, name: str, seed: int) -> Path:
        return self.folder / f"{name}-{self.stamp['split']}-{self.stamp['settings']}-{seed}.json"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _commit() -> str:
    try:
        told = subprocess.run(["git", "rev-parse", "HEAD"], cwd=FOLDERS[-1], capture_output=True, text=True)
    except FileNotFoundError:
        return ""
    return told.stdout.strip()


def _code() -> str:
    """Return a hash of all modules, compiled ones too."""
    return _content(path for folder in FOLDERS for path in sorted(folder.rglob("*")) if path.suffix in (".py", ".so"))


def _data(folder: Path) -> str:
    return _content(path for path in sorted(folder.iterdir()) if path.suffix in (".npz", ".jsonl"))


def _content(paths: Iterator[Path]) -> str:
    found = hashlib.sha256()
    for path in paths:
        found.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()[:16]
