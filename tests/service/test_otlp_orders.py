"""OTLP: spans and evaluations of one response, in every order, of several traces, and at once."""

from __future__ import annotations

import itertools
import threading
from uuid import UUID

import pytest
from fix_ledger import Ledger

from sona_pg.domain.ids import uuid7
from sona_pg.domain.telemetry_keys import TelemetryClaim, TelemetryKeys
from sona_pg.store.erasure_statements import REMOVE
from tests.service.otlp_bodies import TRACE, chat, evaluation, logs, span, traces


def test_spans_of_several_traces_with_one_response_id_are_trajectories_of_their_own(service, space, rows):
    name = {"space": space()}
    first, second, nested = chat("first"), chat("second"), chat("first", **{"gen_ai.request.model": "inner"})
    for told in (first, second, nested):
        told["gen_ai.response.id"] = "cached"
    elsewhere = span(1, second, traceId=TRACE[::-1])
    score = evaluation(None, "Early", response__id="cached", evaluation__score__value=1.0)
    service.post("/v1/otlp/v1/logs", logs(score), params=name)
    for sent in (traces(span(1, first), elsewhere), traces(elsewhere), traces(span(2, nested))):
        assert service.post("/v1/otlp/v1/traces", sent, params=name).json() == {}
    judged = evaluation(9, "Late", response__id="cached", evaluation__score__value=0.0)
    service.post("/v1/otlp/v1/logs", logs(judged | {"traceId": TRACE[::-1]}), params=name)
    found = {(row[2], row[6], row[7]) for row in rows(name["space"])}
    assert found == {("first", "http:Early", 1.0), ("second", "http:Late", 0.0)}


def test_spans_of_one_response_are_kept_when_an_evaluation_came_before_them(service, space, rows):
    name = {"space": space()}
    first, second = (chat(text, **{"gen_ai.response.id": "cached"}) for text in ("first", "second"))
    score = evaluation(2, "Early", response__id="cached", evaluation__score__value=1.0) | {"traceId": TRACE[::-1]}
    for signal, sent, doubt in (
        ("logs", logs(score), ""),
        ("traces", traces(span(1, first)), ""),
        ("traces", traces(span(2, second, traceId=TRACE[::-1])), "came before the span, and counts for another"),
    ):
        told = service.post(f"/v1/otlp/v1/{signal}", sent, params=name).json().get("partialSuccess", {})
        assert doubt in told.get("errorMessage", "")
        assert bool(told) == bool(doubt)
        assert told.get("rejectedSpans", "0") == "0"
    assert sorted((row[2], row[6]) for row in rows(name["space"])) == [("first", "http:Early"), ("second", None)]


def test_an_evaluation_that_several_traces_may_mean_is_rejected(service, space, rows):
    name = {"space": space()}
    for number, trace in ((1, TRACE), (2, TRACE[::-1])):
        told = chat(f"asked {number}", **{"gen_ai.response.id": "cached"})
        assert service.post("/v1/otlp/v1/traces", traces(span(number, told, traceId=trace)), params=name).json() == {}
    by_response = evaluation(9, "Open", response__id="cached", evaluation__score__value=1.0)
    for judged in (evaluation(None, "Open", response__id="cached"), by_response):
        judged = judged | {"traceId": "c" * 32, "attributes": by_response["attributes"]}
        told = service.post("/v1/otlp/v1/logs", logs(judged), params=name).json()["partialSuccess"]
        assert (told["rejectedLogRecords"], "several traces" in told["errorMessage"]) == ("1", True)
    certain = evaluation(9, "Near", response__id="cached", evaluation__score__value=0.0) | {"traceId": TRACE[::-1]}
    assert service.post("/v1/otlp/v1/logs", logs(certain), params=name).json() == {}
    assert sorted((row[2], row[6]) for row in rows(name["space"])) == [("asked 1", None), ("asked 2", "http:Near")]


OF_FIRST = TelemetryKeys.of(TRACE, "1", "r", inference=True)
NESTED = TelemetryKeys.of(TRACE, "2", "r", inference=True)
OF_SECOND = TelemetryKeys.of(TRACE[::-1], "3", "r", inference=True)
JUDGED = TelemetryKeys.of(TRACE[::-1], "3", "r", inference=False)
BY_RESPONSE = TelemetryKeys.of("", "", "r", inference=False)
IN_JUDGE = TelemetryKeys.of("c" * 32, "9", "r", inference=False)  # parented to a judge's own span


def claimed(ledger: Ledger, space_id: int, *keys: TelemetryKeys) -> list[UUID]:
    """Return the ids of keys that are told one after the other."""
    return [ledger.database.telemetry.claim(space_id, [(one, uuid7())])[0].id for one in keys]


