"""What comes next is told with as much of what follows anywhere as evidence lacks: a pair seen twice read as .67 sure."""

from __future__ import annotations

from sona_pg.migrations.statements import run, run_unless_stepped
from sona_pg.migrations.versions import v0024_live_graph, v0029_sql_reference
from sona_pg.migrations.versions.v0060_offered_routes import SECURE

revision = "0075"
down_revision = "0074"
branch_labels = None
depends_on = None

VIEW = "sona.next_patterns"
# A Dirichlet prior whose mean is what follows any pattern (MacKay and Peto 1995, A hierarchical Dirichlet language model);
# that of the mean is uniform (Laplace). Of strengths from 0.5 to 15 this one loses least (Kullback-Leibler) where it fits
# worst: 2 to 100 successions of each of 20 patterns whose own strength is 0.3 to 50. All windows are of a space by both its
# names: conditions on these go below them.
STRENGTH = 3
NEXT = f"""
CREATE OR REPLACE VIEW {VIEW} {SECURE}
SELECT n.space, n.pattern_id, n.next_id, n.times, (n.times + {STRENGTH} * n.usual) / (n.followed + {STRENGTH}) AS confidence,
       n.typical_query, n.next_query, n.space_id, n.usual
FROM (
    SELECT e.space, e.space_id, e.pattern_id, e.next_id, e.times,
           p.typical_queries[1] AS typical_query, f.typical_queries[1] AS next_query,
           sum(e.times) OVER (PARTITION BY e.space, e.space_id, e.pattern_id) AS followed,
           (1 + sum(e.times) OVER (PARTITION BY e.space, e.space_id, e.next_id))
               / (k.patterns + sum(e.times) OVER (PARTITION BY e.space, e.space_id)) AS usual
    FROM (
        SELECT s.name AS space, e.space_id, s.dim, e.source_id AS pattern_id, e.target_id AS next_id,
               ln(1 - least(sona.weight_at(e.weight, e.kind, e.reinforced_at, {v0024_live_graph.HALF_LIFE}, now()),
                            0.9999999)) / ln(0.99) AS times
        FROM sona.memory_edges e
        JOIN sona.spaces s ON s.space_id = e.space_id
        WHERE e.kind = 'sequence'
    ) e
    JOIN sona.patterns p ON p.space_id = e.space_id AND p.dim = e.dim AND p.pattern_id = e.pattern_id
    JOIN sona.patterns f ON f.space_id = e.space_id AND f.dim = e.dim AND f.pattern_id = e.next_id
    JOIN (SELECT a.space_id, a.dim, count(*) AS patterns FROM sona.patterns a GROUP BY a.space_id, a.dim) k
        ON k.space_id = e.space_id AND k.dim = e.dim
) n
"""
SAID = (
    "What usually comes next in a session: how often each pattern has followed another one (times, faded by its half-life), "
    "and how likely it is to (confidence). usual: how likely it is to follow any pattern. While few successions of a pattern "
    f"were seen, the confidence is near to that, as if {STRENGTH} more had gone as all do; a pair that is not listed has less "
    "than usual."
)
FIRST = next(text for text in v0024_live_graph.VIEWS if f"CREATE VIEW {VIEW} " in text)
COLUMNS, FROM, TABLES = FIRST.partition("\n    FROM ")
BEFORE = f"{COLUMNS}, e.space_id{FROM}{TABLES}".replace(f"{VIEW} AS", f"{VIEW} {SECURE}")  # as 0029 and 0040 left it
SAID_BEFORE = (
    "What usually comes next in a session: how often each pattern has followed another one (faded by its half-life), and "
    "its share of what followed, as if one more had gone elsewhere."
)
COMMENT = f"COMMENT ON VIEW {VIEW} IS E'{{}}\\nExample: {v0029_sql_reference.EXAMPLES[f'VIEW {VIEW}']}'"
STEPS = [NEXT, COMMENT.format(SAID)]
UNDO = [f"DROP VIEW {VIEW}", BEFORE, COMMENT.format(SAID_BEFORE)]


def upgrade() -> None:
    run_unless_stepped(STEPS)


def downgrade() -> None:
    run(UNDO)
