"""Meaning that changes: after half of the feedback a fifth of the intents exchange their answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression, SGDClassifier

from benchmarks.eval import baselines
from benchmarks.eval.context import Context
from benchmarks.eval.data import Floats, Labels, Queries
from benchmarks.eval.sessions import CYCLE, RetrievalSession, Teaching, open_space
from benchmarks.eval.stats import Figures, Table, Target, gather

BEFORE = 5000
AFTER = (3000, 5000, 10_000)
MOVED = 30
WINDOW = 2000
STEP = 3.0  # of the online model: the best of 1, 3, 10 and 30 on the validation split
SAID: dict[Teaching, str] = {"told": "right answer told", "thumbs": "thumbs only"}
BELOW_WINDOW = 3.0  # points that ours may lack of the windowed model after the first of AFTER
TARGETS = {
    ("sona-pg, thumbs only", "moved, 5k after"): Target(60),
    ("windowed less sona-pg, right answer told", "moved, 3k after"): Target(BELOW_WINDOW, at_most=True),
}


class WindowedLogistic(baselines.Logistic):
    """Logistic regression on the last ``WINDOW`` examples."""

    name = "logistic regression, windowed"

    def fit(self, seen: Queries) -> None:
        """Fit anew, without titles, as these have moved, too."""
        recent = seen.take(slice(-WINDOW, None))
        if len(np.unique(recent.labels)) > 1:
            model = LogisticRegression(C=baselines.INVERSE_PENALTY, max_iter=300)
            self._known = model.fit(recent.embeddings, recent.labels)

    def scores(self, queries: Floats) -> Floats:
        """Return probabilities, of answers that do not occur in the window a little of the cosine."""
        found = 1e-6 * (queries @ self._titles.T)
        if (known := getattr(self, "_known", None)) is not None:
            found[:, known.classes_] += known.predict_proba(queries)
        return np.asarray(found, np.float32)


class OnlineSgd:
    """Logistic regression that takes each example once, in its order (stochastic gradient descent)."""

    name = "logistic regression, online SGD"

    def __init__(self, titles: Floats) -> None:
        self._model = SGDClassifier(loss="log_loss", alpha=1e-6, learning_rate="constant", eta0=STEP, random_state=0)
        self._labels = np.arange(len(titles))
        self._model.partial_fit(np.repeat(titles, 5, axis=0), np.repeat(self._labels, 5), self._labels)
        self._seen = 0

    def fit(self, seen: Queries) -> None:
        """Take what is new."""
        new = seen.take(slice(self._seen, None))
        self._seen = len(seen)
        if len(new):
            self._model.partial_fit(new.embeddings, new.labels)

    def scores(self, queries: Floats) -> Floats:
        """Return the decision function."""
        return np.asarray(self._model.decision_function(queries), np.float32)


def run_seed(context: Context, seed: int) -> Figures:
    """Return accuracies (%) on the intents that moved, and on the others, before and after."""
    clinc = context.clinc()
    chosen = np.random.default_rng([seed, 9]).permutation(len(clinc.names))[:MOVED]
    moved_to = np.arange(len(clinc.names))
    moved_to[chosen] = np.roll(chosen, 1)
    stream = clinc.stream(seed, BEFORE + max(AFTER))
    labels = stream.labels.copy()
    labels[BEFORE:] = moved_to[labels[BEFORE:]]
    stream = Queries(stream.embeddings, labels)
    moved = np.isin(clinc.held_out.labels, chosen)
    points = {BEFORE: "before", **{BEFORE + count: f"{count // 1000}k after" for count in AFTER}}

    def row(count: int, answers: Labels) -> dict[str, float]:
        now = clinc.held_out.labels if count <= BEFORE else moved_to[clinc.held_out.labels]
        right = 100.0 * (answers == now)
        point = points[count]
        return {f"moved, {point}": float(right[moved].mean()), f"others, {point}": float(right[~moved].mean())}

    figures: Figures = {}
    for teaching, said in SAID.items():
        figures[f"sona-pg, {said}"] = found = {}
        with open_space(context.url, f"drift-{teaching}-{seed}", clinc.titles.shape[1]) as engine:
            session = RetrievalSession(engine, clinc.titles, clinc.names, teaching, seed=seed)

            def measure(count: int, found: dict[str, float] = found, session: RetrievalSession = session) -> None:
                if count in points:
                    found |= row(count, session.answers(clinc.held_out.embeddings))

            session.learn(stream, measure)
        context.say(f"drift {teaching} seed {seed}: {found}")
        kinds: list[Callable[[Floats], baselines.Method]] = [WindowedLogistic, OnlineSgd]
        if not context.quick:
            kinds.append(baselines.Logistic)
        for kind in kinds:
            method = kind(clinc.titles)
            name = f"{method.name}, {said}"
            figures[name] = _theirs(method, stream, clinc.held_out, teaching, list(points), row)
            context.say(f"{name} seed {seed}: {figures[name]}")
    said, first = SAID["told"], f"moved, {AFTER[0] // 1000}k after"
    lacks = figures[f"{WindowedLogistic.name}, {said}"][first] - figures[f"sona-pg, {said}"][first]
    figures[f"windowed less sona-pg, {said}"] = {first: lacks}
    return figures


def report(context: Context, seeds: Sequence[Figures]) -> list[Table]:
    """Return the table."""
    title = (
        f"Meaning that changes: held-out accuracy (%), CLINC150 {context.split}; {MOVED} of 150 intents "
        f"exchange their answers after {BEFORE} feedbacks"
    )
    return [Table("drift", title, gather(seeds, TARGETS))]


def _theirs(
    method: baselines.Method,
    stream: Queries,
    held_out: Queries,
    teaching: Teaching,
    points: Sequence[int],
    row: Callable[[int, Labels], dict[str, float]],
) -> dict[str, float]:
    """Return the figures of a simple method; from thumbs it learns from its own answers that were confirmed."""
    found: dict[str, float] = {}
    known = np.zeros(len(stream), bool)
    for start in range(0, len(stream), CYCLE):
        stop = start + CYCLE
        part = stream.take(slice(start, stop))
        known[start:stop] = teaching == "told" or baselines.predict(method, part.embeddings) == part.labels
        if teaching == "thumbs" or stop in points or isinstance(method, OnlineSgd):
            method.fit(stream.take(np.flatnonzero(known)))
        if stop in points:
            found |= row(stop, baselines.predict(method, held_out.embeddings))
    return found