@pytest.mark.parametrize("together", [False, True])
def test_spans_and_evaluations_find_their_trajectories_in_every_order(ledger: Ledger, together: bool):
    for number, order in enumerate(itertools.permutations((OF_FIRST, NESTED, OF_SECOND, JUDGED))):
        space_id = ledger.space(f"orders {number}", 8).space_id
        if together:
            found = [claim.id for claim in ledger.database.telemetry.claim(space_id, [(one, uuid7()) for one in order])]
        else:
            found = claimed(ledger, space_id, *order)
        told = dict(zip(order, found, strict=True))
        assert told[OF_FIRST] == told[NESTED] != told[OF_SECOND], order
        foremost = next(one for one in order if one is not JUDGED)
        known = order.index(OF_SECOND) < order.index(JUDGED)
        assert told[JUDGED] == told[OF_SECOND if known else foremost], order
        again = claimed(ledger, space_id, *order)
        assert dict(zip(order, again, strict=True)) == told | {JUDGED: told[OF_SECOND]}, order


@pytest.mark.parametrize("early", [(), (JUDGED, BY_RESPONSE)])
def test_the_first_of_two_spans_that_tell_of_one_call_is_recorded(ledger: Ledger, early: tuple[TelemetryKeys, ...]):
    space_id = ledger.space("again", 8).space_id
    nested = TelemetryKeys.of(TRACE[::-1], "4", "r", inference=True)  # within the span of another trace
    for _ in range(2):  # the exporter sends them again
        claims = ledger.database.telemetry.claim(
            space_id, [(one, uuid7()) for one in (*early, OF_FIRST, NESTED, OF_SECOND, nested)]
        )
        assert [claim.again for claim in claims[len(early) :]] == [False, True, False, True]


@pytest.mark.parametrize("judged", [BY_RESPONSE, IN_JUDGE])
def test_an_evaluation_by_response_finds_its_span_in_either_order(ledger: Ledger, judged: TelemetryKeys):
    for number, order in enumerate(itertools.permutations((OF_FIRST, judged))):
        assert len({*claimed(ledger, ledger.space(f"either {number}", 8).space_id, *order)}) == 1


def test_a_judge_evaluates_several_responses_within_one_span_before_theirs_have_come(ledger: Ledger):
    space_id = ledger.space("judge", 8).space_id
    judged = [TelemetryKeys.of("c" * 32, "9", response, inference=False) for response in ("r1", "r2")]
    spans = [TelemetryKeys.of(TRACE, response, response, inference=True) for response in ("r1", "r2")]
    first, second = claimed(ledger, space_id, *judged)
    assert first != second
    assert claimed(ledger, space_id, *spans) == [first, second]


@pytest.mark.parametrize("response", ["", "agent's"])
def test_an_evaluation_that_names_a_response_is_never_about_another_span(ledger: Ledger, response: str):
    parent = TelemetryKeys.of(TRACE, "1", response, inference=True)
    answer = TelemetryKeys.of(TRACE, "2", "r", inference=True)
    judged = TelemetryKeys.of(TRACE, "1", "r", inference=False)  # in the parent's span
    for number, order in enumerate(itertools.permutations((parent, answer, judged))):
        space_id = ledger.space(f"named {number}", 8).space_id
        told = dict(zip(order, claimed(ledger, space_id, *order), strict=True))
        assert told[judged] == told[answer] != told[parent], order


def test_an_evaluation_names_its_span_in_one_way_until_the_span_has_come(ledger: Ledger):
    span = TelemetryKeys.of(TRACE, "1", "r", inference=True)
    named, bare = (TelemetryKeys.of(TRACE, "1", response, inference=False) for response in ("r", ""))
    for number, (early, late) in enumerate(((named, bare), (bare, named))):
        space_id = ledger.space(f"mixed {number}", 8).space_id

        def claim(one: TelemetryKeys, space_id: int = space_id) -> TelemetryClaim:
            return ledger.database.telemetry.claim(space_id, [(one, uuid7())])[0]

        first, refused = claim(early), claim(late)
        assert (refused.id, "before the span" in refused.doubt) == (None, True)
        assert claim(span) == TelemetryClaim(first.id)
        assert claim(late) == claim(early) == TelemetryClaim(first.id)


def test_evaluations_that_a_later_span_cannot_have_are_told_of(ledger: Ledger):
    space_id = ledger.space("told", 8).space_id
    by_span, by_judge = (
        TelemetryKeys.of(TRACE, "1", "", inference=False), TelemetryKeys.of("c" * 32, "9", "r", inference=False)
    )  # fmt: skip
    claimed(ledger, space_id, by_span, by_judge)
    answered = TelemetryKeys.of(TRACE, "1", "r", inference=True)
    assert "by the response" in ledger.database.telemetry.claim(space_id, [(answered, uuid7())])[0].doubt
    claimed(ledger, space_id, TelemetryKeys.of(TRACE, "2", "other", inference=False))
    bare = TelemetryKeys.of(TRACE, "2", "", inference=True)
    assert "no span has yet" in ledger.database.telemetry.claim(space_id, [(bare, uuid7())])[0].doubt


