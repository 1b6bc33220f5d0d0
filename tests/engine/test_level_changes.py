"""The days on which quality changed beyond chance are found, and what it changed with."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import psycopg
import pytest

from sona_pg import SonaConfig, SonaEngine
from sona_pg.config import LoopConfig, MaintenanceConfig, PatternConfig
from sona_pg.domain.ids import uuid7
from sona_pg.domain.leaderboard import ChangedRoute
from sona_pg.domain.level_change import LevelChange, RouteChange, same_change
from sona_pg.engine.level_changes import ToldChange, compared, told_changes
from sona_pg.engine.overview import Overview
from sona_pg.errors import InvalidValue

pytestmark = pytest.mark.no_vectors

DIM = 8
CONFIG = SonaConfig(
    hidden_dim=DIM, loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False),
    patterns=PatternConfig(clusters=2, min_size=2),
)  # fmt: skip
DAYS = 30
DELIVERY, REFUND = np.eye(DIM, dtype=np.float32)[:2]
Call = tuple[np.ndarray, str, str, str, float]  # query, text, route, label, probability of a good rating


@pytest.fixture
def engine(database_url: str) -> Iterator[SonaEngine]:
    with SonaEngine(DIM, database_url, config=CONFIG) as opened:
        yield opened


def first_day() -> date:
    return datetime.now(UTC).date() - timedelta(days=DAYS - 1)


def record(engine: SonaEngine, calls: Callable[[int, random.Random], Call], each: int = 40, seed: int = 1) -> None:
    """Record ``each`` rated calls on each day, and learn them."""
    drawn = random.Random(seed)
    start = datetime.combine(first_day(), datetime.min.time(), UTC)
    for day in range(DAYS):
        for place in range(each):
            query, text, route, label, good = calls(day, drawn)
            at = start + timedelta(days=day, seconds=60 + place)
            id_ = uuid7(int(at.timestamp() * 1000))
            trajectory = engine.begin_trajectory(query, query=text, id=id_)
            engine.set_trajectory_route(trajectory, route)
            engine.add_trajectory_context(trajectory, label)
            engine.end_trajectory(trajectory, float(drawn.random() < good))
    engine.force_learn()
    engine.refresh()


def steady(good: float) -> Callable[[int, random.Random], Call]:
    return lambda day, drawn: (DELIVERY, "where is it?", "model", "plan:free", good)


@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_marked_where_only_chance_moves_the_days(engine: SonaEngine, seed: int) -> None:
    record(engine, steady(0.7), seed=seed)
    assert Overview(engine).changes(30) == []


def test_a_fall_and_a_rise_are_found_on_their_days(engine: SonaEngine) -> None:
    levels = [0.9] * 12 + [0.5] * 9 + [0.8] * 9
    record(engine, lambda day, drawn: (DELIVERY, "where is it?", "model", "plan:free", levels[day]))
    fall, rise = Overview(engine).changes(30)
    assert abs((fall.change.day - first_day()).days - 12) <= 1
    assert abs((rise.change.day - first_day()).days - 21) <= 1
    assert fall.change.low < fall.change.difference < fall.change.high < -0.2
    assert fall.change.before_rated + fall.change.after_rated + rise.change.after_rated == DAYS * 40
    assert fall.change.after_rated == rise.change.before_rated
    assert fall.change.after_quality == rise.change.before_quality
    assert rise.change.difference > 0.2
    assert fall.sentence.startswith("From ")
    assert rise.change.earliest <= rise.change.day <= rise.change.latest
    assert re.match(r"Since (about )?\d+ \w+ \d{4} (\(it changed between .*\) )?quality is", rise.sentence)


def test_days_that_differ_by_more_than_chance_of_each_rating_are_no_change(engine: SonaEngine) -> None:
    drawn = random.Random(5)
    levels = [drawn.choice((0.55, 0.85)) for _ in range(DAYS)]  # a day is good or bad as a whole
    record(engine, lambda day, _: (DELIVERY, "where is it?", "model", "plan:free", levels[day]))
    assert Overview(engine).changes(30) == []


def test_the_route_and_the_topic_that_fell_are_named_with_their_numbers(engine: SonaEngine) -> None:
    def calls(day: int, drawn: random.Random) -> Call:
        late = drawn.random() < 0.5
        route = drawn.choice(("small", "large"))
        good = 0.3 if day >= 15 and late and route == "small" else 0.9
        return (DELIVERY, "where is order 17?", route, "plan:free", good) if late else (
            REFUND, "money back, please", route, "plan:free", good)  # fmt: skip

    record(engine, calls)
    engine.name_topic(engine.find_patterns(REFUND, 1)[0].id, "Refunds")
    (change,) = Overview(engine).changes(30)
    found = Overview(engine).explained_change(change.change.day, 30)
    assert [part.title for part in found.named] == ["where is order [number]?", "small"]
    by_kind: dict[str, float] = {}
    for part in found.parts:
        by_kind[part.kind] = by_kind.get(part.kind, 0.0) + part.effect
    assert by_kind["route"] == pytest.approx(found.change.difference, abs=1e-9)
    assert by_kind["topic"] == pytest.approx(found.change.difference, abs=1e-9)  # all of a small space
    assert {part.title for part in found.parts if part.kind == "topic"} == {"Refunds", "where is order [number]?"}
    assert "answers of “small” got worse" in found.reasons


def test_a_share_that_grew_is_told_apart_from_a_quality_that_fell(engine: SonaEngine) -> None:
    def calls(day: int, drawn: random.Random) -> Call:
        cheap = drawn.random() < (0.7 if day >= 15 else 0.1)
        return (DELIVERY, "where is it?", "cheap", "plan:free", 0.4) if cheap else (
            DELIVERY, "where is it?", "dear", "plan:free", 0.9)  # fmt: skip

    record(engine, calls, seed=2)
    (change,) = Overview(engine).changes(30)
    found = Overview(engine).explained_change(change.change.day, 30)
    routes = {part.name: part for part in found.parts if part.kind == "route"}
    assert routes["cheap"].share_effect < -0.08 < -abs(routes["cheap"].quality_effect)
    assert routes["cheap"].effect + routes["dear"].effect == pytest.approx(found.change.difference, abs=1e-9)
    assert "answers of “cheap” came more often" in found.reasons


def test_a_fall_of_everything_names_nothing(engine: SonaEngine) -> None:
    def calls(day: int, drawn: random.Random) -> Call:
        return (DELIVERY, "where is it?", drawn.choice(("a", "b", "c")), "plan:free", 0.9 if day < 15 else 0.5)

    record(engine, calls)
    (change,) = Overview(engine).changes(30)
    found = Overview(engine).explained_change(change.change.day, 30)
    assert (found.named, found.reasons) == (
        [], "It went through everything: no answer, topic, label or user stands out beyond its part of the ratings.",
    )  # fmt: skip


def test_a_label_that_rose_with_everything_else_is_not_named(engine: SonaEngine) -> None:
    """The rise of each label is beyond chance; that one rose by more than the other is not."""
    told = {"lang:de": 0, "lang:en": 0}

    def calls(day: int, drawn: random.Random) -> Call:
        label = "lang:de" if drawn.random() < 0.4 else "lang:en"
        told[label] += 1
        level = 0.5 if day < 15 else 0.69 if label == "lang:de" else 0.61
        return DELIVERY, "where is it?", "model", label, float(told[label] * 0.618 % 1 < level)  # as evenly as can be

    record(engine, calls)
    (change,) = Overview(engine).changes(30)
    found = Overview(engine).explained_change(change.change.day, 30)
    german = next(part for part in found.parts if part.title == "lang:de")
    assert german.effect / change.change.difference > german.usual + 0.1
    assert (german.is_clear, found.named) == (False, [])


def test_an_answer_that_collapsed_while_all_else_rose_is_told(engine: SonaEngine) -> None:
    def calls(day: int, drawn: random.Random) -> Call:
        given = "track" if drawn.random() < 0.1 else drawn.choice(("refund", "return", "size"))
        good = 0.05 if given == "track" and day >= 12 else 0.6 if day < 20 else 0.75
        return DELIVERY, "where is it?", given, "plan:free", good

    record(engine, calls)
    (told,) = Overview(engine).route_changes(30)
    assert told.change.route == "track"
    assert abs((told.change.changed_on - first_day()).days - 12) <= 1
    assert re.match(
        r"Since about \d+ \w+ \d{4} answers of “track” are worse: \d % of \d+ ratings, after \d+ % of \d+ ratings from "
        r"\d+ \w+ \d{4} on\. All others: \d+ %, after \d+ %\.$", told.sentence,
    )  # fmt: skip
    assert Overview(engine).route_changes(5) == []  # longer ago
    marked = {one.route: one.changed for one in Overview(engine).leaderboard(30).routes}
    assert [name for name, changed in marked.items() if changed] == ["track"]
    changed, change = marked["track"], told.change
    assert changed == ChangedRoute(change.changed_on, change.after_rated, change.after_quality, is_worse=True)


def test_a_route_and_the_mean_that_tell_two_days_of_one_change_say_so(engine: SonaEngine) -> None:
    day = date(2026, 11, 2)
    mean = LevelChange(day, 0.45, 0.2, 0.6, day - timedelta(days=6), 39, 0.26, day + timedelta(days=21), 181, 0.71, 0.0,
                       day - timedelta(days=1), day + timedelta(days=8))  # fmt: skip
    later = day + timedelta(days=7)
    std = RouteChange("std", later, day - timedelta(days=7), 30, 0.1, later, 40, 0.85, 0.63, 0.69, 0.0)
    told = [ToldChange(mean, "")]
    (both,) = told_changes([std], told)
    assert both.sentence.endswith(
        "The quality of all, told from about 2 November 2026 on, changed between 1 November and 10 November 2026: "
        "“std” itself changed within these days, about 9 November 2026, so both may be one change."
    )
    for other in (
        std._replace(changed_on=day), std._replace(changed_on=day + timedelta(days=9)), std._replace(after_quality=0.0),
    ):  # fmt: skip
        assert "one change" not in told_changes([other], told)[0].sentence


def test_the_reasons_of_a_change_name_the_day_of_the_route_that_made_it(engine: SonaEngine) -> None:
    def calls(day: int, drawn: random.Random) -> Call:
        given = drawn.choice(("std", "mini", "large"))
        return DELIVERY, "where is it?", given, "plan:free", 0.1 if given == "std" and day >= 15 else 0.75

    record(engine, calls, each=20)
    (change,) = Overview(engine).changes(30)
    of_std = next(one.change for one in Overview(engine).route_changes(30) if one.change.route == "std")
    beside = change.change._replace(day=of_std.changed_on - timedelta(days=1), earliest=of_std.changed_on)
    assert same_change(of_std, [beside]) is beside
    words = Overview(engine).explained_change(change.change.day, 30).reasons
    assert ("may be one change" in words) == (of_std.changed_on != change.change.day)


def test_an_answer_that_was_mended_is_told_with_both_days(engine: SonaEngine) -> None:
    def calls(day: int, drawn: random.Random) -> Call:
        given = "track" if drawn.random() < 0.2 else drawn.choice(("refund", "return", "size"))
        return DELIVERY, "where is it?", given, "plan:free", 0.05 if given == "track" and 11 <= day < 17 else 0.75

    record(engine, calls)
    (told,) = Overview(engine).route_changes(30)
    assert re.match(
        r"Since about \d+ \w+ \d{4} answers of “track” are better again: \d+ % of \d+ ratings, after \d+ % of \d+ "
        r"ratings from \d+ \w+ \d{4} on, and \d+ % of \d+ ratings before that\. All others: \d+ %, after "
        r"\d+ %\.$", told.sentence,
    )  # fmt: skip
    assert abs((told.change.before_from - first_day()).days - 11) <= 1
    assert abs((told.change.changed_on - first_day()).days - 17) <= 1


def test_the_days_that_parts_are_of_are_told_where_a_change_is_told_of_more() -> None:
    monday = date(2026, 3, 2)
    change = LevelChange(
        monday, 0.1, 0.0, 0.2, monday - timedelta(days=50), 9, 0.5, monday, 9, 0.6, 0.0, monday, monday
    )
    first = monday - timedelta(days=28)
    assert compared(change, change.before_from, change.after_until) == ""
    assert compared(change, first, monday) == (
        " Compared here: 2 February 2026 to 1 March 2026 with 2 March 2026 to 2 March 2026."
    )


def test_days_without_a_change_and_wrong_spans_are_refused(engine: SonaEngine, database_url: str) -> None:
    assert Overview(engine).changes(30) == []  # nothing is recorded
    record(engine, steady(0.7), each=2)
    with pytest.raises(InvalidValue, match="no day of the last 30"):
        Overview(engine).explained_change(first_day(), 30)
    with psycopg.connect(database_url, autocommit=True) as connection:
        for wrong in (
            "SELECT * FROM sona.quality_changes('default', 0)",
            "SELECT * FROM sona.change_parts('default', '2026-01-05', '2026-01-05')",
            "SELECT * FROM sona.change_parts('default', '2026-01-05', '2026-01-01', '2026-01-04')",
        ):
            with pytest.raises(psycopg.errors.InvalidParameterValue):
                connection.execute(wrong.encode())


def test_a_topic_is_told_over_all_ratings_and_labels_that_fell_with_it_alone_are_not(database_url: str) -> None:
    """One of three topics falls; a market grows that asks it most, and a prompt is replaced on that day."""
    billing = np.eye(DIM, dtype=np.float32)[2]

    def calls(day: int, drawn: random.Random) -> Call:
        market = "ja" if drawn.random() < (0.15 if day < 15 else 0.35) else "en"
        spoiled = drawn.random() < (0.5 if market == "ja" else 0.25)
        query, text = (billing, "change my bill") if spoiled else drawn.choice(
            ((DELIVERY, "where is it?"), (REFUND, "money back, please")))  # fmt: skip
        good = 0.2 if spoiled and day >= 15 else 0.85
        label = f"market:{market}" if drawn.random() < 0.5 else f"prompt:v{1 + (day >= 15)}"
        return query, text, drawn.choice(("small", "large")), label, good

    config = replace(CONFIG, patterns=PatternConfig(clusters=3, min_size=2))
    with SonaEngine(DIM, database_url, config=config) as engine:
        record(engine, calls, each=120)
        (change,) = Overview(engine).changes(30)
        found = Overview(engine).explained_change(change.change.day, 30)
    day = first_day() + timedelta(days=15)
    assert change.change.earliest <= day <= change.change.latest
    assert found.reasons.startswith("What it came with: the topic “change my bill” got worse, ")
    assert f"the label “prompt:v1” was replaced by “prompt:v2” on {day.day} {day:%B %Y}" in found.reasons
    told = {part.title for part in found.named}
    assert told == {"change my bill", "prompt:v1", "prompt:v2"}
    japan = next(part for part in found.parts if part.title == "market:ja")
    assert japan.is_clear
    assert abs(japan.own_effect) < 0.6 * abs(japan.effect)
    (topic,) = (part for part in found.parts if part.title == "change my bill")
    assert (topic.sampled, topic.own_effect) == (False, topic.effect)
    assert topic.before_rated + topic.after_rated > 900  # all of them, no sample


def test_a_change_before_the_period_is_hinted_at(engine: SonaEngine) -> None:
    record(engine, lambda day, drawn: (DELIVERY, "where is it?", "model", "plan:free", 0.9 if day < 15 else 0.5))
    overview = Overview(engine)
    assert overview.changes(10) == []
    earlier = overview.earlier_change(10)
    assert earlier is not None
    assert abs((earlier.change.day - first_day()).days - 15) <= 1
    assert overview.earlier_change(30) is None  # this period has it itself
    assert overview.earlier_change(5) is None  # longer ago than as many days before
