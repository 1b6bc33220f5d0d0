"""Measurements of sona-pg: not installed with it, run from the repository."""
