"""The OpenAI-compatible proxy, asked with OpenAI's own client, before a stub of two upstreams."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import openai
import psycopg
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sona_pg.cli.service_commands import _upstreams
from sona_pg.errors import ConfigError
from sona_pg.service import ServiceOptions, Upstream, create_app
from sona_pg.service.chat_proxy import ChatProxy
from tests.service.conftest import CONFIG, DIM, EMBEDDER


def completion(model: str, text: str) -> dict[str, Any]:
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice]}


async def answer(request: Request) -> Response:
    """Answer as a model of the name that is asked for; ``broken`` fails."""
    asked = await request.json()
    if request.headers.get("authorization") != "Bearer secret":
        return JSONResponse({"error": {"message": "no key", "type": "auth"}}, 401)
    model = asked["model"]
    if model == "broken":
        return JSONResponse({"error": {"message": "overloaded", "type": "server_error"}}, 503)
    if not asked.get("stream"):
        return JSONResponse(completion(model, f"{model} {asked.get('temperature')}"))

    async def pieces() -> Any:
        for word in (model, "says", "hello"):
            choice = {"index": 0, "delta": {"content": word + " "}, "finish_reason": None}
            piece = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]}
            yield f"data: {json.dumps(piece)}\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(pieces(), media_type="text/event-stream")


@contextmanager
def running(app: Any) -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive(), "the server has not started"
                time.sleep(0.005)
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.fixture(scope="module")
def proxied(service_store: Any) -> Iterator[str]:
    with running(Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])) as url:
        upstreams = {
            "cheap": Upstream(url, "small", key="secret", cost=0.1),
            "dear": Upstream(url, "large", key="secret", cost=1.0),
        }
        service_store.space("chats", DIM, config=CONFIG, embedder=EMBEDDER)
        options = ServiceOptions(space="chats", dim=DIM, config=CONFIG, upstreams=upstreams, budget=0.5)
        with running(create_app(service_store, options, embedder=EMBEDDER)) as service:
            yield service


@pytest.fixture
def client(proxied: str, service_store: Any) -> Iterator[openai.OpenAI]:
    _, token = service_store.create_key("chats", "chat client", ["record", "read"])
    with openai.OpenAI(base_url=proxied, api_key=token) as made:
        yield made


ASKED = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "where is my parcel?"}]


def stored(service_store: Any, url: str, trajectory: str) -> tuple[Any, ...]:
    service_store.space("chats", DIM, config=CONFIG).flush()
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT route, query, propensity, cost, quality, latency_us FROM sona.trajectories WHERE id = %s",
            [trajectory],
        ).fetchone()
    assert found is not None
    return found


def test_the_router_chooses_and_feedback_finds_the_trajectory(client, service_store, service_url, proxied):
    raw = client.chat.completions.with_raw_response.create(model="auto", messages=ASKED, temperature=0.5)
    made = raw.parse()
    about = made.model_extra["sona"]
    assert raw.headers["x-sona-trajectory"] == about["trajectory"]
    model = {"cheap": "small", "dear": "large"}[about["route"]]
    assert made.choices[0].message.content == f"{model} 0.5"
    route, query, propensity, cost, quality, latency = stored(service_store, service_url, about["trajectory"])
    assert (route, query, quality) == (about["route"], "where is my parcel?", None)
    assert propensity == pytest.approx(about["propensity"])
    assert cost == pytest.approx({"cheap": 0.1, "dear": 1.0}[route])
    assert latency > 0
    fact = {"trajectory": about["trajectory"], "quality": 1.0}
    noted = client.post("/feedback", body=fact, cast_to=object)
    assert noted["sequence"] > 0


def test_a_stream_is_passed_on_and_recorded(client, service_store, service_url):
    with client.chat.completions.with_streaming_response.create(model="auto", messages=ASKED, stream=True) as raw:
        pieces = [piece.choices[0].delta.content for piece in raw.parse()]
        trajectory, route = raw.headers["x-sona-trajectory"], raw.headers["x-sona-route"]
    assert "".join(pieces).split()[1:] == ["says", "hello"]
    assert stored(service_store, service_url, trajectory)[0] == route


def test_a_named_upstream_is_taken_and_an_unknown_one_refused(client, service_store, service_url):
    raw = client.chat.completions.with_raw_response.create(model="dear", messages=ASKED)
    assert raw.parse().model == "large"
    assert stored(service_store, service_url, raw.headers["x-sona-trajectory"])[:3] == (
        "dear",
        ASKED[1]["content"],
        None,
    )
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="other", messages=ASKED)
    assert "expected one of auto, cheap, dear" in str(refused.value)
    with pytest.raises(openai.AuthenticationError, match="unknown, or was revoked"):
        client.with_options(api_key="sk-other").models.list()
    assert {model.id for model in client.models.list()} == {"auto", "cheap", "dear"}
    with pytest.raises(openai.UnprocessableEntityError):
        client.chat.completions.create(model="auto", messages=ASKED[:1])


def test_an_image_is_answered_by_the_text_before_it_and_alone_refused(client):
    image = {"type": "image_url", "image_url": {"url": "data:,"}}
    asked = [{"role": "user", "content": "what is this?"}, {"role": "user", "content": [image]}]
    assert client.chat.completions.create(model="auto", messages=asked).choices
    with pytest.raises(
        openai.UnprocessableEntityError, match="no message of a user has a text, which the router reads"
    ):
        client.chat.completions.create(model="auto", messages=asked[1:])


def test_a_call_of_openai_that_is_not_here_says_so(client):
    with pytest.raises(openai.NotFoundError, match="there is nothing at '/v1/embeddings': /docs lists the operations"):
        client.embeddings.create(model="auto", input="hello")


def test_an_upstream_that_fails_is_recorded_as_bad(service_store, service_url, proxied):
    with running(Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])) as url:
        upstreams = {
            "overloaded": Upstream(url, "broken", key="secret"),
            "gone": Upstream("http://127.0.0.1:1/v1", "small"),
        }
        options = ServiceOptions(space="chats", dim=DIM, config=CONFIG, upstreams=upstreams)
        with running(create_app(service_store, options, embedder=EMBEDDER)) as service:
            _, token = service_store.create_key("chats", "retrying", ["record"])
            with openai.OpenAI(base_url=service, api_key=token, max_retries=0) as client:
                with pytest.raises(openai.InternalServerError) as failed:
                    client.chat.completions.create(model="overloaded", messages=ASKED)
                with pytest.raises(openai.InternalServerError) as gone:
                    client.chat.completions.create(model="gone", messages=ASKED)
                assert "cannot be reached" in gone.value.response.json()["detail"]
    assert stored(service_store, service_url, failed.value.response.headers["x-sona-trajectory"])[4] == 0.0


@contextmanager
def asking(service_store: Any, upstreams: dict[str, Upstream]) -> Iterator[Any]:
    """Yield a call that asks `auto` of these upstreams, in a space of its own."""
    service_store.space("falling back", DIM, config=CONFIG, embedder=EMBEDDER)
    _, token = service_store.create_key("falling back", str(uuid.uuid4()), ["record"])
    options = ServiceOptions(space="falling back", dim=DIM, config=CONFIG, upstreams=upstreams)
    with (
        running(create_app(service_store, options, embedder=EMBEDDER)) as service,
        openai.OpenAI(base_url=service, api_key=token, max_retries=0) as client,
    ):
        yield partial(client.chat.completions.with_raw_response.create, model="auto", messages=ASKED)


def test_another_upstream_answers_where_the_chosen_one_fails(service_store, service_url, monkeypatch):
    """The router is made to choose in the order of the file, so that the broken ones are chosen first."""
    choose = ChatProxy.choose
    monkeypatch.setattr(ChatProxy, "choose", lambda *told: choose(*told[:-1], told[-1][:1]))
    with running(Starlette(routes=[Route("/v1/chat/completions", answer, methods=["POST"])])) as url:
        well = Upstream(url, "small", key="secret")
        broken = {"overloaded": Upstream(url, "broken", key="secret"), "gone": Upstream("http://127.0.0.1:1/v1", "x")}
        with asking(service_store, {**broken, "well": well}) as ask:
            raw, streamed = ask(), ask(stream=True)
            assert [made.headers["x-sona-route"] for made in (raw, streamed)] == ["well", "well"]
            assert raw.parse().sona["failed"] == ["overloaded", "gone"]
            assert "".join(piece.choices[0].delta.content for piece in streamed.parse()) == "small says hello "
        keyless = Upstream(url, "small")
        with (
            asking(service_store, {**broken, "keyless": keyless, "well": well}) as ask,
            pytest.raises(openai.AuthenticationError),  # what the third attempt was told
        ):
            ask()
    service_store.space("falling back", DIM, config=CONFIG).flush()
    with psycopg.connect(service_url) as connection:
        rows = connection.execute(
            "SELECT t.route, t.quality, count(*) FROM sona.trajectories t JOIN sona.spaces s USING (space_id) "
            "WHERE s.name = 'falling back' GROUP BY t.route, t.quality"
        ).fetchall()
    assert set(rows) == {("overloaded", 0.0, 3), ("gone", 0.0, 3), ("keyless", 0.0, 1), ("well", None, 2)}


def test_the_example_of_the_docs(proxied, service_store, tmp_path, capsys):
    docs = (Path(__file__).parent.parent.parent / "docs" / "http.md").read_text()
    (code,) = re.findall(r"^```python\n(.*?)^```$", docs, re.MULTILINE | re.DOTALL)
    _, token = service_store.create_key("chats", "reader of the docs", ["record"])
    exec(compile(code.replace("http://127.0.0.1:8700/v1", proxied), "http.md", "exec"), {"TOKEN": token})
    assert capsys.readouterr().out.split()[-1] in ("cheap", "dear")
    (configured,) = re.findall(r"^```toml\n(.*?)^```$", docs, re.MULTILINE | re.DOTALL)
    (tmp_path / "models.toml").write_text(configured)
    told = _upstreams(tmp_path / "models.toml")
    assert (list(told["upstreams"]), told["budget"]) == (["cheap", "dear"], 0.5)
    (tmp_path / "models.toml").write_text("[upstreams.a]\nnowhere = 1")
    with pytest.raises(ConfigError, match="expected TOML"):
        _upstreams(tmp_path / "models.toml")


def test_a_budget_needs_costs():
    with pytest.raises(ConfigError, match="cost of every upstream"):
        ServiceOptions(upstreams={"a": Upstream("http://x/v1", "a")}, budget=1.0)
