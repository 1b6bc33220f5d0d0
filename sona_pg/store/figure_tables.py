"""Tables of daily figures, which analytics read in place of the ledger."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Date,
    DateTime,
    Double,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
)

from sona_pg.store.table_columns import count_column, metadata, space_column, time_column

summary_progress = Table(
    "summary_progress",
    metadata,
    space_column(),
    time_column("noted_until"),
    PrimaryKeyConstraint("space_id"),
)

summary_days = Table(
    "summary_days",
    metadata,
    space_column(),
    Column("day", Date, nullable=False),
    Column("summed_at", DateTime(timezone=True)),
    Column("stale_since", DateTime(timezone=True)),
    Column("took_ms", Double, nullable=False, server_default="0"),
    PrimaryKeyConstraint("space_id", "day"),
)

daily_figures = Table(
    "daily_figures",
    metadata,
    space_column(),
    Column("day", Date, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    *(
        count_column(name, BigInteger)
        for name in ("trajectories", "steps", "facts", "corrections", "retractions", "rated")
    ),
    Column("quality", Double, nullable=False),
    count_column("costed", BigInteger),
    Column("cost", Double, nullable=False),
    Column("delays", ARRAY(SmallInteger), nullable=False),
    Column("delay_counts", ARRAY(BigInteger), nullable=False),
    PrimaryKeyConstraint("space_id", "day", "kind", "name"),
)

daily_decisions = Table(
    "daily_decisions",
    metadata,
    space_column(),
    Column("day", Date, nullable=False),
    Column("route", Text, nullable=False),
    count_column("offered", BigInteger),
    count_column("taken", BigInteger),
    *(
        Column(name, Double, nullable=False)
        for name in (
            "reward", "reward_squares", "weight", "weight_squares", "weighted", "square_weighted", "weighted_squares",
            "largest_weight",
        )
    ),
    count_column("costed", BigInteger),
    Column("cost", Double, nullable=False),
    PrimaryKeyConstraint("space_id", "day", "route"),
)  # fmt: skip
