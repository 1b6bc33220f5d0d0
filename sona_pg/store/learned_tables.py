"""Tables of learned knowledge: cycles, versions, patterns, and the memory graph."""

from __future__ import annotations

from pgvector.sqlalchemy import VECTOR
from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import INT8MULTIRANGE, JSONB

from sona_pg.store.table_columns import count_column, metadata, space_column, time_column

cycles = Table(
    "cycles",
    metadata,
    space_column(),
    Column("cycle_id", Uuid, nullable=False),
    Column("loop", Text, nullable=False),
    Column("server_id", Uuid, nullable=False),
    Column("base_version", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    time_column("started_at"),
    time_column("finished_at"),
    count_column("trajectories"),
    count_column("feedback"),
    count_column("set_aside"),
    count_column("patterns"),
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
    space_column(),
    Column("role", Text, nullable=False),
    Column("server_id", Uuid, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    time_column("expires_at"),
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
    space_column(),
    Column("dim", Integer, nullable=False),
    Column("pattern_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    count_column("size", BigInteger),
    Column("weight", Double, nullable=False),
    Column("quality", Double, nullable=False),
    *_verdicts(),
    Column("created_version", BigInteger, nullable=False),
    Column("updated_version", BigInteger, nullable=False),
    time_column("updated_at"),
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
    space_column(),
    Column("pattern_id", Uuid, nullable=False),
    Column("route", Text, nullable=False),
    count_column("size", BigInteger),
    Column("weight", Double, nullable=False),
    Column("quality", Double, nullable=False),
    *_verdicts(),
    PrimaryKeyConstraint("space_id", "pattern_id", "route"),
)

pattern_uses = Table(
    "pattern_uses",
    metadata,
    space_column(),
    Column("pattern_id", Uuid, nullable=False),
    Column("created_at", DateTime(timezone=True)),
    Column("access_count", BigInteger, nullable=False, server_default="0"),
    Column("last_accessed", DateTime(timezone=True)),
    PrimaryKeyConstraint("space_id", "pattern_id"),
)

pattern_names = Table(
    "pattern_names",
    metadata,
    space_column(),
    Column("pattern_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("named_by", Text, nullable=False),
    Column("named_at", DateTime(timezone=True), nullable=False),
    Column("centroid", VECTOR),
    PrimaryKeyConstraint("space_id", "pattern_id"),
)

state_versions = Table(
    "state_versions",
    metadata,
    space_column(),
    Column("version", BigInteger, nullable=False),
    Column("parent", BigInteger, nullable=False),
    Column("cycle_id", Uuid, nullable=False),
    Column("status", Text, nullable=False),
    time_column("created_at"),
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
    space_column(references=False),
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
    space_column(references=False),
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
    space_column(),
    Column("task", Integer, nullable=False),
    Column("layer", SmallInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    time_column("created_at"),
    Column("kind", Text, nullable=False, server_default="diagonal"),
    Column("fisher", LargeBinary, nullable=False),
    Column("optimum", LargeBinary, nullable=False),
    PrimaryKeyConstraint("space_id", "task", "layer"),
)

version_contents = Table(
    "version_contents",
    metadata,
    space_column(references=False),
    Column("version", BigInteger, nullable=False),
    count_column("patterns"),
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
    space_column(references=False),
    Column("version", BigInteger, nullable=False),
    Column("pattern_id", Uuid, nullable=False),
    count_column("size", BigInteger),
    Column("weight", Double, nullable=False),
    Column("quality", Double, nullable=False),
    *(count_column(f"{verdict}_count", BigInteger) for verdict in ("success", "recovered", "partial", "failure")),
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
    space_column(),
    Column("task", Integer, nullable=False),
    Column("layer", SmallInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    time_column("created_at"),
    Column("kind", Text, nullable=False),
    Column("fisher", LargeBinary, nullable=False),
    Column("optimum", LargeBinary, nullable=False),
    PrimaryKeyConstraint("space_id", "task", "layer", "version"),
)

staged_versions = Table(
    "staged_versions",
    metadata,
    space_column(references=False),
    Column("version", BigInteger, nullable=False),
    Column("server_id", Uuid, nullable=False),
    Column("batches", ARRAY(BigInteger), nullable=False),
    Column("cycle", JSONB, nullable=False),
    Column("set_aside", JSONB, nullable=False, server_default="[]"),
    time_column("started_at"),
    PrimaryKeyConstraint("space_id", "version"),
    _of_version(),
)

version_gates = Table(
    "version_gates",
    metadata,
    space_column(references=False),
    Column("version", BigInteger, nullable=False),
    Column("mode", Text, nullable=False),
    Column("reference", BigInteger, nullable=False),
    Column("margin", Double, nullable=False),
    Column("confidence", Double, nullable=False),
    count_column("most_decisions"),
    time_column("opened_at"),
    time_column("looked_at"),
    Column("looked_batch", BigInteger, nullable=False),
    Column("decisions", Integer, nullable=False, server_default="0"),
    Column("differing", Integer, nullable=False, server_default="0"),
    Column("difference", Double),
    Column("low", Double),
    Column("high", Double),
    Column("evidence", JSONB, nullable=False, server_default="{}"),
    Column("judgement", Text, nullable=False, server_default="open"),
    Column("reason", Text),
    Column("closed_at", DateTime(timezone=True)),
    Column("share", Double),
    PrimaryKeyConstraint("space_id", "version", "mode"),
    Index("version_gates_open", "space_id", postgresql_where=text("closed_at IS NULL")),
    _of_version(),
)

route_statistics = Table(
    "route_statistics",
    metadata,
    space_column(),
    Column("route", Text, nullable=False),
    count_column("size", BigInteger),
    Column("quality", Double, nullable=False),
    Column("quality_variance", Double, nullable=False),
    Column("latency_us", Double),
    Column("updated_version", BigInteger, nullable=False),
    PrimaryKeyConstraint("space_id", "route"),
)

memory_nodes = Table(
    "memory_nodes",
    metadata,
    space_column(),
    Column("dim", Integer, nullable=False),
    Column("node_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("pattern_id", Uuid),
    Column("importance", Double, nullable=False),
    count_column("access_count", BigInteger),
    time_column("updated_at"),
    Column("embedding", VECTOR, nullable=False),
    Column("candidate_id", Text),
    Column("trajectory_id", Uuid),
    Column("last_accessed", DateTime(timezone=True)),
    Column("degree", Integer, nullable=False, server_default="0"),
    Column("strength", Double, nullable=False, server_default="0"),
    Column("created_version", BigInteger, nullable=False, server_default="0"),
    Column("indexed", Boolean, nullable=False, server_default=true()),
    PrimaryKeyConstraint("space_id", "dim", "node_id"),
    Index("memory_nodes_of_candidates", "space_id", "candidate_id", postgresql_where=text("candidate_id IS NOT NULL")),
    Index("memory_nodes_waiting", "space_id", postgresql_where=text("NOT indexed")),
    Index("memory_nodes_of_kind", "space_id", "dim", "kind"),
    postgresql_partition_by="LIST (dim)",
)

memory_standing = Table(
    "memory_standing",
    metadata,
    space_column(),
    Column("node_id", Uuid, nullable=False),
    Column("strength", Double, nullable=False),
    Column("community", Integer),
    PrimaryKeyConstraint("space_id", "node_id"),
    Index("memory_standing_by_strength", "space_id", text("strength DESC"), "node_id"),
    Index("memory_standing_by_community", "space_id", "community", "node_id"),
)

memory_edges = Table(
    "memory_edges",
    metadata,
    space_column(),
    Column("source_id", Uuid, nullable=False),
    Column("target_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("weight", Double, nullable=False),
    time_column("reinforced_at"),
    Column("created_version", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("space_id", "source_id", "target_id", "kind"),
    Index(
        "memory_edges_back",
        "space_id",
        "target_id",
        postgresql_where=text("kind = ANY (ARRAY['sequence'::text, 'abstraction'::text])"),
    ),
    Index("memory_edges_dreamt", "space_id", "source_id", postgresql_where=text("kind = 'dream'::text")),
    Index("memory_edges_abstract", "space_id", "target_id", postgresql_where=text("kind = 'abstraction'::text")),
)
