"""Patterns of queries: clustering, verdicts, kinds, settings."""
