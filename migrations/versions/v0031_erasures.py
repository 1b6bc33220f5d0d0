"""Erasures of a user's data: one row each, with its phase and its signed receipt.

The previous release neither reads nor writes them: a learner of that release learns from records that arrive late.
"""

from __future__ import annotations

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

STEPS = [
    """
    CREATE TABLE IF NOT EXISTS sona.erasures (
        space_id int NOT NULL REFERENCES sona.spaces,
        erasure_id uuid NOT NULL,
        kind text NOT NULL CHECK (kind IN ('user', 'session', 'trajectories')),
        hashes bytea NOT NULL CHECK (length(hashes) > 0 AND length(hashes) % 32 = 0),
        until_id uuid NOT NULL,
        first_version bigint NOT NULL CHECK (first_version >= 1),
        phase text NOT NULL CHECK (phase IN ('removed', 'done')),
        requested_at timestamptz NOT NULL,
        finished_at timestamptz,
        removed jsonb NOT NULL,
        late bigint NOT NULL DEFAULT 0 CHECK (late >= 0),
        receipt jsonb,
        PRIMARY KEY (space_id, erasure_id),
        CHECK ((phase = 'done') = (receipt IS NOT NULL))
    )
    """,
    "COMMENT ON TABLE sona.erasures IS 'Erasures of the data of a user, of a session or of single trajectories, with their "
    "signed receipts.'",
    "COMMENT ON COLUMN sona.erasures.hashes IS 'SHA-256 of the erasure''s id followed by a label, 32 bytes for each label: "
    "tells records that arrive late, without naming anybody.'",
    "COMMENT ON COLUMN sona.erasures.until_id IS 'Records of the subject with a smaller id that arrive later are erased as "
    "well; later ones are new consent.'",
    "COMMENT ON COLUMN sona.erasures.first_version IS 'The first version that may have learned from what was removed.'",
    "COMMENT ON COLUMN sona.erasures.phase IS 'removed: the rows are gone, the learned state still holds their influence; "
    "done: it does not.'",
    "COMMENT ON COLUMN sona.erasures.late IS 'Trajectories that arrived after the removal and were erased too.'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE sona.erasures")
