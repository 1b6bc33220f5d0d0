"""The choice of a router's kernel, forced."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sona_pg.learning.routing import router_kernel


@contextmanager
def preferring(linear: float) -> Iterator[None]:
    """Make a kernel with this share of the linear one the likeliest by any number of events."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(router_kernel, "FIRST_COMPARED", 1)
        patch.setattr(router_kernel, "_log_evidence", lambda basis, *_: -1000.0 * abs(basis.linear - linear))
        yield
