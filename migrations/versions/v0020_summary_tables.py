"""Tables of daily figures, so that analytics need not read the ledger, and helper functions.

The previous release neither reads nor writes them.
"""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

TABLES = [
    "CREATE INDEX IF NOT EXISTS batches_by_time ON sona.batches (space_id, recorded_at)",
    "COMMENT ON INDEX sona.batches_by_time IS 'Serves: the batches of a space that its daily figures do not include yet.'",
    """
    CREATE TABLE IF NOT EXISTS sona.summary_progress (
        space_id int NOT NULL REFERENCES sona.spaces,
        noted_until timestamptz NOT NULL,
        PRIMARY KEY (space_id)
    )
    """,
    "COMMENT ON TABLE sona.summary_progress IS 'How far the days of new batches are noted in sona.summary_days.'",
    "COMMENT ON COLUMN sona.summary_progress.noted_until IS 'Batches recorded earlier are noted, except late commits of "
    "the last minute.'",
    """
    CREATE TABLE IF NOT EXISTS sona.summary_days (
        space_id int NOT NULL REFERENCES sona.spaces,
        day date NOT NULL,
        summed_at timestamptz,
        stale_since timestamptz,
        took_ms double precision NOT NULL DEFAULT 0 CHECK (took_ms >= 0),
        PRIMARY KEY (space_id, day)
    )
    """,
    "COMMENT ON TABLE sona.summary_days IS 'Days (UTC) with trajectories or feedback about them; -infinity and infinity: "
    "ids of before 2020 and of 2100 on, which tell no time.'",
    "COMMENT ON COLUMN sona.summary_days.summed_at IS 'When its figures were computed; null: not yet.'",
    "COMMENT ON COLUMN sona.summary_days.stale_since IS 'Since when rows were recorded that its figures lack; null: none.'",
    "COMMENT ON COLUMN sona.summary_days.took_ms IS 'Duration of the computation: a large day is computed less often.'",
    """
    CREATE TABLE IF NOT EXISTS sona.daily_figures (
        space_id int NOT NULL REFERENCES sona.spaces,
        day date NOT NULL,
        kind text NOT NULL CHECK (kind IN ('space', 'route', 'server', 'version', 'user', 'label', 'source')),
        name text NOT NULL,
        trajectories bigint NOT NULL,
        steps bigint NOT NULL,
        facts bigint NOT NULL,
        corrections bigint NOT NULL,
        retractions bigint NOT NULL,
        rated bigint NOT NULL,
        quality double precision NOT NULL,
        costed bigint NOT NULL,
        cost double precision NOT NULL,
        delays smallint[] NOT NULL,
        delay_counts bigint[] NOT NULL CHECK (cardinality(delay_counts) = cardinality(delays)),
        PRIMARY KEY (space_id, day, kind, name)
    )
    """,
    "COMMENT ON TABLE sona.daily_figures IS 'Sums over the trajectories of a day, by one property: the whole space, route, "
    "server, version that decided, user, label; of kind source over what that source said about them. Of users and labels "
    "the 1,000 most frequent of a day. Read it through sona.figures, which adds the days that are not summed yet.'",
    "COMMENT ON COLUMN sona.daily_figures.name IS 'Empty: none, such as a trajectory without a route.'",
    "COMMENT ON COLUMN sona.daily_figures.quality IS 'Sum of the qualities of the rated trajectories.'",
    "COMMENT ON COLUMN sona.daily_figures.cost IS 'Sum of the costs, the real one where it was told, of the costed ones.'",
    "COMMENT ON COLUMN sona.daily_figures.delays IS 'Histogram of latencies (of a source: of the time until it spoke): "
    "b stands for 2^(b/16) to 2^((b+1)/16) microseconds; sona.quantile reads it.'",
    """
    CREATE TABLE IF NOT EXISTS sona.daily_decisions (
        space_id int NOT NULL REFERENCES sona.spaces,
        day date NOT NULL,
        route text NOT NULL,
        offered bigint NOT NULL,
        taken bigint NOT NULL,
        reward double precision NOT NULL,
        reward_squares double precision NOT NULL,
        weight double precision NOT NULL,
        weight_squares double precision NOT NULL,
        weighted double precision NOT NULL,
        square_weighted double precision NOT NULL,
        weighted_squares double precision NOT NULL,
        largest_weight double precision NOT NULL,
        costed bigint NOT NULL,
        cost double precision NOT NULL,
        PRIMARY KEY (space_id, day, route)
    )
    """,
    "COMMENT ON TABLE sona.daily_decisions IS 'Sums over the decisions of a day with propensity w^-1 and outcome r, by "
    "route: how many offered and took it; over those that took it the sums of r, r^2, w, w^2, wr, w^2 r and (wr)^2. "
    "sona.off_policy makes estimates from them.'",
]

