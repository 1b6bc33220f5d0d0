"""Postgres: connections, schema, and repositories that return NumPy arrays and domain values."""
