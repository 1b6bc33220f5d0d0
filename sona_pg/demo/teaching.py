"""Asking the questions of a corpus, and giving thumbs for the answers."""

from __future__ import annotations

from sona_pg.demo.corpus import Corpus
from sona_pg.engine import SonaEngine


class Lesson:
    """Questions of a corpus, asked of an engine."""

    def __init__(self, engine: SonaEngine, corpus: Corpus, exploration: float) -> None:
        """Embed the questions and topics of ``corpus``."""
        self.engine = engine
        self.corpus = corpus
        self._exploration = exploration
        self._questions = engine.embed([item.question for item in corpus.stream])
        self._topics = engine.embed(list(corpus.topics))

    def ask(self, row: int, *, lie: bool = False) -> None:
        """Ask one question, and give a thumb up if its answer is right, else down; the opposite in a ``lie``."""
        item, question, engine = self.corpus.stream[row], self._questions[row], self.engine
        ranking = engine.rank(question, self._topics, ids=self.corpus.topics, k=1, exploration=self._exploration)
        handle = engine.begin_trajectory(question, query=item.question, ranking=ranking)
        engine.set_trajectory_route(handle, ranking.ids[0])
        engine.end_trajectory(handle)
        engine.feedback(handle, quality=float((ranking.ids[0] == item.topic) != lie))  # the thumb
