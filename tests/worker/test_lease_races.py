"""Two learners that want one lease at one moment: one has it, each time."""

from __future__ import annotations

import threading
from datetime import timedelta

import psycopg
import pytest

from sona_pg.domain.ids import uuid7
from sona_pg.store import leases
from sona_pg.store.database import Database

pytestmark = pytest.mark.no_vectors

ROUNDS = 50  # 1,000 by hand: as many winners

SPACES = """
INSERT INTO sona.spaces (space_id, name, dim, created_at)
SELECT n, 'space ' || n, 8, now() FROM generate_series(1, %s) n
"""


def test_a_race_for_a_lease_has_one_winner(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(SPACES, [ROUNDS])
    won: list[list[leases.Lease]] = [[], []]
    together = threading.Barrier(2)

    def race(place: int) -> None:
        database = Database.at(database_url, 1)
        learner = uuid7()
        for space in range(1, ROUNDS + 1):
            together.wait(30)
            with database.engine.begin() as connection:
                lease = leases.take(connection, space, learner, timedelta(seconds=60))
            if lease is not None:
                won[place].append(lease)
        database.close()

    racers = [threading.Thread(target=race, args=[place]) for place in (0, 1)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert sorted(lease.space_id for lease in won[0] + won[1]) == list(range(1, ROUNDS + 1))
    assert {lease.epoch for lease in won[0] + won[1]} == {1}
