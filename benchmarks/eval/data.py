"""The data sets: CLINC150 (which intent was meant), MMLU (which model to ask), LoCoMo (which turn to recall)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sona_pg.text.features import query_features

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Split = Literal["validation", "test"]

CLINC_FILES = ("clinc150.npz", "clinc150_names.npz")
LOCOMO_FILES = ("locomo.npz", "locomo_questions.jsonl")
MMLU_FILES = ("mmlu.npz", "mmlu.jsonl")
ARTEFACTS = ("high_school_mathematics", "moral_scenarios")  # GPT-4 at 3 %; near-identical prompts
ORIGINALS = """\
The data are public; anyone can make the folder from the originals:
  CLINC150  https://github.com/clinc/oos-eval (data/data_full.json, CC BY 3.0)
  MMLU      https://github.com/lm-sys/RouteLLM (routellm/evals/mmlu/responses, Apache-2.0; MMLU itself is MIT)
  LoCoMo    https://github.com/snap-research/locomo (data/locomo10.json, CC BY-NC 4.0: for measuring only)
Embed texts and intent names with sentence-transformers/all-MiniLM-L6-v2, normalised, as float16:
  clinc150.npz        emb (n, 384), intent, domain, split, intent_names, domain_names
  clinc150_names.npz  emb (150, 384), intent_names, text
  mmlu.npz            emb (n, 384), weak, strong, contaminated, subject, subject_names
  mmlu.jsonl          one object a row, in the same order, with its prompt
  locomo.npz          turns (n, 384), questions (q, 384), turn_conversation, turn_session, question_conversation
  locomo_questions.jsonl  one object a question, in the same order, with its evidence: rows of turns
