"""Command that serves a space's memory to an agent by the Model Context Protocol."""

from __future__ import annotations

from typing import Annotated

import typer

from sona_pg.cli.options import SpaceName, Url
from sona_pg.errors import ConfigError


def mcp(
    space: SpaceName = "default",
    dim: Annotated[int | None, typer.Option(help="Dimension of the space, if it is made: 256.", min=1)] = None,
    url: Url = None,
) -> None:
    """Serve recall, remember and feedback to an agent over stdin and stdout (extras `mcp` and `text`).

    Example: sona-pg mcp --space memory
    """
    try:
        from sona_pg.integrations.mcp_server import memory_server
    except ModuleNotFoundError as exc:
        raise ConfigError(f"this needs an extra: pip install 'sona-pg[mcp,text]' ({exc.name} is missing)") from exc
    from sona_pg.engine import SonaEngine, Store

    with Store(url, require_database=True) as store:
        dims = {known.name: known.dim for known in store.spaces()}
        engine: SonaEngine = store.space(space, dim or dims.get(space, 256))  # refused, if it has another one
        memory_server(engine).run("stdio")
