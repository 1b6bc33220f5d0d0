"""A record of somebody that never meets the time limits: requests with keys, learning and erasing go on."""

from __future__ import annotations

import time

import psycopg
import pytest
from sqlalchemy import make_url

from sona_pg import Store
from tests.service.conftest import DIM, serving

X = [1.0] * DIM
SLOW = """
CREATE FUNCTION sona.test_slow() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN IF NEW.route = 'slow' THEN PERFORM pg_sleep(600); END IF; RETURN NEW; END$$;
CREATE TRIGGER slow BEFORE INSERT ON sona.trajectories FOR EACH ROW EXECUTE FUNCTION sona.test_slow()
"""


@pytest.mark.parametrize("key", [None, "first"])
def test_only_its_own_request_is_told_of_a_record_that_was_put_off(database_url, key):
    def post(service, route, key=None):
        headers = {} if key is None else {"Idempotency-Key": key}
        row = {"vector": X, "route": route, "quality": 1.0}
        return service.ask("POST", "/v1/trajectories", json=row, headers=headers)

    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(SLOW)
    limited = make_url(database_url).update_query_dict({"options": "-c statement_timeout=400"})
    with Store(limited.render_as_string(hide_password=False)) as store, serving(store) as service:
        engine = service.engine
        assert post(service, "quick", "before").status_code == 202
        id_ = post(service, "slow").json()["id"]
        until = time.monotonic() + 20
        while not engine._session.writer._source.left.postponed.slow:
            assert time.monotonic() < until
            assert post(service, "quick").status_code == 202
            time.sleep(0.1)
        assert post(service, "quick", "another").status_code == 202
        if key is None:
            assert engine.force_learn() is not None
            engine.forget(user="ann")
        else:
            fact = {"trajectory": id_, "quality": 0.5}
            told = service.ask("POST", "/v1/feedback", json=fact, headers={"Idempotency-Key": key})
            assert told.status_code == 503
            assert "took too long" in told.text
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("DROP TRIGGER slow ON sona.trajectories")
        engine.flush(60)
        assert post(service, "quick", "after").status_code == 202
