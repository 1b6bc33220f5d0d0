"""An example in the comment of every object that had none, and ``space_id`` in the views of the memory graph."""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions.v0024_live_graph import VIEWS as GRAPH_VIEWS

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

NUMBER_OF = {"graph_hubs": "n.space_id", "dream_edges": "e.space_id", "next_patterns": "e.space_id"}
NODE = "(SELECT n.node_id FROM sona.graph_hubs n WHERE n.space = ''support'' ORDER BY n.degree DESC LIMIT 1)"
EXAMPLES = {
    "VIEW sona.budgets": "SELECT amount, per, spent, spent_today, pace FROM sona.budgets WHERE space = ''support''",
    "VIEW sona.graph_hubs": "SELECT kind, typical_query, degree, strength FROM sona.graph_hubs WHERE space = ''support'' "
    "ORDER BY strength DESC LIMIT 10",
    "VIEW sona.dream_edges": "SELECT source_id, target_id, weight FROM sona.dream_edges WHERE space = ''support''",
    "VIEW sona.next_patterns": "SELECT typical_query, next_query, confidence FROM sona.next_patterns "
    "WHERE space = ''support'' ORDER BY confidence DESC LIMIT 10",
    "FUNCTION sona.communities(text, uuid, int, timestamptz)": "SELECT * FROM sona.communities(''support'')",
    "FUNCTION sona.neighbors(text, uuid, text, timestamptz)": f"SELECT * FROM sona.neighbors(''support'', {NODE})",
    "FUNCTION sona.neighborhood(text, uuid, int, int, timestamptz)": "SELECT * FROM sona.neighborhood("
    f"''support'', {NODE}, 2)",
    "FUNCTION sona.weight_at(double precision, text, timestamptz, double precision, timestamptz)": "SELECT sona.weight_at("
    "0.5, ''sequence'', now() - interval ''30 days'', 30, now())",
    "FUNCTION sona.diff(text, bigint, bigint)": "SELECT part, name, change FROM sona.diff(''support'', 1, 2)",
    "FUNCTION sona.patterns_at(text, bigint)": "SELECT size, quality, typical_queries FROM sona.patterns_at(''support'', 1)",
    "FUNCTION sona.ensure_dimension(int)": "SELECT sona.ensure_dimension(384)",
    "FUNCTION sona.ensure_partitions(timestamptz, int, text[])": "SELECT sona.ensure_partitions(now() + interval ''1 year'', 1)",
    "FUNCTION sona.uuid_floor(timestamptz)": "SELECT count(*) FROM sona.trajectories WHERE space_id = 1 AND "
    "id >= sona.uuid_floor(now() - interval ''1 hour'')",
    "FUNCTION sona.uuid_time(uuid)": "SELECT sona.uuid_time(id) FROM sona.trajectories WHERE space_id = 1 "
    "ORDER BY id DESC LIMIT 1",
}
# The text before the example stays: the revision that made the object wrote it.
ADD = """
DO $$ BEGIN
    EXECUTE format('COMMENT ON {object} IS %L',
        split_part(obj_description('{address}'::{kind}), E'\\nExample: ', 1) || E'{example}');
END $$
"""


def _definition(view: str) -> str:
    return next(text for text in GRAPH_VIEWS if f"CREATE VIEW sona.{view} " in text)


def _remark(example: bool) -> None:
    driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
    for named, query in EXAMPLES.items():
        kind, _, address = named.partition(" ")
        text = f"\\nExample: {query}" if example else ""
        regtype = "regclass" if kind == "VIEW" else "regprocedure"
        driver.execute(
            ADD.replace("{object}", named).replace("{address}", address).replace("{kind}", regtype)
            .replace("{example}", text)
        )  # fmt: skip


def upgrade() -> None:
    driver = op.get_bind().connection.driver_connection
    for view, number in NUMBER_OF.items():
        columns, end, tables = _definition(view).partition("\n    FROM ")
        driver.execute(f"{columns}, {number}{end}{tables}".replace("CREATE VIEW", "CREATE OR REPLACE VIEW"))
    _remark(True)


def downgrade() -> None:
    driver = op.get_bind().connection.driver_connection
    _remark(False)
    for view in NUMBER_OF:
        (said,) = driver.execute(f"SELECT obj_description('sona.{view}'::regclass)").fetchone()
        driver.execute(f"DROP VIEW sona.{view}")
        driver.execute(_definition(view))
        op.execute(f"COMMENT ON VIEW sona.{view} IS '{said.replace(chr(39), chr(39) * 2)}'")
