"""Metadata of the schema, and the columns that many of its tables have."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    ForeignKey,
    Integer,
    MetaData,
)

metadata = MetaData(schema="sona")


def space_column(references: bool = True) -> Column[int]:
    """Return the column ``space_id``, with a foreign key if it ``references`` the space."""
    keys = [ForeignKey("sona.spaces.space_id")] if references else []
    return Column("space_id", Integer, *keys, nullable=False)


def time_column(name: str) -> Column[object]:
    """Return a required column for a time."""
    return Column(name, DateTime(timezone=True), nullable=False)


def count_column(name: str, kind: type[BigInteger] | type[Integer] = Integer) -> Column[int]:
    """Return a required column for a number."""
    return Column(name, kind, nullable=False)
