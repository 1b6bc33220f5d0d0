"""The evaluation suite: does learning make the next answer better, on real data, through the product's own path?

Run it with ``make eval DATA=<folder>``. Every experiment opens spaces of its own in a real Postgres, asks and is
answered by a ``SonaEngine``, and learns by its background cycles; simple methods run beside it on the same data.
"""
