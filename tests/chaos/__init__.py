"""The long version of the fault tests; `tests/ingest` has the short ones."""
