"""Adapters of frameworks, a module each, imported by name; each needs its own extra (docs/frameworks.md)."""
