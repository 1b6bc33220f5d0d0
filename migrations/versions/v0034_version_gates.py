"""Gates: how each new version was compared with the one before it, and the judgement.

The previous release neither reads nor writes them: a version that it publishes is not judged, and an open gate of an
earlier version judges it as well.
"""

from __future__ import annotations

from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None

TABLE = """
    CREATE TABLE sona.version_gates (
        space_id int NOT NULL,
        version bigint NOT NULL,
        mode text NOT NULL CHECK (mode IN ('watch', 'hold')),
        reference bigint NOT NULL CHECK (reference > 0),
        margin double precision NOT NULL CHECK (margin > 0 AND margin < 1),
        confidence double precision NOT NULL CHECK (confidence > 0 AND confidence < 1),
        most_decisions int NOT NULL CHECK (most_decisions > 0),
        opened_at timestamptz NOT NULL,
        looked_at timestamptz NOT NULL,
        looked_batch bigint NOT NULL,
        decisions int NOT NULL DEFAULT 0 CHECK (decisions >= 0),
        differing int NOT NULL DEFAULT 0 CHECK (differing >= 0),
        difference double precision,
        low double precision,
        high double precision,
        evidence jsonb NOT NULL DEFAULT '{}',
        judgement text NOT NULL DEFAULT 'open' CHECK (judgement IN (
            'open', 'accepted', 'promoted', 'rejected', 'rolled back', 'undecided', 'ended')),
        reason text,
        closed_at timestamptz,
        PRIMARY KEY (space_id, version, mode),
        FOREIGN KEY (space_id, version) REFERENCES sona.state_versions (space_id, version) ON DELETE CASCADE
    )
"""
VIEW = """
    CREATE VIEW sona.gates AS
    SELECT s.name AS space, g.space_id, g.version, g.mode, g.reference, g.judgement, g.decisions, g.differing, g.difference, g.low,
           g.high, g.margin, g.confidence, g.most_decisions, g.reason, g.opened_at, g.looked_at, g.closed_at
    FROM sona.version_gates g JOIN sona.spaces s ON s.space_id = g.space_id
"""
STEPS = [
    TABLE,
    "CREATE INDEX version_gates_open ON sona.version_gates (space_id) WHERE closed_at IS NULL",
    "COMMENT ON INDEX sona.version_gates_open IS 'Serves: the gates that are still judging.'",
    "COMMENT ON TABLE sona.version_gates IS 'Judgements of new versions against the version before.'",
    "COMMENT ON COLUMN sona.version_gates.mode IS 'watch: live at once, rolled back if worse. hold: a candidate, live once "
    "it is not worse.'",
    "COMMENT ON COLUMN sona.version_gates.reference IS 'The version it is compared with: live before it.'",
    "COMMENT ON COLUMN sona.version_gates.differing IS 'Decisions that the two versions would have answered differently.'",
    "COMMENT ON COLUMN sona.version_gates.difference IS 'Mean quality of the judged version less that of the reference; low "
    "and high each hold with the confidence, at any time.'",
    "COMMENT ON COLUMN sona.version_gates.judgement IS 'open; accepted: shown not to be worse by the margin, and watched "
    "on; promoted; rejected; rolled back; undecided: after most_decisions; ended: by another change of the live version.'",
    VIEW,
    "COMMENT ON VIEW sona.gates IS E'How each new version was judged against the one before.\\nExample: SELECT version, "
    "reference, judgement, decisions, difference, low, high FROM sona.gates WHERE space = ''support'' ORDER BY version DESC'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP VIEW sona.gates")
    op.execute("DROP TABLE sona.version_gates")
