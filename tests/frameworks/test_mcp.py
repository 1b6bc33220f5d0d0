"""The MCP server answers the real client, in this process and over stdio, and learns."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from fix_frameworks import require

require("mcp")

from mcp import Client, StdioServerParameters, stdio_client

from sona_pg import SonaEngine
from sona_pg.integrations.mcp_server import memory_server

MAIN = "from sona_pg.cli.main import main; main()"
FACTS = {"sister": "Mia is my sister", "dog": "Rex is the name of our dog", "boss": "Bob is the boss"}


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    done = await client.call_tool(tool, arguments)
    assert not done.is_error, done.content
    return dict(done.structured_content)


def test_tools_have_schemas_and_do_what_they_say(engine):
    async def work() -> None:
        async with Client(memory_server(engine)) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) == {"recall", "remember", "feedback"}
            assert all(tool.description and tool.output_schema for tool in tools.values())
            assert await call(client, "recall", query="anything") == {"memories": [], "trajectory": None}
            ids = [await call(client, "remember", text=text, id=id_) for id_, text in FACTS.items()]
            assert [one["id"] for one in ids] == list(FACTS)
            found = await call(client, "recall", query="who is my sister", k=2)
            assert (found["memories"][0]["id"], found["memories"][0]["text"]) == ("sister", "Mia is my sister")
            assert len(found["memories"]) == 2
            assert (await call(client, "feedback", trajectory=found["trajectory"], quality=1))["sequence"] > 0

    asyncio.run(work())


def test_a_correction_changes_what_is_recalled(engine):
    async def work() -> str:
        async with Client(memory_server(engine)) as client:
            for id_, text in FACTS.items():
                await call(client, "remember", text=text, id=id_)
            for _ in range(6):
                found = await call(client, "recall", query="who wants to go out")
                await call(client, "feedback", trajectory=found["trajectory"], correction="dog")
            await asyncio.to_thread(engine.force_learn)
            return (await call(client, "recall", query="who wants to go out"))["memories"][0]["id"]

    assert asyncio.run(work()) == "dog"


def test_the_same_text_is_remembered_once_and_errors_reach_the_model(engine):
    async def work() -> None:
        async with Client(memory_server(engine)) as client:
            first = await call(client, "remember", text="the sky is blue", group="talk")
            assert await call(client, "remember", text="the sky is blue") == first
            for tool, arguments, told in (
                ("feedback", {"trajectory": "none", "quality": 1}, "no UUID"),
                ("feedback", {"trajectory": "none"}, "quality, or correction"),
                ("remember", {"text": "a\0b"}, "NUL"),
                ("recall", {"query": ""}, "at least 1 character"),
            ):
                done = await client.call_tool(tool, arguments)
                assert done.is_error
                assert told in done.content[0].text, done.content

    asyncio.run(work())


def test_the_command_serves_over_stdio(database_url):
    environment = {**os.environ, "SONA_PG_URL": database_url}
    server = StdioServerParameters(
        command=sys.executable, args=["-c", MAIN, "mcp", "--space", "memory"], env=environment
    )

    async def work() -> dict[str, Any]:
        async with Client(stdio_client(server)) as client:
            await call(client, "remember", text="the parcel is in Rome", id="parcel")
            return await call(client, "recall", query="where is my parcel?")

    found = asyncio.run(work())
    assert json.dumps(found["memories"][0]["text"]) == '"the parcel is in Rome"'
    with SonaEngine(256, database_url, "memory", create=False) as engine:
        assert [one.content["text"] for one in engine.find_contents()] == ["the parcel is in Rome"]
        assert len(engine.search(engine.embed(["parcel"])[0], k=3)) == 1
