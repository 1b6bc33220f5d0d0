"""Handle of the demo's second process: start it, ask for its accuracy, end it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from sona_pg.demo.corpus import Corpus
from sona_pg.errors import SonaError


@dataclass(frozen=True, slots=True)
class Point:
    """Accuracy of the serving process with one version."""

    feedbacks: int
    version: int
    accuracy: float
    balanced: float
    microseconds: float
    spread: float  # seconds from the call to learn in one process until the other served the result
    server: str
    answers: str  # digest of every answer and its score


class ServingProcess:
    """The serving process and its reports."""

    def __init__(self, url: str, space: str, corpus: Corpus, dim: int) -> None:
        task = {
            "url": url,
            "space": space,
            "dim": dim,
            "topics": list(corpus.topics),
            "questions": [item.question for item in corpus.held_out],
            "right": [item.topic for item in corpus.held_out],
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sona_pg.demo.serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()

    def point(self, feedbacks: int, version: int, asked: float) -> Point:
        """Wait until the process serves ``version``, and return its accuracy."""
        assert self._process.stdout is not None
        while True:
            line = self._process.stdout.readline()
            if not line:
                raise SonaError("the demo's serving process ended early; its error is above")
            report: dict[str, Any] = json.loads(line)
            if report["version"] >= version:
                return Point(
                    feedbacks=feedbacks,
                    version=report["version"],
                    accuracy=report["accuracy"],
                    balanced=report["balanced"],
                    microseconds=report["microseconds"],
                    spread=report["served_at"] - asked,
                    server=report["server"],
                    answers=report["answers"],
                )

    def __enter__(self) -> ServingProcess:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
