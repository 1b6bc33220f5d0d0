"""A checkpoint of LangGraph holds decisions, rankings and the ids of open trajectories; another process goes on."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
import psycopg
import pytest
from fix_frameworks import DIM, EMBEDDER, QUIET, require

require("langgraph")

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from sona_pg import Decision, Ranking, SonaEngine

ALLOWED = [("sona_pg.domain.answer", "Decision"), ("sona_pg.domain.answer", "Ranking")]
SERDE = JsonPlusSerializer(allowed_msgpack_modules=ALLOWED)


class State(TypedDict, total=False):
    """State of the graph."""

    asked: str
    decision: Decision
    ranking: Ranking
    trajectory: Any
    quality: float


@pytest.mark.parametrize("budget", [None, 5.0])
def test_decisions_and_rankings_come_back_as_they_were(engine, budget):
    x = engine.embed(["where is it"])[0]
    decision = engine.route(x, ["a", "b"], query="where is it", costs={"a": 1.0, "b": 2.0}, budget=budget)
    ranking = engine.rank(x, np.eye(DIM)[:3], ids=["1", "2", "3"])
    again, ranked = (SERDE.loads_typed(SERDE.dumps_typed(one)) for one in (decision, ranking))
    assert again.as_dict() == decision.as_dict()
    assert ranked.as_dict() == ranking.as_dict()
    handle = engine.begin_trajectory(x, decision=again, ranking=ranked)
    engine.set_trajectory_route(handle, again.route)
    engine.end_trajectory(handle, 1.0)
    engine.flush()


def test_a_graph_goes_on_in_another_process_after_a_person_has_answered(database_url):
    def begin(state: State) -> State:
        x = engine.embed([state["asked"]])[0]
        decision = engine.route(x, ["small", "large"], query=state["asked"])
        handle = engine.begin_trajectory(x, query=state["asked"], decision=decision)
        return {"decision": decision, "trajectory": engine.share_trajectory(handle)}

    def end(state: State) -> State:
        quality = interrupt("how good was it?")
        engine.set_trajectory_route(state["trajectory"], state["decision"].route)
        engine.end_trajectory(state["trajectory"], quality)
        return {"quality": quality}

    saver = InMemorySaver(serde=SERDE)
    graph = StateGraph(State).add_node("begin", begin).add_node("end", end)
    compiled = graph.add_edge(START, "begin").add_edge("begin", "end").add_edge("end", END).compile(checkpointer=saver)
    thread = {"configurable": {"thread_id": "1"}}
    with SonaEngine(DIM, database_url, config=QUIET, embedder=EMBEDDER) as engine:
        compiled.invoke({"asked": "where is it"}, thread)
    with SonaEngine(DIM, database_url, config=QUIET, embedder=EMBEDDER) as engine:  # as a process started later has it
        done = compiled.invoke(Command(resume=0.5), thread)
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT id, route, quality, propensity FROM sona.trajectories").fetchall()
    assert rows == [(done["trajectory"], done["decision"].route, 0.5, done["decision"].propensity)]
