"""LiteLLM's router leaves the choice to the learned router, and its callbacks tell the outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from fix_frameworks import require

require("litellm")

import litellm
from litellm import Router

from sona_pg.integrations.litellm_routing import SonaRouting

pytestmark = pytest.mark.filterwarnings(
    "ignore:Items? .* using the `ReadOnly` qualifier:UserWarning"
)  # LiteLLM's own types
ROWS = "SELECT id::text, route, quality, propensity, latency_us, paid, query FROM sona.trajectories ORDER BY id"


@pytest.fixture(autouse=True)
def callbacks() -> Iterator[None]:
    yield
    for known in (litellm.callbacks, litellm._async_success_callback, litellm._async_failure_callback,
                  litellm.success_callback, litellm.failure_callback):  # fmt: skip
        known[:] = [one for one in known if not isinstance(one, SonaRouting)]


def group(name: str, **params: Any) -> dict[str, Any]:
    told = {"model": f"openai/{name}", "api_key": "none", "mock_response": f"from {name}"} | params
    return {"model_name": name, "litellm_params": told}


def asked(text: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": "be brief"}, {"role": "user", "content": text}]


async def recorded(engine: Any, url: str, count: int) -> list[tuple]:
    """Return the trajectories once ``count`` are stored: LiteLLM logs in the background."""
    for _ in range(500):
        await asyncio.to_thread(engine.flush)
        with psycopg.connect(url) as connection:
            rows = connection.execute(ROWS).fetchall()
        if len(rows) >= count:
            return rows
        await asyncio.sleep(0.01)
    raise AssertionError(f"{len(rows)} trajectories, expected {count}")


def run(work: Callable[[], Any]) -> Any:
    return asyncio.run(work())


def test_a_request_is_routed_and_recorded_with_latency_and_cost(engine, database_url):
    prices = {"input_cost_per_token": 0.01, "output_cost_per_token": 0.02}
    router = Router(model_list=[group("small", **prices), group("large", **prices)])
    routing = SonaRouting(engine, ["small", "large"], costs={"small": 0.1, "large": 1.0})
    routing.attach(router)

    async def work() -> tuple[Any, Any, list[tuple]]:
        answer = await router.acompletion("auto", asked("where is my parcel"))
        return answer, routing.trajectory.get(), await recorded(engine, database_url, 1)

    answer, told, rows = run(work)
    id_, route, quality, propensity, latency, paid, query = rows[0]
    assert answer.choices[0].message.content == f"from {route}"
    assert answer._hidden_params["sona_trajectory"] == str(told) == id_
    assert (quality, query) == (None, "where is my parcel")
    assert 0 < propensity <= 1
    assert latency > 0
    assert paid > 0


def test_a_stream_is_recorded_when_it_has_ended(engine, database_url):
    router = Router(model_list=[group("small"), group("large")])
    routing = SonaRouting(engine, ["small", "large"])
    routing.attach(router)

    async def work() -> tuple[str, Any, list[tuple]]:
        stream = await router.acompletion("auto", asked("where is my parcel"), stream=True)
        told = "".join([piece.choices[0].delta.content or "" async for piece in stream])
        return told, routing.trajectory.get(), await recorded(engine, database_url, 1)

    text, told, rows = run(work)
    assert (rows[0][0], f"from {rows[0][1]}") == (str(told), text)


def test_a_failure_is_recorded_as_bad_and_other_models_are_left_alone(engine, database_url):
    failing = group("broken", mock_response="litellm.InternalServerError")
    router = Router(model_list=[failing, group("other")], num_retries=0)
    SonaRouting(engine, ["broken"]).attach(router)

    async def work() -> list[tuple]:
        assert (await router.acompletion("other", asked("hello"))).choices[0].message.content == "from other"
        with pytest.raises(litellm.InternalServerError):
            await router.acompletion("auto", asked("hello"))
        return await recorded(engine, database_url, 1)

    assert [(row[1], row[2]) for row in run(work)] == [("broken", 0.0)]


def test_feedback_teaches_which_model_to_choose(engine, database_url):
    router = Router(model_list=[group("small"), group("large")])
    routing = SonaRouting(engine, ["small", "large"])
    routing.attach(router)

    async def work() -> None:
        for place in range(24):
            answer = await router.acompletion("auto", asked(f"prove theorem {place % 4}"))
            right = answer.choices[0].message.content == "from large"
            engine.feedback(answer._hidden_params["sona_trajectory"], float(right))
        await recorded(engine, database_url, 24)

    run(work)
    engine.force_learn()
    scores = engine.route(engine.embed(["prove theorem 2"])[0], routing.routes, query="prove theorem 2").scores
    assert scores["large"] > 0.8 > 0.2 > scores["small"]


def test_a_request_without_a_word_takes_the_first_route(engine):
    router = Router(model_list=[group("small"), group("large")])
    routing = SonaRouting(engine, ["large", "small"], name="clever")
    routing.attach(router)

    async def work() -> Any:
        return await router.acompletion("clever", asked("?!"))

    assert run(work).choices[0].message.content == "from large"