FUNCTIONS = [
    """
    CREATE OR REPLACE FUNCTION sona.require_space(of_space text) RETURNS int
    LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
    DECLARE
        wanted int := (SELECT n.space_id FROM sona.space_names n WHERE n.name = of_space);
    BEGIN
        IF wanted IS NULL THEN
            RAISE EXCEPTION 'there is no space %', coalesce(quote_literal(of_space), 'NULL') USING ERRCODE = 'no_data_found',
                HINT = 'SELECT name FROM sona.spaces lists them.';
        END IF;
        RETURN wanted;
    END $$
    """,
    "COMMENT ON FUNCTION sona.require_space(text) IS E'The number of a space; an error if there is none of this name.\n"
    "Example: SELECT sona.require_space(''support'')'",
    """
    CREATE OR REPLACE FUNCTION sona.day_of(id uuid) RETURNS date
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
    BEGIN
        RETURN CASE WHEN id < '016f5e66-e800-0000-0000-000000000000' THEN '-infinity'::date
                    WHEN id >= '03bb2cc3-d800-0000-0000-000000000000' THEN 'infinity'::date
                    ELSE (sona.uuid_time(id) AT TIME ZONE 'UTC')::date END;
    END $$
    """,
    "COMMENT ON FUNCTION sona.day_of(uuid) IS E'The day (UTC) of a trajectory by its id; -infinity before 2020, infinity "
    "from 2100 on.\\nExample: SELECT sona.day_of(sona.uuid_floor(''2026-11-20 10:00+00''))'",
    """
    CREATE OR REPLACE FUNCTION sona.first_id(day date) RETURNS uuid
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
    BEGIN
        RETURN CASE WHEN day = '-infinity' THEN '00000000-0000-0000-0000-000000000000'::uuid
                    WHEN day >= '2100-01-01' THEN '03bb2cc3-d800-0000-0000-000000000000'::uuid
                    ELSE sona.uuid_floor(day::timestamp AT TIME ZONE 'UTC') END;
    END $$
    """,
    "COMMENT ON FUNCTION sona.first_id(date) IS E'The smallest id of a day (UTC): id >= sona.first_id(day) AND id <= "
    "sona.last_id(day) reads only the partitions it needs.\\nExample: SELECT count(*) FROM sona.trajectories WHERE "
    "space_id = 1 AND id >= sona.first_id(current_date - 7)'",
    """
    CREATE OR REPLACE FUNCTION sona.last_id(day date) RETURNS uuid
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
    DECLARE
        next date := CASE WHEN day = '-infinity' THEN '2020-01-01' ELSE day + 1 END;
    BEGIN
        IF day = 'infinity' THEN
            RETURN 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid;
        END IF;
        RETURN (lpad(to_hex((extract(epoch FROM next::timestamp AT TIME ZONE 'UTC') * 1000)::bigint - 1), 12, '0') ||
            'ffffffffffffffffffff')::uuid;
    END $$
    """,
    "COMMENT ON FUNCTION sona.last_id(date) IS E'The largest id of a day (UTC), see sona.first_id.\\n"
    "Example: SELECT sona.last_id(''2026-11-20'')'",
    """
    CREATE OR REPLACE FUNCTION sona.quantile(delays smallint[], counts bigint[], share double precision)
    RETURNS double precision
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
    DECLARE
        place double precision := share * ((SELECT sum(c) FROM unnest(counts) c) - 1);
        seen bigint := 0;
        value double precision;
        below double precision;
    BEGIN
        FOR i IN 1 .. coalesce(cardinality(delays), 0) LOOP
            seen := seen + counts[i];
            value := power(2::double precision, (delays[i] + 0.5) / 16) - 1;
            IF below IS NULL AND seen > floor(place) THEN
                below := value;
            END IF;
            IF seen > ceil(place) THEN  -- between two values as percentile_cont
                RETURN below + (value - below) * (place - floor(place));
            END IF;
        END LOOP;
        RETURN NULL;
    END $$
    """,
    "COMMENT ON FUNCTION sona.quantile(smallint[], bigint[], double precision) IS E'A quantile of a histogram of "
    "sona.figures, in microseconds, to within 2.5 %.\\nExample: SELECT day, name, sona.quantile(delays, delay_counts, 0.95) "
    "AS p95_us FROM sona.figures WHERE space = ''support'' AND kind = ''route'' AND day >= current_date - 30'",
    """
    CREATE OR REPLACE FUNCTION sona.mean_interval(mean double precision, size bigint) RETURNS double precision[]
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
    DECLARE
        z2 constant double precision := 3.841458820694124;
        middle double precision;
        half double precision;
    BEGIN
        IF size <= 0 THEN
            RETURN NULL;
        END IF;
        middle := (mean + z2 / (2 * size)) / (1 + z2 / size);
        half := sqrt(z2 * (greatest(mean * (1 - mean), 0) / size + z2 / (4 * size * size::double precision)))
            / (1 + z2 / size);
        RETURN ARRAY[greatest(middle - half, 0), least(middle + half, 1)];
    END $$
    """,
    "COMMENT ON FUNCTION sona.mean_interval(double precision, bigint) IS E'The 95 % interval of a mean of qualities in "
    "[0, 1] (Wilson 1927): exact for thumbs up and down, wider than needed for grades.\\n"
    "Example: SELECT sona.mean_interval(0.9, 40)'",
]
STEPS = [*TABLES, *FUNCTIONS]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    for function in (
        "mean_interval(double precision, bigint)", "quantile(smallint[], bigint[], double precision)", "last_id(date)",
        "first_id(date)", "day_of(uuid)", "require_space(text)",
    ):  # fmt: skip
        op.execute(f"DROP FUNCTION sona.{function}")
    op.execute("DROP TABLE sona.daily_decisions, sona.daily_figures, sona.summary_days, sona.summary_progress")
    op.execute("DROP INDEX sona.batches_by_time")
