"""Logins that see one space: whose they are, views that ask with the rights of their reader, partitions nobody else reads.

``sona-pg roles install`` turns row-level security on; until then nothing here changes what a role sees. The previous
release reads names in ``sona.space_names`` as before.
"""

from __future__ import annotations

from alembic import op

revision = "0040"
down_revision = "0039"
branch_labels = None
depends_on = None

TABLE = [
    """
    CREATE TABLE IF NOT EXISTS sona.space_roles (
        space_id int NOT NULL CHECK (space_id >= 0),
        role_name text COLLATE "C" NOT NULL,
        granted_at timestamptz NOT NULL,
        PRIMARY KEY (space_id, role_name)
    )
    """,
    "COMMENT ON TABLE sona.space_roles IS 'The space that a login of the database may see. A login with rows of two spaces "
    "sees none.'",
    "COMMENT ON COLUMN sona.space_roles.space_id IS '0: every space.'",
    "COMMENT ON COLUMN sona.space_roles.role_name IS 'Collated as current_user is, so that the indexes serve the policies.'",
    "CREATE INDEX IF NOT EXISTS space_roles_by_role ON sona.space_roles (role_name, space_id)",
    "COMMENT ON INDEX sona.space_roles_by_role IS 'Serves: the policies of row-level security.'",
    # Text concatenation is not leakproof, so row-level security is applied before this index is considered: a login of
    # one space cannot ask it which names there are. An index on the name itself would tell in EXPLAIN ANALYZE.
    "CREATE INDEX IF NOT EXISTS spaces_by_name ON sona.spaces ((name || ''))",
    "COMMENT ON INDEX sona.spaces_by_name IS 'Serves: a space by its name, without telling a restricted role of others.'",
]
# A view of its owner's rights would show every space.
INVOKERS = """
DO $$
DECLARE
    view regclass;
BEGIN
    FOR view IN SELECT oid FROM pg_class WHERE relnamespace = 'sona'::regnamespace AND relkind = 'v' LOOP
        EXECUTE format('ALTER VIEW %s SET (security_invoker = {value})', view);
    END LOOP;
END $$
"""
REWRITE = """
DO $$
DECLARE
    found regprocedure;
BEGIN
    FOR found IN
        SELECT oid FROM pg_proc WHERE pronamespace = 'sona'::regnamespace AND strpos(prosrc, {present}) > 0
    LOOP
        EXECUTE replace(pg_get_functiondef(found), {present}, {wanted});
    END LOOP;
END $$
"""
# Pieces of functions, before and after.
NAMES = [
    ("sona.space_names n WHERE n.name = of_space", "sona.spaces n WHERE n.name || '' = of_space"),
    (
        "sona.space_names n JOIN sona.spaces s ON s.space_id = n.space_id WHERE n.name = of_space",
        "sona.spaces n JOIN sona.spaces s ON s.space_id = n.space_id WHERE n.name || '' = of_space",
    ),
]
# Like the table of which it is a part: row-level security without a policy, so that only its owner reads it by its own name;
# and no statistics of the columns of which the table keeps none.
GUARD = """
CREATE OR REPLACE FUNCTION sona.guard_partition(parent text, child text) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    secret text;
BEGIN
    IF (SELECT c.relrowsecurity FROM pg_class c WHERE c.oid = format('sona.%I', parent)::regclass) THEN
        EXECUTE format('ALTER TABLE sona.%I ENABLE ROW LEVEL SECURITY', child);
        FOR secret IN
            SELECT a.attname FROM pg_attribute a
            WHERE a.attrelid = format('sona.%I', parent)::regclass AND a.attnum > 0 AND a.attstattarget = 0
        LOOP
            EXECUTE format('ALTER TABLE sona.%I ALTER COLUMN %I SET STATISTICS 0', child, secret);
        END LOOP;
    END IF;
END $$
"""
ABOUT_GUARD = (
    "COMMENT ON FUNCTION sona.guard_partition(text, text) IS E'Guards a new partition as its table is, where row-level "
    "security is on.\\nExample: SELECT sona.guard_partition(''trajectories'', ''trajectories_rest'')'"
)
PARTITIONS = ("RETURN NEXT child;", "PERFORM sona.guard_partition(parent, child); RETURN NEXT child;")
UNGUARD = """
DO $$
DECLARE
    rule record;
BEGIN
    FOR rule IN SELECT policyname, tablename FROM pg_policies WHERE schemaname = 'sona' LOOP
        EXECUTE format('DROP POLICY %I ON sona.%I', rule.policyname, rule.tablename);
    END LOOP;
    FOR rule IN
        SELECT oid::regclass AS name FROM pg_class WHERE relnamespace = 'sona'::regnamespace AND relrowsecurity
    LOOP
        EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY', rule.name);
    END LOOP;
END $$
"""


def _literal(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"


def _rewriting(present: str, wanted: str) -> str:
    return REWRITE.format(present=_literal(present), wanted=_literal(wanted))


STEPS = [
    *TABLE,
    INVOKERS.format(value="true"),
    *(_rewriting(before, after) for before, after in NAMES),
    GUARD,
    ABOUT_GUARD,
    _rewriting(*PARTITIONS),
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    driver = op.get_bind().connection.driver_connection
    driver.execute(UNGUARD)
    for before, after in (PARTITIONS, *NAMES):
        driver.execute(_rewriting(after, before))
    driver.execute("DROP FUNCTION sona.guard_partition")
    driver.execute(INVOKERS.format(value="false"))
    driver.execute("DROP INDEX sona.spaces_by_name")
    driver.execute("DROP TABLE sona.space_roles")
