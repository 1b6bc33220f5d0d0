"""A look at many spaces: rows come where there is news, and every heartbeat arrives."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from sona_pg.domain.ids import uuid7
from sona_pg.store.candidates import CandidateSignal
from sona_pg.store.database import Database
from sona_pg.store.fleet import Server
from sona_pg.store.roll_call import Beat, Beats, Look, RollCall, Signal, SpaceIds

DIM = 8
NAMES = ("a", "b", "c")


class Spaces:
    """Three spaces with a server each."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.database = Database.open(url)
        self.made = [self.database.open_space(name, DIM, self.database.now()) for name in NAMES]
        self.ids = SpaceIds.of(space.space_id for space in self.made)
        self.servers = [uuid7() for _ in self.made]
        for space, server in zip(self.made, self.servers, strict=True):
            self.database.register(space, Server(server, "host", 1, "0"))

    def look(self, before: RollCall | None = None) -> RollCall:
        """Look at all spaces and their candidates, knowing what was seen before."""
        known = (None, None) if before is None else (before.digest, before.signals_digest)
        return self.database.call_roll(Look(self.ids, self.ids, None, None, *known))

    def run(self, query: str, *values: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url) as connection:
            cursor = connection.execute(query, values)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
def spaces(database_url: str) -> Iterator[Spaces]:
    made = Spaces(database_url)
    yield made
    made.database.close()


def test_rows_are_returned_by_the_first_poll_and_not_by_the_second(spaces: Spaces) -> None:
    first = spaces.look()
    assert first.live == dict.fromkeys(spaces.ids.ids, 0)
    assert sorted(first.names.values()) == sorted(NAMES)
    assert first.signals == dict.fromkeys(spaces.ids.ids, Signal(CandidateSignal(), None))
    second = spaces.look(first)
    assert (second.live, second.signals) == (None, None)
    assert second.at > first.at


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE sona.spaces SET live_version = 1 WHERE space_id = %s",
        "UPDATE sona.spaces SET name = 'renamed' WHERE space_id = %s",
        "DELETE FROM sona.spaces WHERE space_id = %s",
    ],
)
def test_a_published_a_renamed_and_a_removed_space_are_news(spaces: Spaces, change: str) -> None:
    before = spaces.look()
    spaces.run("DELETE FROM sona.servers")
    spaces.run(change, spaces.made[1].space_id)
    after = spaces.look(before)
    assert after.live is not None
    assert (after.live, after.names) != (before.live, before.names)
    assert after.signals is None or change.startswith("DELETE")  # a removed space has none


def test_two_versions_that_change_places_are_news(spaces: Spaces) -> None:
    spaces.run("UPDATE sona.spaces SET live_version = space_id")
    before = spaces.look()
    first, second, _ = spaces.ids.ids
    spaces.run("UPDATE sona.spaces SET live_version = %s - space_id WHERE space_id < %s", first + second, second + 1)
    assert spaces.look(before).live == {**(before.live or {}), first: second, second: first}


def test_a_new_candidate_is_news_of_its_space(spaces: Spaces) -> None:
    before = spaces.look()
    spaces.run(
        "INSERT INTO sona.candidates (space_id, candidate_id, embedding, recorded_at)"
        " VALUES (%s, 'x', '[1,0,0,0,0,0,0,0]', now())",
        spaces.ids.ids[2],
    )
    after = spaces.look(before)
    assert after.live is None
    assert after.signals == {**(before.signals or {}), spaces.ids.ids[2]: Signal(CandidateSignal(0, 1), None)}


def test_heartbeats_arrive_and_a_server_that_was_forgotten_is_named(spaces: Spaces) -> None:
    told = [Beat(space, server, 7) for space, server in zip(spaces.ids.ids, spaces.servers, strict=True)]
    assert spaces.database.call_roll(Look(spaces.ids, beats=Beats.of(told), skew_ms=1.5)).unknown == ()
    assert spaces.run("SELECT DISTINCT serving_version, skew_ms FROM sona.servers") == [(7, 1.5)]
    spaces.run("DELETE FROM sona.servers WHERE server_id = %s", spaces.servers[0])
    assert spaces.database.call_roll(Look(spaces.ids, beats=Beats.of(told))).unknown == {spaces.servers[0]}


def test_no_space_is_no_question_that_fails(spaces: Spaces) -> None:
    nothing = SpaceIds.of(())
    assert spaces.database.call_roll(Look(nothing, nothing, Beats.of(()))).live == {}
    assert spaces.database.waiting_facts(nothing) == {}


def test_announced_spaces_are_read_in_one_statement_with_the_same_answer(spaces: Spaces) -> None:
    spaces.run(
        "UPDATE sona.spaces SET budget = 2, budget_per = 'day', budget_set_at = now(), canary_version = 4,"
        " canary_share = .5 WHERE space_id = %s",
        spaces.made[0].space_id,
    )
    spaces.run("DELETE FROM sona.servers")
    spaces.run("DELETE FROM sona.spaces WHERE space_id = %s", spaces.made[2].space_id)
    usual, at_once = spaces.look(), spaces.database.call_roll(Look(spaces.ids, is_news=True))
    assert usual.budgets
    assert usual.canaries
    assert usual.signals is not None
    there = {space: signal for space, signal in usual.signals.items() if space in (usual.live or {})}
    assert at_once._replace(at=usual.at) == usual._replace(signals=there, digest=None, signals_digest=None)
    gone = spaces.database.call_roll(Look(SpaceIds.of([spaces.made[2].space_id]), is_news=True))
    assert (gone.live, gone.signals) == ({}, {})
    assert gone.at >= at_once.at
