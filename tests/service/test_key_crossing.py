"""A key of one space asks every operation about another: each answer is the same as about a space that is not there."""

from __future__ import annotations

import json
import random
from uuid import UUID

from tests.service.conftest import DIM

OTHER_NAMES = ("other's name", "nonesuch")
AWAY = {"client": ("203.0.113.7", 5), "base_url": "http://example.org"}
SECRET = "of-the-other-tenant"
# Whoever follows events waits for the next one.
ENDLESS = ("text/event-stream",)
COUNTERS = ("/metrics",)  # of the requests of the whole process, which change with each


def bodies(rng: random.Random, name: str, trajectory: str) -> list[dict]:
    """Return bodies that name a space, and a trajectory, in each way that an operation could understand."""
    vector = [rng.random() for _ in range(DIM)]
    return [
        {"space": name, "vector": vector},
        {"name": name, "dim": DIM},
        {"trajectory": trajectory, "quality": 1.0, "space": name},
        {"trajectoryId": trajectory, "vector": vector, "candidates": ["a", "b"], "space_id": 1},
    ]


def test_a_key_learns_nothing_of_another_space(service, service_store, space):
    own, other = space(), space()
    engine = service_store.space(other, hidden_dim=DIM)
    made = engine.begin_trajectory([1.0] * DIM, query=SECRET)
    engine.end_trajectory(made, 0.9)
    engine.remember([SECRET], [[1.0] * DIM])
    engine.flush()
    _, token = service_store.create_key(own, "tenant", ["record", "read", "learn", "admin"])
    headers = {"Authorization": f"Bearer {token}"}
    rng = random.Random(0)
    known, unknown = str(made.id), str(UUID(int=rng.getrandbits(128), version=4))
    asked = 0
    for path, methods in service.app.openapi()["paths"].items():
        for method, told in methods.items():
            if any(kind in json.dumps(told.get("responses", {})) for kind in ENDLESS):
                continue
            for number in range(4):
                answers = []
                for name, trajectory in ((other, known), ("nonesuch", unknown)):
                    body = bodies(random.Random(number), name, trajectory)[number]
                    where = path
                    for part in _parts(path):
                        where = where.replace(f"{{{part}}}", name if part in ("name", "space") else trajectory)
                    more = {"json": body} if method in ("post", "put", "patch") else {}
                    answer = service.ask(method.upper(), where, params={"space": name}, headers=headers, **more, **AWAY)
                    text = answer.text.replace(name, "…").replace(trajectory, "…")
                    answers.append((answer.status_code, answer.text if path in COUNTERS else text))
                    assert SECRET not in answer.text, where
                    asked += 1
                if path in COUNTERS:
                    assert other not in answers[0][1]
                else:
                    assert answers[0] == answers[1], (method, path, number)
    assert asked > 300


def _parts(path: str) -> list[str]:
    return [piece[1:-1].partition(":")[0] for piece in path.split("/") if piece.startswith("{")]
