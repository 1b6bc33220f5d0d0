"""Context of an experiment: data, split and output."""

from __future__ import annotations

import contextlib
import functools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.eval.data import Clinc, Conversations, Mmlu, Split

BEGAN = time.monotonic()


@functools.lru_cache(maxsize=2)
def _clinc(folder: Path, split: Split) -> Clinc:
    return Clinc.load(folder, split)


@functools.lru_cache(maxsize=1)
def _mmlu(folder: Path) -> Mmlu:
    return Mmlu.load(folder)


@functools.lru_cache(maxsize=1)
def _conversations(folder: Path, split: Split) -> Conversations:
    return Conversations.load(folder, split)


@dataclass(frozen=True, slots=True)
class Context:
    """Data folder, held-out split, and output folder of a run."""

    folder: Path
    split: Split
    url: str
    output: Path
    quick: bool = False  # leave out the slow baselines
    began: float = field(default=BEGAN)
    made: dict[str, object] = field(default_factory=dict, compare=False)  # shared by the experiments of one task

    def clinc(self) -> Clinc:
        """Return CLINC150, read once a process."""
        return _clinc(self.folder, self.split)

    def mmlu(self) -> Mmlu:
        """Return MMLU, read once a process."""
        return _mmlu(self.folder)

    def conversations(self) -> Conversations:
        """Return LoCoMo, read once a process."""
        return _conversations(self.folder, self.split)

    @contextlib.contextmanager
    def sharing(self) -> Iterator[None]:
        """Forget in the end what was made to be shared."""
        try:
            yield
        finally:
            self.made.clear()

    def say(self, text: str) -> None:
        """Print a line of progress."""
        print(f"[{time.monotonic() - self.began:6.1f} s] {text}", file=sys.stderr, flush=True)