Then: make eval DATA=<folder>"""


def missing_files(folder: Path) -> list[str]:
    """Return the names of the files that the suite needs and the folder lacks."""
    return [name for name in (*CLINC_FILES, *MMLU_FILES, *LOCOMO_FILES) if not (folder / name).is_file()]


@dataclass(frozen=True, slots=True, eq=False)
class Queries:
    """Labelled queries."""

    embeddings: Floats  # (n, dim) float32, unit rows
    labels: Labels  # (n,) intent

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Queries:
        """Return the queries at ``rows``."""
        return Queries(self.embeddings[rows], self.labels[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Clinc:
    """CLINC150: training queries, and a held-out split."""

    names: tuple[str, ...]  # the 150 intents
    titles: Floats  # (150, dim) float32: embeddings of their names
    domain: Labels  # (150,) domain of each intent
    train: Queries
    held_out: Queries
    out_of_scope: Floats  # (n, dim) float32: held-out queries that mean none of the intents

    @classmethod
    def load(cls, folder: Path, split: Split) -> Clinc:
        """Read the folder; ``held_out`` is the validation or the test split."""
        with np.load(folder / "clinc150.npz") as file, np.load(folder / "clinc150_names.npz") as titles:
            embeddings, part = unit(file["emb"]), file["split"]
            title_of = {str(name): row for row, name in enumerate(titles["intent_names"])}
            place = np.array([title_of.get(str(name), -1) for name in file["intent_names"]])
            intent = place[file["intent"]]
            domain = np.zeros(len(title_of), np.int64)
            inside = intent >= 0
            domain[intent[inside]] = file["domain"][inside]
            suffix = "val" if split == "validation" else "test"

            def queries(name: str) -> Queries:
                return Queries(embeddings[part == name], intent[part == name])

            return cls(
                names=tuple(title_of),
                titles=unit(titles["emb"]),
                domain=domain,
                train=queries("train"),
                held_out=queries(suffix),
                out_of_scope=embeddings[part == f"oos_{suffix}"],
            )

    def stream(self, seed: int, size: int | None = None) -> Queries:
        """Return the training queries in the order of ``seed``, the first ``size`` of them."""
        return self.train.take(np.random.default_rng(seed).permutation(len(self.train))[:size])

    def shots(self, seed: int, count: int = 5) -> tuple[Floats, Queries]:
        """Return the mean of ``count`` training queries of each intent, (150, dim), and the rest in random order."""
        order = np.random.default_rng(seed).permutation(len(self.train))
        labels = self.train.labels[order]
        kept = np.zeros(len(order), bool)
        for intent in range(len(self.names)):
            kept[np.flatnonzero(labels == intent)[:count]] = True
        means = np.zeros_like(self.titles)
        np.add.at(means, labels[kept], self.train.embeddings[order[kept]])
        return unit(means), self.train.take(order[~kept])


@dataclass(frozen=True, slots=True, eq=False)
class Mmlu:
    """MMLU: prompts, and whether a weak and a strong model answered them rightly."""

    embeddings: Floats  # (n, dim) float32, unit rows
    weak: NDArray[np.float64]  # (n,) 0 or 1
    strong: NDArray[np.float64]  # (n,) 0 or 1
    artefact: NDArray[np.bool_]  # (n,) whether the subject is one of the two artefacts
    features: Floats  # (n, f): text features of each prompt
    prompts: NDArray[np.object_]  # (n,) texts

    @classmethod
    def load(cls, folder: Path) -> Mmlu:
        """Read the folder, without the contaminated rows."""
        with np.load(folder / "mmlu.npz") as file:
            keep = file["contaminated"] == 0
            subjects = file["subject_names"][file["subject"]]
            with (folder / "mmlu.jsonl").open() as lines:
                prompts = [json.loads(line)["prompt"] for line in lines]
            return cls(
                embeddings=unit(file["emb"])[keep],
                weak=file["weak"][keep].astype(np.float64),
                strong=file["strong"][keep].astype(np.float64),
                artefact=np.isin(subjects, ARTEFACTS)[keep],
                features=np.stack([query_features(text) for text in prompts])[keep],
                prompts=np.array(prompts, object)[keep],
            )

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Mmlu:
        """Return the prompts at ``rows``."""
        return Mmlu(*(getattr(self, field.name)[rows] for field in dataclasses.fields(self)))

    def __len__(self) -> int:
        return len(self.weak)


@dataclass(frozen=True, slots=True, eq=False)
class Conversations:
    """LoCoMo: turns of long conversations in sessions, and questions with the turns that hold their evidence."""

    turns: Floats  # (n, dim) of length one
    groups: Sequence[str]  # (n,) "conversation/session" of each turn
    questions: Floats  # (q, dim)
    of: NDArray[np.int64]  # (q,) conversation of each question
    evidence: Sequence[Sequence[str]]  # (q,) ids of turns

    @classmethod
    def load(cls, folder: Path, split: Split) -> Conversations:
        """Read five of the ten conversations: the first ones are the validation split."""
        arrays = np.load(folder / "locomo.npz")
        with (folder / "locomo_questions.jsonl").open() as lines:
            told = [json.loads(line) for line in lines]
        conversations = arrays["turn_conversation"], arrays["question_conversation"]
        turns, asked = (np.flatnonzero((rows < 5) == (split == "validation")) for rows in conversations)
        first = int(turns[0])
        pairs = zip(arrays["turn_conversation"][turns], arrays["turn_session"][turns], strict=True)
        return cls(
            turns=unit(arrays["turns"][turns]),
            groups=[f"{conversation}/{session}" for conversation, session in pairs],
            questions=unit(arrays["questions"][asked]),
            of=arrays["question_conversation"][asked].astype(np.int64),
            evidence=[[f"turn-{row - first}" for row in told[row]["evidence"]] for row in asked],
        )

    @property
    def ids(self) -> list[str]:
        """The id of each turn."""
        return [f"turn-{row}" for row in range(len(self.turns))]

    def sessions(self) -> Iterator[tuple[str, list[int]]]:
        """Yield each session with the rows of its turns, in order."""
        for group in dict.fromkeys(self.groups):
            yield group, [row for row, name in enumerate(self.groups) if name == group]

    def ids_of(self, conversation: int) -> tuple[str, ...]:
        """Return the ids of a conversation's turns."""
        prefix = f"{conversation}/"
        return tuple(f"turn-{row}" for row, name in enumerate(self.groups) if name.startswith(prefix))


def unit(rows: NDArray[Any]) -> Floats:
    """Return the rows as float32, scaled to length 1: float16 storage has moved them a little."""
    wide = np.asarray(rows, np.float32)
    return np.asarray(wide / np.linalg.norm(wide, axis=1, keepdims=True), np.float32)
