"""What was remembered over HTTP is recalled with its content and its neighbours, within the scopes of a key."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from tests.service.conftest import DIM

EYE = np.eye(DIM, dtype=np.float32)
TURNS = {"ids": ["t0", "t1", "t2"], "vectors": EYE[:3].tolist(), "group": "talk"}


def test_a_text_is_recalled_with_its_content_and_the_turn_beside_it(service, space):
    name = {"space": space()}
    told = {"texts": ["abc", "defg", "hij"], "contents": [{"n": 1}, {"n": 2}, {"n": 3}], "group": "talk"}
    ids = service.post("/v1/remember", told, params=name).json()["ids"]
    service.post("/v1/remember", {"texts": ["zzz yyy xxx"]}, params=name)
    answer = service.post("/v1/recall", {"text": "defg", "k": 2, "context": ["abc"]}, params=name).json()
    assert answer["recalled"][0] | {"score": 0} == {"id": ids[1], "score": 0, "content": {"n": 2, "text": "defg"}}
    assert answer["recalled"][1]["id"] in (ids[0], ids[2])
    assert answer["ranking"]["ids"] == [one["id"] for one in answer["recalled"]]
    shown = {"text": "defg", "ranking": answer["ranking"], "route": ids[1], "quality": 1}
    assert service.post("/v1/trajectories", shown, params=name).status_code == 202
    assert service.post("/v1/learn", params=name).json()["learned"]


def test_the_same_text_is_remembered_once_and_dropped_contents_are_not_told(service, space):
    name = {"space": space()}
    first = service.post("/v1/remember", {"texts": ["abc"]}, params=name).json()
    assert service.post("/v1/remember", {"texts": ["abc"]}, params=name).json() == first
    assert service.post("/v1/contents/drop", {"ids": [*first["ids"], "nobody"]}, params=name).json() == {"dropped": 1}
    recalled = service.post("/v1/recall", {"text": "abc"}, params=name).json()["recalled"]
    assert [(one["id"], one["content"]) for one in recalled] == [(first["ids"][0], None)]


def test_vectors_are_remembered_and_recalled_among_some_ids(service, space):
    name = {"space": space()}
    assert service.post("/v1/remember", TURNS, params=name).json() == {"ids": TURNS["ids"]}
    coded = base64.b64encode(EYE[1].tobytes()).decode()
    asked = {"vector": EYE[0].tolist(), "context_vectors": [coded], "ids": ["t0", "t2"], "contents": False}
    answer = service.post("/v1/recall", asked, params=name).json()
    assert [(one["id"], one["content"]) for one in answer["recalled"]] == [("t0", None), ("t2", None)]


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("remember", {"ids": ["a"]}, "/texts"),
        ("remember", {"texts": ["abc"], "ids": ["a", "b"]}, "/ids"),
        ("remember", {"texts": ["abc", "abc"]}, "/ids"),
        ("remember", {"texts": ["abc"], "contents": [{}, {}]}, "/contents"),
        ("remember", {"ids": ["a"], "vectors": [[1.0]]}, "/vectors/0"),
        ("remember", {"texts": ["abc"], "contents": ["x"]}, "/contents/0"),
        ("recall", {"vector": [1.0] * DIM, "context_vectors": [[1.0]]}, "/context_vectors/0"),
        ("recall", {"vector": [1.0] * DIM, "k": 0}, "/k"),
        ("contents/drop", {"ids": []}, "/ids"),
    ],
)
def test_a_body_that_cannot_be_taken_names_its_field(service, path, body, pointer):
    answer = service.post(f"/v1/{path}", body)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer), answer.text


def test_an_empty_space_recalls_nothing_and_says_so(service, space):
    answer = service.post("/v1/recall", {"text": "abc"}, params={"space": space()})
    assert answer.status_code == 422


def test_a_key_needs_the_scope(service, service_store, space):
    name = space()
    for scope, remembers, recalls in (("read", 403, 200), ("record", 201, 403)):
        _, token = service_store.create_key(name, scope, [scope])
        headers = {"Authorization": f"Bearer {token}"}
        service.post("/v1/remember", TURNS, params={"space": name})
        assert service.post("/v1/remember", TURNS, headers=headers).status_code == remembers
        assert service.post("/v1/recall", {"text": "abc"}, headers=headers).status_code == recalls
        dropped = service.post("/v1/contents/drop", {"ids": ["t0"]}, headers=headers)
        assert dropped.status_code == (403 if scope == "read" else 200)


def test_a_retired_candidate_is_not_answered_with_until_it_is_restored(service, space):
    name = {"space": space()}
    service.post("/v1/remember", TURNS, params=name)
    asked = {"vector": EYE[0].tolist()}
    assert service.post("/v1/candidates/retire", {"ids": ["t0"]}, params=name).json() == {"retired": 1}
    assert service.post("/v1/candidates/retire", {"ids": ["t0"]}, params=name).json() == {"retired": 0}
    assert set(service.post("/v1/rank", asked, params=name).json()["ids"]) == {"t1", "t2"}
    recalled = service.post("/v1/recall", asked, params=name).json()["recalled"]
    assert {one["id"] for one in recalled} == {"t1", "t2"}
    [retired] = service.get("/v1/candidates/retired", params=name).json()["retired"]
    assert retired["id"] == "t0"
    asked_for = {"ids": ["nobody", "t1", "t0"]}
    assert service.post("/v1/candidates/known", asked_for, params=name).json() == {"known": ["t1", "t0"]}
    for way in ("retire", "restore"):
        refused = service.post(f"/v1/candidates/{way}", {"ids": ["t0", "nobody"]}, params=name)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/ids")
    assert service.post("/v1/candidates/restore", {"ids": ["t0"]}, params=name).json() == {"restored": 1}
    assert set(service.post("/v1/rank", asked, params=name).json()["ids"]) == set(TURNS["ids"])


def test_who_may_store_candidates_may_retire_them(service, service_store, space):
    name = space()
    service.post("/v1/remember", TURNS, params={"space": name})
    for scope, changes, lists in (("read", 403, 200), ("record", 200, 403)):
        _, token = service_store.create_key(name, scope, [scope])
        headers = {"Authorization": f"Bearer {token}"}
        for way in ("retire", "restore"):
            assert service.post(f"/v1/candidates/{way}", {"ids": ["t0"]}, headers=headers).status_code == changes
        assert service.get("/v1/candidates/retired", headers=headers).status_code == lists
