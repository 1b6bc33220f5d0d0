"""Candidates are found by a part of their id or text, with whether they are retired."""

from __future__ import annotations

import pytest


@pytest.fixture
def find(service, space, rows):
    """Find candidates of a space that has three, of which one is retired."""
    name = {"space": space()}
    told = {"ids": ["a-1", "a-2", "refund"], "texts": ["Where it is", "100 % Money", "By post"]}
    service.post("/v1/remember", told, params=name)
    rows(name["space"])  # committed
    service.post("/v1/candidates/retire", {"ids": ["a-2"]}, params=name)

    def ask(text: str):
        return service.get("/v1/dashboard/candidates", params=name | {"find": text})

    return ask


def found(answer):
    return [(one["id"], one["is_retired"]) for one in answer.json()["candidates"]]


def test_candidates_are_found_by_a_part_of_id_or_text(find):
    assert found(find("A-")) == [("a-1", False), ("a-2", True)]
    assert found(find("money")) == [("a-2", True)]
    assert found(find("refund")) == [("refund", False)]
    assert find("refund").json()["all"] == 1


@pytest.mark.parametrize("text", ["%%", "_", "parcels", "\\", "é" * 200])
def test_a_text_that_none_has_finds_none(find, text):
    assert (find(text).status_code, find(text).json()) == (200, {"candidates": [], "all": 0})


def test_of_many_the_first_are_told_with_how_many_there_are(service, space, rows):
    name = {"space": space()}
    ids = [f"answer {place:02}" for place in range(30)]
    service.post("/v1/candidates", {"ids": [*ids, "answer"], "texts": [*ids, "answer"]}, params=name)
    rows(name["space"])  # committed
    told = service.get("/v1/dashboard/candidates", params=name | {"find": "Answer"}).json()
    assert ([one["id"] for one in told["candidates"]][:2], len(told["candidates"])) == (["answer", "answer 00"], 20)
    assert told["all"] == 31
