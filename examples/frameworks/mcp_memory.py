"""MCP: an agent remembers, recalls, and says what helped. Here a client talks to the server in one process.

Run it: python examples/frameworks/mcp_memory.py (extras embedded, text, mcp; or set SONA_PG_URL). Agents start
``sona-pg mcp --space memory`` instead.
"""

from __future__ import annotations

import asyncio

from mcp import Client

from sona_pg import SonaEngine
from sona_pg.integrations.mcp_server import memory_server

FACTS = ("Mia is my sister", "Rex is our dog", "Bob is the boss")


async def main() -> None:
    """Remember, recall, rate."""
    with SonaEngine(hidden_dim=256, space="example-mcp") as engine:
        async with Client(memory_server(engine)) as client:
            for fact in FACTS:
                await client.call_tool("remember", {"text": fact})
            found = (await client.call_tool("recall", {"query": "who is my sister?", "k": 1})).structured_content
            print(found["memories"][0]["text"])
            await client.call_tool("feedback", {"trajectory": found["trajectory"], "quality": 1})


if __name__ == "__main__":
    asyncio.run(main())
