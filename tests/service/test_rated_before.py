"""The chance that an answer is right, as pages tell it: by a ranking's confidence and by what people said of it."""

from __future__ import annotations

import pytest

from sona_pg.domain.rated_before import RatedBefore, weight_of


def test_ratings_of_nearer_questions_weigh_more_and_of_unlike_ones_nothing():
    assert [weight_of(similarity) for similarity in (-1.0, 0.5, 0.75, 1.0, 1.1)] == [0, 0, 0.25, 1, 1]


def test_the_confidence_counts_as_one_rating_of_the_same_question():
    assert RatedBefore.of(0.8, []) == (0.8, 0.8, 0, None)
    assert RatedBefore.of(0.8, [(0.3, 0.0)]) == (0.8, 0.8, 0, None)
    told = RatedBefore.of(0.9, [(1.0, 0.0), (1.0, 0.0), (0.75, 1.0)])
    assert told == pytest.approx((1.15 / 3.25, 0.9, 3, 0.25 / 2.25))


def test_an_answer_that_was_rejected_again_and_again_is_not_said_to_be_right(service, space, rows):
    name = {"space": space()}
    texts = {"cards": "aab", "fees": "ccd", "hours": "eef"}
    service.post("/v1/candidates", {"ids": list(texts), "texts": list(texts.values())}, params=name)

    def first(text):
        return service.post("/v1/dashboard/answers", {"text": text}, params=name).json()["first"]

    assert first("abgg") is None  # no cycle has measured a confidence
    for _ in range(3):
        told = []
        for text, right in [("abgg", None), *((text, id_) for id_, text in texts.items())] * 3:
            ranking = service.post("/v1/rank", {"text": text}, params=name).json()
            shown = ranking["ids"][0]
            told.append({"text": text, "ranking": ranking, "route": shown, "quality": float(shown == right)})
        service.post("/v1/trajectories/batch", {"trajectories": told}, params=name)
        assert rows(name["space"])  # learned
    rejected = first("abgg")
    assert rejected["rated"] >= 1
    assert rejected["quality"] < 0.5
    assert rejected["probability"] < min(rejected["confidence"], 0.5)
    opinion = {"text": "abgg", "route": service.post("/v1/rank", {"text": "abgg"}, params=name).json()["ids"][0]}
    trajectory = service.post("/v1/trajectories", opinion, params=name).json()["id"]
    service.post("/v1/feedback", {"trajectory": trajectory, "quality": 0}, params=name)
    assert first("abgg")["rated"] == rejected["rated"] + 1  # at once
    service.post("/v1/feedback", {"trajectory": trajectory, "retract": True}, params=name)
    assert first("abgg")["rated"] == rejected["rated"]
    liked = first("eef")
    assert liked["quality"] == pytest.approx(1)
    assert liked["probability"] > liked["confidence"]
