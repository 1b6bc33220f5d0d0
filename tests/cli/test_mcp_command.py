"""`sona-pg mcp` opens its space as it is, and the documented configuration of a client starts it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from sona_pg import SonaEngine
from sona_pg.cli.commands import app
from sona_pg.config import Environment

PAGE = Path(__file__).parents[2] / "docs" / "frameworks.md"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Dimensions of the spaces that were served; the protocol itself needs extra mcp, and tests/frameworks runs it."""
    dims: list[int] = []

    def memory_server(engine: SonaEngine) -> SimpleNamespace:
        return SimpleNamespace(run=lambda transport: dims.append(engine.config.hidden_dim))

    monkeypatch.setitem(sys.modules, "sona_pg.integrations.mcp_server", SimpleNamespace(memory_server=memory_server))
    return dims


def test_another_dimension_than_that_of_the_space_is_refused(database_url: str, opened: list[int]) -> None:
    run = CliRunner().invoke
    assert run(app, ["mcp", "--space", "memory", "--dim", "8", "--url", database_url]).exit_code == 0
    assert run(app, ["mcp", "--space", "memory", "--url", database_url]).exit_code == 0
    refused = run(app, ["mcp", "--space", "memory", "--dim", "12", "--url", database_url])
    assert "space 'memory' has 8 dimensions, not 12" in str(refused.exception)
    assert opened == [8, 8]


def test_the_configuration_of_a_client_starts_it(
    database_url: str, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = re.findall(r"^```json\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    server = json.loads(block)["mcpServers"]["memory"]
    assert (Path(server["command"]).is_absolute(), Path(server["command"]).name) == (True, "sona-pg")
    monkeypatch.delenv("SONA_PG_URL", raising=False)
    for name, value in server["env"].items():
        monkeypatch.setenv(name, value)
    assert Environment.read().url == server["env"]["SONA_PG_URL"]
    monkeypatch.setenv("SONA_PG_URL", database_url)
    assert CliRunner().invoke(app, server["args"]).exit_code == 0
    assert opened == [256]
