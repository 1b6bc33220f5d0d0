"""Functions that record, give feedback and apply adapters for clients without Python, as an engine does.

What is recorded through them stands behind markers of its own in ``sona.batches``, so a learner finds it like any other. They
count under one server, whose number is fixed: its batches are summed where counters are read, for a counter that every call
updates would make concurrent sessions wait for one another.
"""

from __future__ import annotations

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

SQL_SERVER = "00000000-0000-7000-8000-73716c000000"  # 'sql' in hexadecimal
INDEX = [
    f"CREATE INDEX IF NOT EXISTS batches_of_sql ON sona.batches (space_id) WHERE server_id = '{SQL_SERVER}'",
    "COMMENT ON INDEX sona.batches_of_sql IS 'Serves: the count of what was recorded through SQL functions.'",
]
MARK = f"""
CREATE OR REPLACE FUNCTION sona.mark_batch(of_space int, of_id uuid, trajectories int, feedback int) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    drawn text := replace(gen_random_uuid()::text, '-', '');
    number bigint := ('x' || left(drawn, 12) || right(drawn, 4))::bit(64)::bigint & 9223372036854775807;
BEGIN
    -- The space cannot be removed meanwhile; no writer or learner waits for this lock.
    PERFORM FROM sona.spaces s WHERE s.space_id = of_space FOR KEY SHARE;
    INSERT INTO sona.batches (space_id, batch, server_id, first_id, last_id, trajectories, steps, feedback, recorded_at)
    VALUES (of_space, number, '{SQL_SERVER}', of_id, of_id, trajectories, 0, feedback, statement_timestamp());
    RETURN number;
END $$
"""
RECORD = """
CREATE OR REPLACE FUNCTION sona.record_trajectory(
    of_space text, embedding vector, quality double precision DEFAULT NULL, route text DEFAULT NULL, query text DEFAULT NULL,
    context text[] DEFAULT NULL, parameters jsonb DEFAULT NULL, latency_us int DEFAULT NULL,
    cost double precision DEFAULT NULL, started_at timestamptz DEFAULT NULL, id uuid DEFAULT NULL
) RETURNS uuid
LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    wanted int := sona.require_vector(of_space, embedding, 'embedding', false);
    drawn text := replace(gen_random_uuid()::text, '-', '');
    number bigint;
BEGIN
    IF NOT quality BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'quality=%: expected a number in [0, 1]', quality USING ERRCODE = 'invalid_parameter_value';
    ELSIF octet_length(route) NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'route has % bytes: expected 1 to 1000', octet_length(route) USING ERRCODE = 'invalid_parameter_value';
    ELSIF octet_length(query) > 1048576 THEN
        RAISE EXCEPTION 'query has % bytes: expected at most 1048576', octet_length(query)
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF latency_us < 0 THEN
        RAISE EXCEPTION 'latency_us=%: expected 0 or more', latency_us USING ERRCODE = 'invalid_parameter_value';
    ELSIF NOT (cost >= 0 AND cost < 3.4e38) THEN
        RAISE EXCEPTION 'cost=%: expected a finite number, 0 or more', cost USING ERRCODE = 'invalid_parameter_value';
    ELSIF array_position(context, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'context has a null: expected texts' USING ERRCODE = 'invalid_parameter_value';
    ELSIF EXISTS (SELECT FROM unnest(context) AS l (label) WHERE octet_length(l.label) > 10000) THEN
        RAISE EXCEPTION 'context has a label of more than 10000 bytes' USING ERRCODE = 'invalid_parameter_value';
    ELSIF parameters IS NOT NULL AND jsonb_typeof(parameters) <> 'object' THEN
        RAISE EXCEPTION 'parameters is a JSON %: expected an object of numbers', jsonb_typeof(parameters)
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF parameters IS NOT NULL AND EXISTS (SELECT FROM jsonb_each(parameters) p WHERE jsonb_typeof(p.value) <> 'number') THEN
        RAISE EXCEPTION 'parameters has values that are no numbers' USING ERRCODE = 'invalid_parameter_value';
    ELSIF started_at < '1970-01-01' OR started_at > clock_timestamp() + interval '1 day' THEN
        RAISE EXCEPTION 'started_at=%: expected a time from 1970 to now', started_at
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF id IS NULL THEN  -- a UUIDv7
        id := (left(replace(sona.uuid_floor(coalesce(started_at, clock_timestamp()))::text, '-', ''), 12) || '7' ||
            substr(drawn, 14, 3) || substr(drawn, 17))::uuid;
    ELSIF EXISTS (SELECT FROM sona.trajectories t WHERE t.space_id = wanted AND t.id = record_trajectory.id) THEN
        RETURN id;  -- told again
    END IF;
    number := sona.mark_batch(wanted, id, 1, 0);
    INSERT INTO sona.trajectories (space_id, id, batch, step_count, quality, route, query, context, parameters, latency_us,
        paid, embedding)
    VALUES (wanted, id, number, 0, quality, route, query, nullif(context, '{}'), nullif(parameters, '{}'), latency_us, cost,
        embedding::halfvec);
    RETURN id;
END $$
"""
FEEDBACK = """
CREATE OR REPLACE FUNCTION sona.record_feedback(
    of_space text, trajectory_id uuid, quality double precision DEFAULT NULL, source text DEFAULT NULL,
    correction text DEFAULT NULL, cost double precision DEFAULT NULL, retract boolean DEFAULT false,
    sequence bigint DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
    wanted int := sona.require_space(of_space);
    at timestamptz := clock_timestamp();
    place bigint := coalesce(sequence, (extract(epoch FROM at) * 1000000)::bigint);
    number bigint;
BEGIN
    IF trajectory_id IS NULL THEN
        RAISE EXCEPTION 'trajectory_id is null' USING ERRCODE = 'null_value_not_allowed';
    ELSIF retract AND num_nonnulls(quality, correction, cost) > 0 THEN
        RAISE EXCEPTION 'a retraction takes no quality, correction or cost' USING ERRCODE = 'invalid_parameter_value';
    ELSIF NOT coalesce(retract, false) AND num_nonnulls(quality, correction, cost) = 0 THEN
        RAISE EXCEPTION 'feedback says nothing: give quality, correction, cost or retract => true'
            USING ERRCODE = 'invalid_parameter_value';
    ELSIF NOT quality BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'quality=%: expected a number in [0, 1]', quality USING ERRCODE = 'invalid_parameter_value';
    ELSIF NOT (cost >= 0 AND cost < 3.4e38) THEN
        RAISE EXCEPTION 'cost=%: expected a finite number, 0 or more', cost USING ERRCODE = 'invalid_parameter_value';
    ELSIF octet_length(source) NOT BETWEEN 1 AND 1000 OR octet_length(correction) NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'source or correction has no or more than 1000 bytes' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    source := coalesce(source, CASE WHEN num_nonnulls(quality, correction) = 0 AND NOT coalesce(retract, false) THEN 'cost'
                                    ELSE 'user' END);
    LOOP
        -- A sequence of the caller's that is taken: told again. A time that is taken: the one after it.
        EXIT WHEN NOT EXISTS (
            SELECT FROM sona.feedback f
            WHERE f.space_id = wanted AND f.trajectory_id = record_feedback.trajectory_id AND f.source = record_feedback.source
              AND f.sequence = place);
        IF sequence IS NOT NULL THEN
            RETURN place;
        END IF;
        place := place + 1;
    END LOOP;
    number := sona.mark_batch(wanted, NULL, 0, 1);
    INSERT INTO sona.feedback (space_id, trajectory_id, sequence, batch, recorded_at, source, quality, correction, paid)
    VALUES (wanted, trajectory_id, place, number, at, source, quality, correction, cost);
    PERFORM pg_notify('sona_judged', wanted || ' ' || number);  -- servers weigh it at once
    RETURN place;
END $$
"""
REALS = """
CREATE OR REPLACE FUNCTION sona.reals_of(bytes bytea) RETURNS real[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN ARRAY(
        SELECT CASE WHEN w.word & 2147483648 = 0 THEN 1 ELSE -1 END * CASE
                   WHEN (w.word >> 23) & 255 = 0 THEN (w.word & 8388607) * power(2::float8, -149)
                   ELSE ((w.word & 8388607) + 8388608) * power(2::float8, ((w.word >> 23) & 255)::int - 150) END
        FROM (
            SELECT get_byte(bytes, i) + get_byte(bytes, i + 1) * 256::bigint + get_byte(bytes, i + 2) * 65536::bigint
                   + get_byte(bytes, i + 3) * 16777216::bigint AS word
            FROM generate_series(0, length(bytes) - 4, 4) AS i
        ) w
    )::real[];
END $$
"""
APPLY = """
CREATE OR REPLACE FUNCTION sona.apply_adapter(of_space text, of_kind text, of_layer int, x vector, of_version bigint)
RETURNS vector
LANGUAGE plpgsql STABLE AS $$
DECLARE
    wanted int := sona.require_vector(of_space, x, 'x', false);
    wished bigint := coalesce(of_version, (SELECT s.live_version FROM sona.spaces s WHERE s.space_id = wanted));
    dims int := vector_dims(x);
    y vector := x;
    adapter record;
    a real[];
    b real[];
BEGIN
    IF wished = 0 THEN  -- nothing learned: the identity
        RETURN x;
    END IF;
    SELECT l.rank, l.scale, l.a, l.b INTO adapter FROM sona.adapters l
    WHERE l.space_id = wanted AND l.version = wished AND l.kind = of_kind AND l.layer = of_layer;
    IF NOT FOUND THEN
        IF EXISTS (SELECT FROM sona.adapters l WHERE l.space_id = wanted AND l.version = wished) THEN
            RAISE EXCEPTION 'layer is %, expected 0 to %', of_layer, (
                SELECT max(l.layer) FROM sona.adapters l
                WHERE l.space_id = wanted AND l.version = wished AND l.kind = of_kind)
                USING ERRCODE = 'invalid_parameter_value';
        END IF;
        RAISE EXCEPTION 'space % has no version %: it was pruned, or never published', quote_literal(of_space), wished
            USING ERRCODE = 'no_data_found';
    END IF;
    a := sona.reals_of(adapter.a);
    b := sona.reals_of(adapter.b);
    FOR r IN 0 .. adapter.rank - 1 LOOP
        y := y + array_fill((adapter.scale * -(a[r * dims + 1 : (r + 1) * dims]::vector <#> x))::real, ARRAY[dims])::vector
            * b[r * dims + 1 : (r + 1) * dims]::vector;
    END LOOP;
    RETURN y;
END $$
"""
MICRO = """
CREATE OR REPLACE FUNCTION sona.apply_micro_lora(of_space text, x vector, of_version bigint DEFAULT NULL) RETURNS vector
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN sona.apply_adapter(of_space, 'micro', 0, x, of_version);
END $$
"""
BASE = """
CREATE OR REPLACE FUNCTION sona.apply_base_lora(of_space text, layer int, x vector, of_version bigint DEFAULT NULL)
RETURNS vector
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN sona.apply_adapter(of_space, 'base', layer, x, of_version);
END $$
"""
COMMENTS = {
    "mark_batch(int, uuid, int, int)": "Adds the marker of a batch that an SQL function records, and returns its number.\\n"
    "Example: SELECT sona.mark_batch(1, NULL, 0, 0)",
    "record_trajectory(text, vector, double precision, text, text, text[], jsonb, int, double precision, timestamptz, uuid)": "Records a trajectory, and returns its id; one whose id is stored already is not recorded again. It is learned from like "
    "those of an engine. Of millions, use sona-pg import.\\nExample: SELECT sona.record_trajectory(''support'', ''[1,0,0]'', "
    "quality => 0.9, route => ''large'', query => ''how do I reset it'', context => ARRAY[''user:7''])",
    "record_feedback(text, uuid, double precision, text, text, double precision, boolean, bigint)": "Records a fact about a "
    "trajectory: a quality, a correction, its real cost, or a retraction of what the source said; returns its sequence "
    "number. A fact whose sequence is stored already is not recorded again.\\nExample: SELECT sona.record_feedback("
    "''support'', trajectory_id, 1, source => ''audit'') FROM sona.outcomes WHERE space = ''support'' LIMIT 1",
    "reals_of(bytea)": "The float32 numbers of a learned array, little-endian.\\nExample: SELECT sona.reals_of(a) FROM "
    "sona.adapters WHERE space_id = 1 AND kind = ''micro'' ORDER BY version DESC LIMIT 1",
    "apply_adapter(text, text, int, vector, bigint)": "A vector moved by an adapter of a version: x + scale B^T A x.\\n"
    "Example: SELECT sona.apply_adapter(''support'', ''base'', 0, ''[1,0,0]'', NULL)",
    "apply_micro_lora(text, vector, bigint)": "A vector moved by the micro adapter of a version, by default the live one; a "
    "server adds what it has learned itself since.\\nExample: SELECT sona.apply_micro_lora(''support'', ''[1,0,0]'')",
    "apply_base_lora(text, int, vector, bigint)": "A vector moved by the base adapter of a layer, by default of the live "
    "version.\\nExample: SELECT sona.apply_base_lora(''support'', 0, ''[1,0,0]'')",
}
STEPS = [*INDEX, MARK, RECORD, FEEDBACK, REALS, APPLY, MICRO, BASE, *(
    f"COMMENT ON FUNCTION sona.{name} IS E'{comment}'" for name, comment in COMMENTS.items()
)]  # fmt: skip


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    for name in reversed(COMMENTS):
        op.execute(f"DROP FUNCTION sona.{name}")
    op.execute("DROP INDEX sona.batches_of_sql")