@pytest.mark.parametrize("response", ["", "agent's"])
@pytest.mark.parametrize("together", [False, True])
def test_an_evaluation_in_an_agents_span_leaves_each_span_its_trajectory(ledger: Ledger, response: str, together: bool):
    space_id = ledger.space("agents", 8).space_id
    told: list[tuple[TelemetryKeys, ...]] = []
    for number, order in enumerate(itertools.permutations(range(5))):
        keys = (
            TelemetryKeys.of(f"a{number}", "1", response and f"{response} {number}", inference=True),
            TelemetryKeys.of(f"a{number}", "2", f"r{number}", inference=True),  # the chat beneath
            TelemetryKeys.of(f"b{number}", "3", f"r{number}", inference=True),  # which shares its response
            TelemetryKeys.of(f"a{number}", "1", f"r{number}", inference=False),  # in the agent's span, of the chat
            TelemetryKeys.of(f"a{number}", "1", "", inference=False),
        )
        told.append(tuple(keys[one] for one in order))
    found: dict[TelemetryKeys, UUID | None] = {}
    everything = [one for keys in told for one in keys]
    for step in [everything] if together else list(zip(*told, strict=True)):
        claims = ledger.database.telemetry.claim(space_id, [(one, uuid7()) for one in step])
        found |= dict(zip(step, (claim.id for claim in claims), strict=True))
    spans = [one for one in everything if one.inference]
    assert len({found[one] for one in spans}) == len(spans) == 360
    assert {found[one] for one in everything} - {found[one] for one in spans} <= {None}  # no evaluation by itself
    for number in range(120):
        agent = TelemetryKeys.of(f"a{number}", "1", response and f"{response} {number}", inference=True)
        answers = [TelemetryKeys.of(trace, span, f"r{number}", inference=True)
                   for trace, span in ((f"a{number}", "2"), (f"b{number}", "3"))]  # fmt: skip
        by_response = TelemetryKeys.of(f"a{number}", "1", f"r{number}", inference=False)
        by_span = TelemetryKeys.of(f"a{number}", "1", "", inference=False)
        assert found[by_response] in (None, *(found[one] for one in answers)), number
        assert found[by_span] in (None, found[agent]), number
    again = ledger.database.telemetry.claim(space_id, [(one, uuid7()) for one in spans])
    assert [claim.id for claim in again] == [found[one] for one in spans]


def test_agents_and_answers_are_both_kept_when_an_evaluation_came_before_them(service, space, rows):
    for answer_first in (True, False):
        name = {"space": space()}
        judged = evaluation(1, "Early", response__id="r", evaluation__score__value=0.0)
        assert service.post("/v1/otlp/v1/logs", logs(judged), params=name).json() == {}
        spans = [span(1, chat("plan")), span(2, chat("flights", **{"gen_ai.response.id": "r"}))]
        for one in reversed(spans) if answer_first else spans:
            answer = service.post("/v1/otlp/v1/traces", traces(one), params=name).json()
            doubt = answer.get("partialSuccess", {}).get("errorMessage", "")
            assert ("no span has yet" in doubt) == (one is spans[0] and not answer_first)
        told = {(row[2], row[6]) for row in rows(name["space"])}
        assert told == {("plan", None), ("flights", "http:Early")}


def test_spans_and_evaluations_that_arrive_at_once_agree_on_their_trajectories(ledger: Ledger):
    space_id = ledger.space("at once", 8).space_id
    for number in range(10):
        told = [
            TelemetryKeys.of(TRACE, f"{number}a", f"r{number}", inference=True),
            TelemetryKeys.of(TRACE, f"{number}b", f"r{number}", inference=True),
            TelemetryKeys.of("", "", f"r{number}", inference=False),
            TelemetryKeys.of(TRACE[::-1], f"{number}c", f"r{number}", inference=True),
        ]
        told = told if number % 2 else told[:3]
        found: dict[int, UUID] = {}
        barrier = threading.Barrier(len(told))

        def claim(one: int, told=told, found=found, barrier=barrier) -> None:
            barrier.wait(60)
            (found[one],) = claimed(ledger, space_id, told[one])

        threads = [threading.Thread(target=claim, args=(one,)) for one in range(len(told))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert found[0] == found[1]
        if len(told) == 3:
            assert found[2] == found[0]
        else:
            assert found[3] != found[0]
            assert found[2] in (found[0], found[3], None)  # of the first, unless both were known


def test_what_tells_which_trace_had_a_response_goes_with_its_trajectory(ledger: Ledger):
    space = ledger.space("erased", 8)
    keys = TelemetryKeys.of(TRACE, "1", "r1", inference=True)
    made, _ = claimed(ledger, space.space_id, keys, TelemetryKeys.of(TRACE[::-1], "2", "r1", inference=True))
    with ledger.database.engine.begin() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.execute(REMOVE["telemetry_ids"], {"space": space.space_id, "ids": [made]})
    assert len(ledger.rows("SELECT FROM sona.telemetry_ids")) == 2  # of the other trace's span
