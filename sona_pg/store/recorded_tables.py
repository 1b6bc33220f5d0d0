"""Tables of recorded facts: spaces, the ledger, candidates.

The ledger has no foreign keys, so that a week's partitions drop together.
"""

from __future__ import annotations

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from sona_pg.store.table_columns import count_column, metadata, space_column, time_column

SQL_SERVER = "00000000-0000-7000-8000-73716c000000"  # of what is recorded through SQL functions

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
    time_column("created_at"),
    Column("predecessor", Integer),
    Column("kinds_from", BigInteger),
    Column("kind_weights", LargeBinary),
    Column("budget", Double),
    Column("budget_per", Text),
    Column("budget_set_at", DateTime(timezone=True)),
    Column("budget_departed_spent", Double, nullable=False, server_default="0"),
    Column("budget_departed_requests", BigInteger, nullable=False, server_default="0"),
    Column("graph_version", BigInteger),
    Column("canary_version", BigInteger),
    Column("canary_share", Double),
    Column("keep_weeks", Integer),
    Column("embedder_probe", LargeBinary),
    Index("spaces_by_name", text("(name || '')")),
)

batches = Table(
    "batches",
    metadata,
    space_column(references=False),
    Column("batch", BigInteger, nullable=False),
    Column("server_id", Uuid, nullable=False),
    Column("first_id", Uuid),
    Column("last_id", Uuid),
    count_column("trajectories"),
    count_column("steps"),
    count_column("feedback"),
    time_column("recorded_at"),
    Column("cycle_id", Uuid),
    Column("left_out_by", BigInteger),
    PrimaryKeyConstraint("space_id", "batch"),
    Index("batches_unlearned", "space_id", "recorded_at", "batch", postgresql_where=text("cycle_id IS NULL")),
    Index("batches_by_cycle", "space_id", "cycle_id", postgresql_where=text("cycle_id IS NOT NULL")),
    Index("batches_by_time", "space_id", "recorded_at"),
    Index("batches_of_sql", "space_id", postgresql_where=text(f"server_id = '{SQL_SERVER}'")),
)

trajectories = Table(
    "trajectories",
    metadata,
    space_column(references=False),
    Column("quality", REAL),
    Column("id", Uuid, nullable=False),
    Column("batch", BigInteger, nullable=False),
    Column("policy_version", BigInteger),
    Column("candidate_set", BigInteger),
    Column("latency_us", Integer),
    Column("propensity", REAL),
    Column("cost", REAL),
    Column("lowest_reward", REAL),
    Column("paid", REAL),
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
    space_column(references=False),
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
    space_column(references=False),
    Column("quality", REAL),
    Column("trajectory_id", Uuid, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("batch", BigInteger, nullable=False),
    time_column("recorded_at"),
    Column("source", Text, nullable=False),
    Column("correction", Text),
    Column("paid", REAL),
    PrimaryKeyConstraint("space_id", "trajectory_id", "source", "sequence"),
    Index("feedback_batch", "space_id", "batch"),
    postgresql_partition_by="RANGE (trajectory_id)",
)

sealed_weeks = Table(
    "sealed_weeks",
    metadata,
    space_column(references=False),
    Column("first_id", Uuid, nullable=False),
    Column("end_id", Uuid, nullable=False),
    count_column("trajectories", BigInteger),
    count_column("indexed", BigInteger),
    time_column("sealed_at"),
    PrimaryKeyConstraint("space_id", "first_id"),
)

imported_ids = Table(
    "imported_ids",
    metadata,
    space_column(),
    Column("trajectory_id", Uuid, nullable=False),
    Column("imported_id", Text, nullable=False),
    Column("is_timed", Boolean),  # the row told its time; NULL: not known
    PrimaryKeyConstraint("space_id", "trajectory_id"),
    Index("imported_ids_by_id", "space_id", "imported_id"),
)

set_aside = Table(
    "set_aside",
    metadata,
    space_column(references=False),
    Column("trajectory_id", Uuid, nullable=False),
    Column("cycle_id", Uuid, nullable=False),
    Column("reason", Text, nullable=False),
    PrimaryKeyConstraint("space_id", "trajectory_id", "cycle_id"),
)

candidates = Table(
    "candidates",
    metadata,
    space_column(),
    Column("candidate_id", Text, nullable=False),
    Column("slot", Integer),
    time_column("recorded_at"),
    Column("embedding", HALFVEC, nullable=False),
    Column("changed_at", DateTime(timezone=True)),
    Column("group_name", Text),
    Column("position", BigInteger),
    Column("retired_at", DateTime(timezone=True)),
    Column("restored_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("space_id", "candidate_id"),
    UniqueConstraint("space_id", "slot"),
    Index("candidates_new", "space_id", postgresql_where=text("slot IS NULL")),
    Index("candidates_changed", "space_id", "changed_at", postgresql_where=text("changed_at IS NOT NULL")),
    Index("candidates_in_order", "space_id", "group_name", "position", postgresql_where=text("group_name IS NOT NULL")),
    Index(
        "candidates_retired",
        "space_id",
        text("COALESCE(restored_at, retired_at)"),
        postgresql_where=text("retired_at IS NOT NULL"),
    ),
)

candidate_contents = Table(
    "candidate_contents",
    metadata,
    space_column(),
    Column("candidate_id", Text(collation="C"), nullable=False),
    Column("content", JSONB, nullable=False),
    time_column("created_at"),
    time_column("updated_at"),
    PrimaryKeyConstraint("space_id", "candidate_id"),
)

candidate_sets = Table(
    "candidate_sets",
    metadata,
    space_column(references=False),
    Column("set_id", BigInteger, nullable=False),
    Column("candidate_ids", ARRAY(Text), nullable=False),
    Column("named_at", DateTime(timezone=True), nullable=False, server_default=text("now()")),
    PrimaryKeyConstraint("space_id", "set_id"),
)

space_settings = Table(
    "space_settings",
    metadata,
    space_column(),
    Column("from_version", BigInteger, nullable=False),
    Column("settings", JSONB, nullable=False),
    time_column("recorded_at"),
    PrimaryKeyConstraint("space_id", "from_version"),
)
