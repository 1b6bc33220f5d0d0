"""Tutorial 2: a chatbot that learns from thumbs which of its topics a question belongs to.

Run it: python examples/tutorials/02_adaptive_chatbot.py (extra demo, which has real conversations: chatterbot-corpus).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sona_pg import LoopConfig, SonaConfig, SonaEngine
from sona_pg.demo.corpus import load_corpus, split

ON_DEMAND = SonaConfig(loops=LoopConfig(automatic=False))  # cycles run where this program says so


class Chatbot:
    """Answers with the topic that fits a question best; each answer is a trajectory that a thumb can rate."""

    def __init__(self, engine: SonaEngine, topics: tuple[str, ...]) -> None:
        """Store the topics as candidates: their names are all that the bot knows of them."""
        self.engine = engine
        self.topics = topics
        engine.remember(topics, engine.embed(topics))

    def answer(self, question: str, embedding: NDArray[np.float32]) -> tuple[str, str]:
        """Return the topic, and the id under which to rate it."""
        ranking = self.engine.rank(embedding, ids=self.topics, k=1, exploration=1.0)
        trajectory = self.engine.begin_trajectory(embedding, query=question, ranking=ranking)
        self.engine.set_trajectory_route(trajectory, ranking.ids[0])
        self.engine.end_trajectory(trajectory)
        return ranking.ids[0], str(trajectory.id)

    def thumb(self, answer: str, up: bool) -> None:
        """Rate an answer: now, or weeks later, from any server; the next answer here considers it already."""
        self.engine.feedback(answer, quality=float(up))

    def accuracy(self, embeddings: NDArray[np.float32], topics: list[str]) -> float:
        """Return the share of questions whose topic is found, without recording them."""
        rankings = self.engine.rank_many(embeddings, ids=self.topics, k=1)
        return float(np.mean([ranking.ids[0] == topic for ranking, topic in zip(rankings, topics, strict=True)]))


def main(most: int = 500, space: str = "tutorial-chatbot") -> None:
    """Chat, rate each answer, and measure on questions that the bot has never seen."""
    corpus = split(load_corpus(None), seed=0)
    with SonaEngine(hidden_dim=256, space=space, config=ON_DEMAND) as engine:
        bot = Chatbot(engine, corpus.topics)
        unseen = engine.embed([item.question for item in corpus.held_out])
        topics = [item.topic for item in corpus.held_out]
        print(f"before: {bot.accuracy(unseen, topics):.0%} of {len(topics)} unseen questions get their topic")

        asked = corpus.stream[:most]
        for item, embedding in zip(asked, engine.embed([item.question for item in asked]), strict=True):
            topic, answer = bot.answer(item.question, embedding)
            bot.thumb(answer, up=topic == item.topic)
        print(f"after {len(asked)} thumbs, before a cycle: {bot.accuracy(unseen, topics):.0%}")

        engine.force_learn()
        print(f"after a cycle: {bot.accuracy(unseen, topics):.0%}")


if __name__ == "__main__":
    main()
