"""Weights by which a space tells the kinds of its patterns: kept once, by the first server with an embedder."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, select, update

from sona_pg.store.schema import spaces
from sona_pg.store.states import lock_space, newest


class KindWeights(NamedTuple):
    """Weights, and the first version that is made with them; a rebuild of earlier ones goes without."""

    from_version: int
    weights: bytes


def read(connection: Connection, space_id: int) -> KindWeights | None:
    """Return the weights of a space, or None while nobody has told them."""
    row = connection.execute(
        select(spaces.c.kinds_from, spaces.c.kind_weights).where(
            spaces.c.space_id == space_id, spaces.c.kinds_from.is_not(None)
        )
    ).one_or_none()
    return None if row is None else KindWeights(row.kinds_from, row.kind_weights)


def keep(connection: Connection, space_id: int, weights: bytes) -> None:
    """Keep weights from the next version on, unless the space has some; a cycle that runs meanwhile is run again."""
    live = lock_space(connection, space_id)
    version, _ = newest(connection, space_id, live)
    connection.execute(
        update(spaces)
        .where(spaces.c.space_id == space_id, spaces.c.kinds_from.is_(None))
        .values(kinds_from=version, kind_weights=weights)
    )
