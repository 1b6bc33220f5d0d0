"""Limits of callers' arguments and of stored state; performance settings are elsewhere.

The compiled recorder, the kernels and the schema's checks repeat these numbers; ``tests/test_limits.py`` compares them.
"""

from __future__ import annotations

# -- arguments of callers ------------------------------------------------------------------------------------
MAX_DIM = 16_000  # dimensions: the most a pgvector `vector` or `halfvec` can hold
MAX_HALF = 65_504.0  # the largest number of half precision, in which vectors are stored
MAX_RANK = 16  # of an adapter that is served: the kernel keeps a row of it in registers
MAX_LAYERS = 1024  # of a base adapter
MAX_STEPS = 32_767  # of a trajectory
MAX_RECORD = 1 << 30  # bytes of a trajectory in memory
LONGEST_SPACE_NAME = 200  # characters
LONGEST_ROLE_NAME = 63  # bytes of a role of the database: Postgres cuts longer ones
LONGEST_ID = 1000  # bytes of a route, a source or a candidate's id: they are parts of index keys
LONGEST_LABEL = 10_000  # bytes of a context label
LONGEST_QUERY = 1 << 20  # bytes of a query's text
LONGEST_CONTENT = 1 << 20  # bytes of a candidate's content as JSON
MAX_FEATURES = 1024  # that a decision can store
MAX_PARAMETERS = 100  # parameters of a trajectory
LONGEST_PARAMETER_NAME = 200  # characters
MAX_PARAMETER = 1e15  # absolute value of a parameter
MOST_FOUND = 100_000  # trajectories that one search returns: they are in memory together, in Postgres and here
BUDGET = 1e-12, 1e15  # the least and the most amount: Postgres divides by it, and refuses what is not a normal number
MOST_EXPLORATION = 1e6  # of a ranking, in logits: far above it float32 no longer holds the bonus
MOST_ERASED = 10_000  # single trajectories in one erasure: each leaves a hash
MOST_INT8 = (1 << 63) - 1  # the largest bigint: of a version's number, and of a count
# Of a space. Every version and every server holds them all: a gigabyte at 256 dimensions. The limit stops ids made up
# for each request; candidates are never deleted, because a slot is a row of learned arrays.
MOST_CANDIDATES = 1_000_000

# -- state and reading ---------------------------------------------------------------------------------------
LONGEST_READ_QUERY = 2000  # characters of a query's text that a learner reads: texts of 200 kB made a cycle of 41 s
LARGEST_TABLE = 1024  # candidates of a set; an event that chose among more is learned as if it chose among all
MOST_ROUTER_ROUTES = 64  # more names than this are answers, not routes: they are learned by the ranker alone
MOST_ROUTE_STATISTICS = 5000  # routes whose statistics a version keeps: those that changed last
MOST_BASELINES = 4096  # routes with a baseline of their own; later ones have the space's
LONGEST_TYPICAL = 300  # characters of each typical query of a pattern
MOST_PATTERN_ROUTES = 256  # kept per pattern: those with the most weight
MOST_PATTERN_PARAMETERS = 256  # kept per pattern: those with the most weight
MOST_LINEAGE = 256  # merged patterns named in a pattern's lineage: the latest
MOST_WEEKS = 10_000  # that a space keeps its facts
MOST_ACTS = 10_000  # administrative acts that a space keeps, and the store for those about no single space
MOST_RECEIPTS = 10_000  # of erasures that a space keeps
LARGEST_NORM = 1e5  # of an adapter and of a centroid's entry in a version that goes live
LARGEST_WEIGHT = 1e15  # absolute value of a learned weight in it
MOST_RECENT = 10_000  # judged queries of a space that are weighed before a cycle has learned them
