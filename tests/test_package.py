"""What ``import sona_pg`` gives, and what it does not load."""

from __future__ import annotations

import subprocess
import sys

import pytest

import sona_pg


def test_every_public_name_is_there() -> None:
    assert sorted(sona_pg.__all__) == sona_pg.__all__
    for name in sona_pg.__all__:
        assert getattr(sona_pg, name).__class__
    assert dir(sona_pg) == sona_pg.__all__


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        sona_pg.Nothing  # noqa: B018


def test_importing_it_loads_no_driver() -> None:
    script = "import sys, sona_pg; print(sorted({'sqlalchemy', 'psycopg', 'alembic', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
