"""Contents of candidates: the text or document that a candidate's id stands for.

The previous release neither reads nor writes them.
"""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

STEPS = [
    """
    CREATE TABLE IF NOT EXISTS sona.candidate_contents (
        space_id int NOT NULL REFERENCES sona.spaces,
        candidate_id text COLLATE "C" NOT NULL CHECK (octet_length(candidate_id) BETWEEN 1 AND 1000),
        content jsonb NOT NULL CHECK (jsonb_typeof(content) = 'object'),
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (space_id, candidate_id)
    )
    """,
    "COMMENT ON TABLE sona.candidate_contents IS 'Text or document behind the id of a candidate, as JSON. No cycle reads "
    "it; ids sort by bytes, so that those with a common beginning are neighbours.'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE sona.candidate_contents")
