"""OpenAI Agents run on the routed model, whole and as a stream, and outcomes teach it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest
from fix_frameworks import require

require("agents")

from agents import Agent, Model, ModelProvider, ModelResponse, RunConfig, Runner, Usage, function_tool
from openai.types.responses import (
    Response,
    ResponseCompletedEvent,
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

from sona_pg.integrations.agents_provider import RoutedCall, SonaModelProvider

ROWS = (
    "SELECT id::text, route, quality, propensity IS NOT NULL, latency_us > 0, query FROM sona.trajectories ORDER BY id"
)


class Says(Model):
    """A model that says its name; first it calls a tool, if it is given one."""

    def __init__(self, name: str, fails: bool = False) -> None:
        self.name = name
        self.fails = fails
        self.closed = False

    def output(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        if self.fails:
            raise RuntimeError("away")
        given, tools = kwargs.get("input", args[1:2]), kwargs.get("tools") or (args[3:4] and args[3])
        if tools and not any(isinstance(one, dict) and one.get("type") == "function_call_output" for one in given):
            return [ResponseFunctionToolCall(type="function_call", call_id="1", name=tools[0].name, arguments="{}")]
        text = ResponseOutputText(text=f"from {self.name}", type="output_text", annotations=[])
        return [ResponseOutputMessage(id="m", type="message", role="assistant", status="completed", content=[text])]

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        return ModelResponse(output=self.output(args, kwargs), usage=Usage(requests=1), response_id=None)

    async def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        response = Response(
            id="r", created_at=0, model=self.name, object="response", output=self.output(args, kwargs),
            parallel_tool_calls=False, tool_choice="auto", tools=[],
        )  # fmt: skip
        yield ResponseCompletedEvent(response=response, sequence_number=0, type="response.completed")

    async def close(self) -> None:
        self.closed = True


@function_tool
def look() -> str:
    """Look around."""
    return "nothing to see"


def config(provider: ModelProvider) -> RunConfig:
    return RunConfig(model_provider=provider, tracing_disabled=True)


def rows(engine: Any, url: str) -> list[tuple]:
    engine.flush()
    with psycopg.connect(url) as connection:
        return connection.execute(ROWS).fetchall()


def test_each_call_of_a_run_is_a_trajectory_that_its_response_names(engine, database_url):
    provider = SonaModelProvider(engine, {"small": Says("small"), "large": Says("large")})
    agent = Agent("helper", model="auto", tools=[look])
    done = asyncio.run(Runner.run(agent, "where is my parcel", run_config=config(provider)))
    assert len(done.raw_responses) == 2
    assert done.final_output == f"from {done.raw_responses[-1].route}"
    recorded = rows(engine, database_url)
    assert [row[0] for row in recorded] == [response.trajectory for response in done.raw_responses]
    assert {row[2:] for row in recorded} == {(None, True, True, "where is my parcel")}


def test_a_stream_is_recorded_and_told_to_the_caller(engine, database_url):
    calls: list[RoutedCall] = []
    models = {"small": Says("small"), "large": Says("large")}
    provider = SonaModelProvider(engine, models, costs={"small": 0.1, "large": 1.0}, budget=0.5, on_call=calls.append)

    async def work() -> str:
        streamed = Runner.run_streamed(Agent("helper"), "where is my parcel", run_config=config(provider))
        async for _ in streamed.stream_events():
            pass
        await provider.aclose()
        return streamed.final_output

    told = asyncio.run(work())
    assert told == f"from {calls[0].route}"
    assert [row[:2] for row in rows(engine, database_url)] == [(str(calls[0].trajectory), calls[0].route)]
    assert all(model.closed for model in models.values())


def test_a_named_model_is_recorded_without_a_propensity_and_an_unknown_one_is_refused(engine, database_url):
    provider = SonaModelProvider(engine, {"small": Says("small"), "large": Says("large")})
    done = asyncio.run(Runner.run(Agent("helper", model="large"), "hello", run_config=config(provider)))
    assert done.final_output == "from large"
    assert [row[1:4] for row in rows(engine, database_url)] == [("large", None, False)]
    with pytest.raises(ValueError, match="expected one of auto, small, large"):
        provider.get_model("huge")


def test_a_failure_is_recorded_as_bad(engine, database_url):
    provider = SonaModelProvider(engine, {"broken": Says("broken", fails=True)})
    for run in (Runner.run(Agent("helper"), "hello", run_config=config(provider)), _streamed(provider)):
        with pytest.raises(RuntimeError, match="away"):
            asyncio.run(run)
    assert [row[1:3] for row in rows(engine, database_url)] == [("broken", 0.0)] * 2


async def _streamed(provider: ModelProvider) -> None:
    streamed = Runner.run_streamed(Agent("helper"), "hello", run_config=config(provider))
    async for _ in streamed.stream_events():
        pass


def test_feedback_teaches_which_model_to_choose_and_silence_takes_the_first(engine):
    provider = SonaModelProvider(engine, {"small": Says("small"), "large": Says("large")})

    async def work() -> str:
        for place in range(24):
            done = await Runner.run(Agent("helper"), f"prove theorem {place % 4}", run_config=config(provider))
            response = done.raw_responses[0]
            engine.feedback(response.trajectory, float(response.route == "large"))
        return (await Runner.run(Agent("helper"), "?!", run_config=config(provider))).final_output

    assert asyncio.run(work()) == "from small"
    engine.force_learn()
    scores = engine.route(engine.embed(["prove theorem 2"])[0], ["small", "large"], query="prove theorem 2").scores
    assert scores["large"] > 0.8 > 0.2 > scores["small"]
