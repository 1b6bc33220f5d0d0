"""Tables of the servers: their heartbeats, and what they share; erasures; logins and acts."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Date,
    DateTime,
    Double,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from sona_pg.store.table_columns import metadata, space_column, time_column

servers = Table(
    "servers",
    metadata,
    space_column(),
    Column("server_id", Uuid, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("release", Text, nullable=False),
    time_column("started_at"),
    time_column("seen_at"),
    Column("serving_version", BigInteger, nullable=False),
    Column("trajectories", BigInteger, nullable=False, server_default="0"),
    Column("feedback", BigInteger, nullable=False, server_default="0"),
    Column("dropped", BigInteger, nullable=False, server_default="0"),
    Column("ended_at", DateTime(timezone=True)),
    Column("skew_ms", Double),
    Column("abandoned", BigInteger, nullable=False, server_default="0"),
    Column("budget_set_at", DateTime(timezone=True)),
    Column("budget_spent", Double, nullable=False, server_default="0"),
    Column("budget_requests", BigInteger, nullable=False, server_default="0"),
    Column("budget_day", Date),
    Column("budget_day_spent", Double, nullable=False, server_default="0"),
    Column("budget_day_requests", BigInteger, nullable=False, server_default="0"),
    Column("budget_report", BigInteger),
    Column("conflicting", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("space_id", "server_id"),
)

shared_trajectories = Table(
    "shared_trajectories",
    metadata,
    space_column(),
    Column("trajectory_id", Uuid, nullable=False),
    Column("part", BigInteger, nullable=False),
    Column("call", Text, nullable=False),
    Column("content", JSONB, nullable=False),
    time_column("recorded_at"),
    PrimaryKeyConstraint("space_id", "trajectory_id", "part"),
    Index("shared_trajectories_by_time", "space_id", "recorded_at"),
)

api_keys = Table(
    "api_keys",
    metadata,
    space_column(),
    Column("key_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    time_column("created_at"),
    Column("revoked_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("space_id", "key_id"),
)

idempotent_requests = Table(
    "idempotent_requests",
    metadata,
    space_column(),
    Column("key", Text, nullable=False),
    Column("fingerprint", LargeBinary, nullable=False),
    time_column("recorded_at"),
    Column("status", SmallInteger),
    Column("media_type", Text),
    Column("answer", LargeBinary),
    PrimaryKeyConstraint("space_id", "key"),
    Index("idempotent_requests_by_time", "space_id", "recorded_at"),
)

telemetry_ids = Table(
    "telemetry_ids",
    metadata,
    space_column(),
    Column("key", LargeBinary, nullable=False),
    Column("trajectory_id", Uuid, nullable=False),
    time_column("recorded_at"),
    PrimaryKeyConstraint("space_id", "key"),
    Index("telemetry_ids_by_time", "space_id", "recorded_at"),
)

erasures = Table(
    "erasures",
    metadata,
    space_column(),
    Column("erasure_id", Uuid, nullable=False),
    Column("kind", Text, nullable=False),
    Column("hashes", LargeBinary, nullable=False),
    Column("until_id", Uuid, nullable=False),
    Column("first_version", BigInteger, nullable=False),
    Column("phase", Text, nullable=False),
    time_column("requested_at"),
    Column("finished_at", DateTime(timezone=True)),
    Column("removed", JSONB, nullable=False),
    Column("late", BigInteger, nullable=False, server_default="0"),
    Column("receipt", JSONB),
    PrimaryKeyConstraint("space_id", "erasure_id"),
)

space_roles = Table(
    "space_roles",
    metadata,
    space_column(references=False),
    Column("role_name", Text(collation="C"), nullable=False),
    time_column("granted_at"),
    PrimaryKeyConstraint("space_id", "role_name"),
    Index("space_roles_by_role", "role_name", "space_id"),
)

acts = Table(
    "acts",
    metadata,
    space_column(references=False),
    Column("act_id", Uuid, nullable=False),
    time_column("at"),
    Column("act", Text, nullable=False),
    Column("login", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("details", JSONB, nullable=False, server_default="{}"),
    PrimaryKeyConstraint("space_id", "act_id"),
    Index("acts_by_time", "space_id", "at"),
)
