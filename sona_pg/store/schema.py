"""SQLAlchemy metadata of the tables; ``migrations/`` creates them, and a test compares the two.

Checks, comments, views and functions live in the migrations alone: nothing here is used to create tables.
"""

from __future__ import annotations

from pgvector.sqlalchemy import HALFVEC, VECTOR
from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Column,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import INT8MULTIRANGE, JSONB

metadata = MetaData(schema="sona")


def _space(references: bool = True) -> Column[int]:
    keys = [ForeignKey("sona.spaces.space_id")] if references else []
    return Column("space_id", Integer, *keys, nullable=False)


def _time(name: str) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=False)


def _count(name: str, kind: type[BigInteger] | type[Integer] = Integer) -> Column[int]:
    return Column(name, kind, nullable=False)


space_names = Table(
    "space_names",
    metadata,
    Column("name", Text, primary_key=True),
    Column("space_id", Integer, Identity(always=True), unique=True),
)

spaces = Table(
    "spaces",
    metadata,
    Column("space_id", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("dim", Integer, nullable=False),
    Column("settings", JSONB, nullable=False, server_default="{}"),
    Column("live_version", BigInteger, nullable=False, server_default="0"),
    Column("departed_trajectories", BigInteger, nullable=False, server_default="0"),
    Column("departed_feedback", BigInteger, nullable=False, server_default="0"),
    Column("departed_dropped", BigInteger, nullable=False, server_default="0"),
    Column("departed_learned", BigInteger, nullable=False, server_default="0"),
    Column("given_up_feedback", BigInteger, nullable=False, server_default="0"),
    _time("created_at"),
    Column("predecessor", Integer),
    Column("kinds_from", BigInteger),
    Column("kind_weights", LargeBinary),
)

# -- the ledger: no foreign keys, so that a day's partitions drop together ----------------------------------

batches = Table(
    "batches",
    metadata,
    _space(references=False),
    Column("batch", BigInteger, nullable=False),
    Column("server_id", Uuid, nullable=False),
    Column("first_id", Uuid),
    Column("last_id", Uuid),
    _count("trajectories"),
    _count("steps"),
    _count("feedback"),
    _time("recorded_at"),
    Column("cycle_id", Uuid),
    Column("left_out_by", BigInteger),
    PrimaryKeyConstraint("space_id", "batch"),
    Index("batches_unlearned", "space_id", "recorded_at", "batch", postgresql_where=text("cycle_id IS NULL")),
    Index("batches_by_cycle", "space_id", "cycle_id", postgresql_where=text("cycle_id IS NOT NULL")),
)

trajectories = Table(
    "trajectories",
    metadata,
    _space(references=False),
    Column("quality", REAL),
    Column("id", Uuid, nullable=False),
    Column("batch", BigInteger, nullable=False),
    Column("policy_version", BigInteger),
    Column("candidate_set", BigInteger),
    Column("latency_us", Integer),
    Column("propensity", REAL),
    Column("cost", REAL),
    Column("lowest_reward", REAL),
    Column("step_count", SmallInteger, nullable=False),
    Column("route", Text),
    Column("features", ARRAY(REAL)),
    Column("context", ARRAY(Text)),
    Column("query", Text),
    Column("parameters", JSONB),
    Column("embedding", HALFVEC, nullable=False),
    PrimaryKeyConstraint("space_id", "id"),
    postgresql_partition_by="RANGE (id)",
)

steps = Table(
    "steps",
    metadata,
    _space(references=False),
    Column("reward", REAL),
    Column("trajectory_id", Uuid, nullable=False),
    Column("offset_us", Integer, nullable=False),
    Column("ordinal", SmallInteger, nullable=False),
    Column("activations", HALFVEC),
    Column("attention", HALFVEC),
    PrimaryKeyConstraint("space_id", "trajectory_id", "ordinal"),
    postgresql_partition_by="RANGE (trajectory_id)",
)

feedback = Table(
    "feedback",
    metadata,
    _space(references=False),
    Column("quality", REAL),
    Column("trajectory_id", Uuid, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("batch", BigInteger, nullable=False),
    _time("recorded_at"),
    Column("source", Text, nullable=False),
    Column("correction", Text),
    PrimaryKeyConstraint("space_id", "trajectory_id", "source", "sequence"),
    Index("feedback_batch", "space_id", "batch"),
    postgresql_partition_by="RANGE (trajectory_id)",
)

sealed_weeks = Table(
    "sealed_weeks",
    metadata,
    _space(references=False),
    Column("first_id", Uuid, nullable=False),
    Column("end_id", Uuid, nullable=False),
    _count("trajectories", BigInteger),
    _count("indexed", BigInteger),
    _time("sealed_at"),
    PrimaryKeyConstraint("space_id", "first_id"),
)

set_aside = Table(
    "set_aside",
    metadata,
    _space(references=False),
    Column("trajectory_id", Uuid, nullable=False),
    Column("cycle_id", Uuid, nullable=False),
    Column("reason", Text, nullable=False),
    PrimaryKeyConstraint("space_id", "trajectory_id", "cycle_id"),
)

# -- candidates ---------------------------------------------------------------------------------------------

candidates = Table(
    "candidates",
    metadata,
    _space(),
    Column("candidate_id", Text, nullable=False),
    Column("slot", Integer),
    _time("recorded_at"),
    Column("embedding", HALFVEC, nullable=False),
    Column("changed_at", DateTime(timezone=True)),
    Column("group_name", Text),
    Column("position", BigInteger),
    PrimaryKeyConstraint("space_id", "candidate_id"),
    UniqueConstraint("space_id", "slot"),
    Index("candidates_new", "space_id", postgresql_where=text("slot IS NULL")),
    Index("candidates_changed", "space_id", "changed_at", postgresql_where=text("changed_at IS NOT NULL")),
    Index("candidates_in_order", "space_id", "group_name", "position", postgresql_where=text("group_name IS NOT NULL")),
)

candidate_sets = Table(
    "candidate_sets",
    metadata,
    _space(references=False),
    Column("set_id", BigInteger, nullable=False),
    Column("candidate_ids", ARRAY(Text), nullable=False),
    Column("named_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    PrimaryKeyConstraint("space_id", "set_id"),
)

space_settings = Table(
    "space_settings",
    metadata,
    _space(),
    Column("from_version", BigInteger, nullable=False),
    Column("settings", JSONB, nullable=False),
    _time("recorded_at"),
    PrimaryKeyConstraint("space_id", "from_version"),
)

# -- learning -----------------------------------------------------------------------------------------------

cycles = Table(
    "cycles",
    metadata,
    _space(),
    Column("cycle_id", Uuid, nullable=False),
    Column("loop", Text, nullable=False),
    Column("server_id", Uuid, nullable=False),
    Column("base_version", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    _time("started_at"),
    _time("finished_at"),
    _count("trajectories"),
    _count("feedback"),
    _count("set_aside"),
    _count("patterns"),
    Column("detail", JSONB, nullable=False, server_default="{}"),
    Column("error", Text),
    Column("in_force", INT8MULTIRANGE),
    Column("batches", ARRAY(BigInteger)),
    PrimaryKeyConstraint("space_id", "cycle_id"),
    Index("cycles_by_start", "space_id", "started_at"),
)

leases = Table(
    "leases",
    metadata,
    _space(),
    Column("role", Text, nullable=False),
    Column("server_id", Uuid, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    _time("expires_at"),
    PrimaryKeyConstraint("space_id", "role"),
)


def _verdicts() -> list[Column[int]]:
    return [
        Column(f"{verdict}_count", BigInteger, nullable=False, server_default="0")
        for verdict in ("success", "recovered", "partial", "failure")
    ]


patterns = Table(
    "patterns",
    metadata,
    _space(),
    Column("dim", Integer, nullable=False),
    Column("pattern_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    _count("size", BigInteger),
    Column("weight", Double, nullable=False),
    Column("quality", Double, nullable=False),
    *_verdicts(),
    Column("created_version", BigInteger, nullable=False),
    Column("updated_version", BigInteger, nullable=False),
    _time("updated_at"),
    Column("merged_from", ARRAY(Uuid), nullable=False, server_default="{}"),
    Column("typical_queries", ARRAY(Text), nullable=False, server_default="{}"),
    Column("typical_similarities", ARRAY(REAL), nullable=False, server_default="{}"),
    Column("parameters", JSONB, nullable=False, server_default="{}"),
    Column("centroid", VECTOR, nullable=False),
    PrimaryKeyConstraint("space_id", "dim", "pattern_id"),
    postgresql_partition_by="LIST (dim)",
)

pattern_routes = Table(
    "pattern_routes",
    metadata,
    _space(),
    Column("pattern_id", Uuid, nullable=False),
    Column("route", Text, nullable=False),
    _count("size", BigInteger),
    Column("weight", Double, nullable=False),
    Column("quality", Double, nullable=False),
    *_verdicts(),
    PrimaryKeyConstraint("space_id", "pattern_id", "route"),
)

pattern_uses = Table(
    "pattern_uses",
    metadata,
    _space(),
    Column("pattern_id", Uuid, nullable=False),
    Column("created_at", DateTime(timezone=True)),
    Column("access_count", BigInteger, nullable=False, server_default="0"),
    Column("last_accessed", DateTime(timezone=True)),
    PrimaryKeyConstraint("space_id", "pattern_id"),
)

state_versions = Table(
    "state_versions",
    metadata,
    _space(),
    Column("version", BigInteger, nullable=False),
    Column("parent", BigInteger, nullable=False),
    Column("cycle_id", Uuid, nullable=False),
    Column("status", Text, nullable=False),
    _time("created_at"),
    Column("metrics", JSONB, nullable=False, server_default="{}"),
    Column("format", SmallInteger, nullable=False, server_default="1"),
    Column("origin", Text, nullable=False, server_default="cycle"),
    Column("restores", BigInteger),
    Column("server_id", Uuid),
    PrimaryKeyConstraint("space_id", "version"),
)


def _of_version() -> ForeignKeyConstraint:
    return ForeignKeyConstraint(
        ["space_id", "version"],
        ["sona.state_versions.space_id", "sona.state_versions.version"],
        ondelete="CASCADE",
    )


adapters = Table(
    "adapters",
    metadata,
    _space(references=False),
    Column("version", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("layer", SmallInteger, nullable=False),
    Column("rank", SmallInteger, nullable=False),
    Column("dim", Integer, nullable=False),
    Column("scale", REAL, nullable=False),
    Column("norm", Double, nullable=False),
    Column("a", LargeBinary, nullable=False),
    Column("b", LargeBinary, nullable=False),
    PrimaryKeyConstraint("space_id", "version", "kind", "layer"),
    _of_version(),
)

state_arrays = Table(
    "state_arrays",
    metadata,
    _space(references=False),
    Column("version", BigInteger, nullable=False),
    Column("part", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("dtype", Text, nullable=False),
    Column("shape", ARRAY(Integer), nullable=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("space_id", "version", "part", "name"),
    _of_version(),
)

fisher_snapshots = Table(
    "fisher_snapshots",
    metadata,
    _space(),
    Column("task", Integer, nullable=False),
    Column("layer", SmallInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    _time("created_at"),
    Column("kind", Text, nullable=False, server_default="diagonal"),
    Column("fisher", LargeBinary, nullable=False),
    Column("optimum", LargeBinary, nullable=False),
    PrimaryKeyConstraint("space_id", "task", "layer"),
)

version_contents = Table(
    "version_contents",
    metadata,
    _space(references=False),
    Column("version", BigInteger, nullable=False),
    _count("patterns"),
    Column("routes", ARRAY(Text), nullable=False, server_default="{}"),
    Column("route_sizes", ARRAY(BigInteger), nullable=False, server_default="{}"),
    Column("route_qualities", ARRAY(Double), nullable=False, server_default="{}"),
    Column("route_variances", ARRAY(Double), nullable=False, server_default="{}"),
    Column("route_latencies", ARRAY(Double), nullable=False, server_default="{}"),
    Column("route_versions", ARRAY(BigInteger), nullable=False, server_default="{}"),
    Column("tasks", ARRAY(Integer), nullable=False, server_default="{}"),
    Column("task_layers", ARRAY(SmallInteger), nullable=False, server_default="{}"),
    Column("task_versions", ARRAY(BigInteger), nullable=False, server_default="{}"),
    PrimaryKeyConstraint("space_id", "version"),
    _of_version(),
)

version_patterns = Table(
    "version_patterns",
    metadata,
    _space(references=False),
    Column("version", BigInteger, nullable=False),
    Column("pattern_id", Uuid, nullable=False),
    _count("size", BigInteger),
    Column("weight", Double, nullable=False),
    Column("quality", Double, nullable=False),
    *(_count(f"{verdict}_count", BigInteger) for verdict in ("success", "recovered", "partial", "failure")),
    Column("created_version", BigInteger, nullable=False),
    Column("updated_version", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("merged_from", ARRAY(Uuid), nullable=False),
    Column("typical_queries", ARRAY(Text), nullable=False),
    Column("typical_similarities", ARRAY(REAL), nullable=False),
    Column("parameters", JSONB, nullable=False),
    Column("routes", ARRAY(Text), nullable=False),
    Column("route_sizes", ARRAY(BigInteger), nullable=False),
    Column("route_weights", ARRAY(Double), nullable=False),
    Column("route_qualities", ARRAY(Double), nullable=False),
    Column("route_verdicts", ARRAY(BigInteger), nullable=False),
    Column("centroid", VECTOR, nullable=False),
    PrimaryKeyConstraint("space_id", "version", "pattern_id"),
    _of_version(),
)

version_tasks = Table(
    "version_tasks",
    metadata,
    _space(),
    Column("task", Integer, nullable=False),
    Column("layer", SmallInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    _time("created_at"),
    Column("kind", Text, nullable=False),
    Column("fisher", LargeBinary, nullable=False),
    Column("optimum", LargeBinary, nullable=False),
    PrimaryKeyConstraint("space_id", "task", "layer", "version"),
)

staged_versions = Table(
    "staged_versions",
    metadata,
    _space(references=False),
    Column("version", BigInteger, nullable=False),
    Column("server_id", Uuid, nullable=False),
    Column("batches", ARRAY(BigInteger), nullable=False),
    Column("cycle", JSONB, nullable=False),
    Column("set_aside", JSONB, nullable=False, server_default="[]"),
    _time("started_at"),
    PrimaryKeyConstraint("space_id", "version"),
    _of_version(),
)

route_statistics = Table(
    "route_statistics",
    metadata,
    _space(),
    Column("route", Text, nullable=False),
    _count("size", BigInteger),
    Column("quality", Double, nullable=False),
    Column("quality_variance", Double, nullable=False),
    Column("latency_us", Double),
    Column("updated_version", BigInteger, nullable=False),
    PrimaryKeyConstraint("space_id", "route"),
)

# -- memory graph -------------------------------------------------------------------------------------------

memory_nodes = Table(
    "memory_nodes",
    metadata,
    _space(),
    Column("dim", Integer, nullable=False),
    Column("node_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("pattern_id", Uuid),
    Column("weight", Double, nullable=False),
    _count("visits", BigInteger),
    _time("updated_at"),
    Column("embedding", VECTOR, nullable=False),
    PrimaryKeyConstraint("space_id", "dim", "node_id"),
    postgresql_partition_by="LIST (dim)",
)

memory_edges = Table(
    "memory_edges",
    metadata,
    _space(),
    Column("source_id", Uuid, nullable=False),
    Column("target_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("weight", Double, nullable=False),
    _time("updated_at"),
    PrimaryKeyConstraint("space_id", "source_id", "target_id"),
)

# -- fleet --------------------------------------------------------------------------------------------------

servers = Table(
    "servers",
    metadata,
    _space(),
    Column("server_id", Uuid, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("release", Text, nullable=False),
    _time("started_at"),
    _time("seen_at"),
    Column("serving_version", BigInteger, nullable=False),
    Column("trajectories", BigInteger, nullable=False, server_default="0"),
    Column("feedback", BigInteger, nullable=False, server_default="0"),
    Column("dropped", BigInteger, nullable=False, server_default="0"),
    Column("ended_at", DateTime(timezone=True)),
    Column("skew_ms", Double),
    Column("abandoned", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("space_id", "server_id"),
)

# -- servers that share -------------------------------------------------------------------------------------

shared_trajectories = Table(
    "shared_trajectories",
    metadata,
    _space(),
    Column("trajectory_id", Uuid, nullable=False),
    Column("part", BigInteger, nullable=False),
    Column("call", Text, nullable=False),
    Column("content", JSONB, nullable=False),
    _time("recorded_at"),
    PrimaryKeyConstraint("space_id", "trajectory_id", "part"),
    Index("shared_trajectories_by_time", "space_id", "recorded_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    _space(),
    Column("key_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    _time("created_at"),
    Column("revoked_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("space_id", "key_id"),
)

idempotent_requests = Table(
    "idempotent_requests",
    metadata,
    _space(),
    Column("key", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    _time("recorded_at"),
    Column("status", SmallInteger),
    Column("media_type", Text),
    Column("answer", LargeBinary),
    PrimaryKeyConstraint("space_id", "key"),
    Index("idempotent_requests_by_time", "space_id", "recorded_at"),
)
