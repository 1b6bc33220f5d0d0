"""Order of turns: urgent spaces first, none starves, and idle ones are only checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from sona_pg.ingest.rotation import Rotation


@dataclass(eq=False)
class Space:
    name: str
    interval: float = 1.0
    work: bool = False
    urgent: bool = False
    goes_on: bool = False
    ended: bool = False
    chores: bool = False
    recorder: object = True
    looks: int = 0

    def has_chores(self, now: float) -> bool:
        return self.chores


def with_work(spaces: dict[Any, Any]) -> list[Any]:
    for space in spaces:
        space.looks += 1
    return [space for space in spaces if space.work]


def turns(rotation: Rotation, n: int, now: float = 10.0) -> str:
    """Give ``n`` turns, each leaving the space more work; return the spaces in order."""
    seen = ""
    for _ in range(n):
        space = rotation.next()
        if isinstance(space, Space):
            rotation.served(space, 0.0, now)
            seen += space.name
    return seen


def in_rotation(*spaces: Space) -> Rotation:
    rotation = Rotation(with_work)
    for space in spaces:
        rotation.ask(space, 0.0)
    return rotation


def test_those_with_work_take_turns_in_their_order() -> None:
    rotation = in_rotation(*(Space(name, work=name != "c") for name in "abcd"))
    rotation.look(0.5)
    assert rotation.next() is None
    rotation.look(1.0)
    assert turns(rotation, 7) == "abdabda"


def test_every_other_turn_is_for_one_that_is_not_urgent() -> None:
    rotation = in_rotation(*(Space(name, work=True, urgent=name in "xy") for name in "abxy"))
    rotation.look(1.0)
    assert turns(rotation, 8) == "xaybxayb"


def test_one_that_becomes_urgent_goes_before_those_that_have_waited_longer() -> None:
    spaces = [Space(name, work=True) for name in "abcde"]
    rotation = in_rotation(*spaces)
    rotation.look(1.0)
    spaces[4].urgent = True
    rotation.ask(spaces[4], 1.0)
    assert turns(rotation, 5) == "eaebe"


def test_an_idle_space_is_checked_once_per_interval() -> None:
    slow, fast = Space("s", 1.0), Space("f", 0.25)
    rotation = in_rotation(slow, fast)
    now = 0.0
    while now < 2.0:
        now += rotation.until(now)
        rotation.look(now)
    assert (slow.looks, fast.looks) == (2, 8)


def test_other_work_than_records_waits_for_the_interval_if_it_is_noted_else_for_five_seconds() -> None:
    noted, found = Space("n", 0.25), Space("f", 0.25)
    rotation = in_rotation(noted, found)
    rotation.look(0.0)
    found.chores = True
    rotation.note(noted)
    rotation.look(0.2)
    assert rotation.next() is None
    rotation.look(0.25)
    assert rotation.next() is noted
    rotation.note(noted)
    rotation.look(0.5)
    rotation.served(noted, None, 0.5)
    assert rotation.next() is None
    rotation.look(0.75)
    assert rotation.next() is noted
    rotation.served(noted, None, 0.75)
    assert rotation.next() is None
    rotation.look(5.0)
    assert rotation.next() is found


def test_one_that_pauses_has_no_turn_before_its_time() -> None:
    space = Space("a", interval=60, goes_on=True)
    rotation = in_rotation(space)
    assert rotation.next() is space
    rotation.served(space, 5.0, now=1.0)
    rotation.ask(space, 2.0)
    rotation.look(2.0)
    assert rotation.next() is None
    rotation.look(5.9)
    assert rotation.next() is None
    assert rotation.until(5.9) == pytest.approx(0.1)
    rotation.look(6.0)
    assert rotation.next() is space


def test_a_space_queued_during_its_turn_gets_another_one() -> None:
    space = Space("a", goes_on=True)
    rotation = in_rotation(space)
    assert rotation.next() is space
    rotation.ask(space, 1.0)
    assert rotation.next() is None
    rotation.served(space, None, 1.0)
    assert rotation.next() is space
    space.goes_on = False
    rotation.served(space, None, 1.0)
    assert rotation.next() is None


def test_one_that_has_ended_is_forgotten_wherever_it_is() -> None:
    idle, ready, pausing, served = (Space(name, goes_on=name != "i") for name in "irps")
    rotation = in_rotation(idle)
    for space in (pausing, served, ready):
        rotation.ask(space, 0.0)
    assert rotation.next() is pausing
    rotation.served(pausing, 1.0, 0.0)
    assert rotation.next() is served
    for space in (idle, ready, pausing, served):
        space.ended = True
        rotation.ask(space, 0.5)
    rotation.served(served, None, 0.5)
    rotation.look(2.0)
    while (space_ := rotation.next()) is not None:
        rotation.served(space_, None, 2.0)
    assert len(rotation) == 0
    assert rotation.until(2.0) == 5.0
