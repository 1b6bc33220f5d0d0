"""Patterns of queries: clustering, verdicts, kinds, parameters."""
