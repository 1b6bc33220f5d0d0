"""One record that does not meet the time limits, over the way to a space's own worker of Citus."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from fix_ingest import Space
from sqlalchemy import make_url

from sona_pg.errors import DatabaseUnavailable
from sona_pg.ingest import Writer
from sona_pg.ingest.own_worker import OwnWorkers
from sona_pg.recorder import HotPath

SLOW = """
CREATE FUNCTION sona.test_slow() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN IF NEW.route = 'slow' THEN PERFORM pg_sleep(600); END IF; RETURN NEW; END$$;
CREATE TRIGGER slow BEFORE INSERT ON sona.trajectories FOR EACH ROW EXECUTE FUNCTION sona.test_slow()
"""


def test_a_record_too_slow_for_the_spaces_own_worker_is_no_part_of_nothing(
    space: Space,
    open_writer: Callable[..., Writer],
    record: Callable[..., uuid.UUID],
    hot: HotPath,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The size that fits was halved to zero: the record waited behind empty parts for ever."""

    def way(self: OwnWorkers, coordinator: Any, space_id: int) -> Any:
        def lock(raw: Any) -> Any:
            return raw.execute("SELECT true")

        return SimpleNamespace(attempts=coordinator, here=str, lock=lock, require=lambda found: None, node="here")

    monkeypatch.setattr(OwnWorkers, "way", way)
    monkeypatch.setattr(OwnWorkers, "avoid", lambda self, way, exc: None)
    space.execute(SLOW)
    url = make_url(space.url).update_query_dict({"options": "-c statement_timeout=300"})
    writer = open_writer(hot, url=url.render_as_string(hide_password=False), flush_interval=60)
    slow = record(hot, route="slow")
    with pytest.raises(DatabaseUnavailable):
        writer.flush(2)
    assert writer._delivery._fits is None
    quick = {record(hot) for _ in range(4)}
    space.execute("DROP TRIGGER slow ON sona.trajectories")
    writer.flush(60)
    assert space.ids() == {slow, *quick}
