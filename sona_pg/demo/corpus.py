"""Questions labelled with their topic: from ``chatterbot-corpus``, or from the user's own file."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from sona_pg.errors import ConfigError

SMALLEST_TOPIC = 15  # distinct questions: fewer give no meaningful held-out accuracy
HELD_OUT = 0.3


@dataclass(frozen=True, slots=True)
class Interaction:
    """A question and the topic that answers it."""

    question: str
    topic: str


@dataclass(frozen=True, slots=True)
class Corpus:
    """Training stream and held-out questions of one seed, without a question in common."""

    topics: tuple[str, ...]
    stream: tuple[Interaction, ...]
    held_out: tuple[Interaction, ...]


def load_corpus(path: Path | None) -> list[Interaction]:
    """Return the interactions of ``path``, or of the corpus installed by the extra ``demo``.

    Raises:
        ConfigError: the file cannot be read, or has too few questions to split.
    """
    interactions = _chatterbot() if path is None else _from_file(path)
    topics = defaultdict(set)
    for item in interactions:
        topics[item.topic].add(_key(item.question))
    asked_of = Counter(question for questions in topics.values() for question in questions)
    large = {topic for topic, questions in topics.items() if len(questions) >= SMALLEST_TOPIC}
    kept = [item for item in interactions if item.topic in large and asked_of[_key(item.question)] == 1]
    if len(large) < 2:
        raise ConfigError(
            f"{len(large)} topics have {SMALLEST_TOPIC} or more distinct questions: the demo needs two or more"
        )
    return kept


def split(interactions: list[Interaction], seed: int) -> Corpus:
    """Return a random split by question: 70 % of each topic for training, the rest held out."""
    rng = np.random.default_rng(seed)
    by_topic: dict[str, list[str]] = defaultdict(list)
    for item in interactions:
        if _key(item.question) not in by_topic[item.topic]:
            by_topic[item.topic].append(_key(item.question))
    held: set[str] = set()
    for questions in by_topic.values():
        order = rng.permutation(len(questions))
        held.update(questions[row] for row in order[: round(HELD_OUT * len(questions))])
    stream = [item for item in interactions if _key(item.question) not in held]
    test = {_key(item.question): item for item in interactions if _key(item.question) in held}
    shuffled = [stream[row] for row in rng.permutation(len(stream))]
    return Corpus(tuple(sorted(by_topic)), tuple(shuffled), tuple(test.values()))


def _chatterbot() -> list[Interaction]:
    try:
        import yaml

        folder = files("chatterbot_corpus") / "data" / "english"
    except ImportError as exc:
        raise ConfigError("the demo's questions come with an extra: pip install 'sona-pg[demo]'") from exc
    seen = set()
    for entry in sorted(folder.iterdir(), key=lambda item: item.name):
        if entry.name.endswith(".yml"):
            topic = entry.name.removesuffix(".yml").replace("_", " ")
            for talk in yaml.safe_load(entry.read_text(encoding="utf-8"))["conversations"]:
                if len(talk) > 1 and isinstance(talk[0], str):
                    seen.add((topic, talk[0].strip(), str(talk[1]).strip()))
    return [Interaction(question, topic) for topic, question, _ in sorted(seen)]


def _from_file(path: Path) -> list[Interaction]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path} cannot be read: {exc}") from exc
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            question, topic = row["question"], row["topic"]
        except (json.JSONDecodeError, KeyError, TypeError) as exc:
            raise ConfigError(
                f'{path}, line {number}: expected {{"question": "…", "topic": "…"}}, found {line[:80]!r}'
            ) from exc
        if not (isinstance(question, str) and isinstance(topic, str) and question.strip() and topic.strip()):
            raise ConfigError(f"{path}, line {number}: question and topic must be texts that are not empty")
        found.append(Interaction(question.strip(), topic.strip()))
    return found


def _key(question: str) -> str:
    return " ".join(question.lower().split())
