"""A folder to run the command line in, with a store of its own."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of the test; commands without a URL use its database."""
    monkeypatch.setenv("SONA_PG_URL", database_url)
    monkeypatch.chdir(tmp_path)
    return tmp_path
