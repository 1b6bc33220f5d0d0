"""Searches of SQL by quality: how many to judge is estimated from the newest, and memory suffices for judging all."""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions.v0043_judged_in_one_go import SIMILAR as BEFORE
from sona_pg.migrations.versions.v0043_judged_in_one_go import _filled

revision = "0044"
down_revision = "0043"
branch_labels = None
depends_on = None

# At a million trajectories the sample takes 20 ms, a scan that finds too few 350 ms. With 4 MB of memory the join that judges
# all would write every embedding to a temporary file.
CHANGES = (
    ("    WHILE min_quality IS NULL OR", """    IF min_quality IS NOT NULL THEN
        IF pg_size_bytes(current_setting('work_mem')) < 67108864 THEN
            SET LOCAL work_mem = '64MB';
        END IF;
        SELECT count(*) FILTER (WHERE j.quality::real >= min_quality::real), count(*) INTO found, sampled
            FROM sona.judged_of(wanted, ARRAY(
                SELECT t.id FROM sona.trajectories t WHERE t.space_id = wanted AND t.id >= lowest ORDER BY t.id DESC LIMIT 1000
            )) j;
        wide := greatest(1000, 2 * k * sampled / greatest(found, 1));
    END IF;
    WHILE min_quality IS NULL OR"""),
    ("    wide bigint := greatest(1000, 4 * k::bigint);\n    found bigint;\n", "    wide bigint;\n    found bigint;\n    sampled bigint;\n"),
    ("'enable_nestloop', 'jit'];", "'enable_nestloop', 'work_mem', 'jit'];"),
    ("        EXECUTE format('SET LOCAL enable_nestloop = %L', before[6]);\n", ""),
)  # fmt: skip


def _changed(text: str) -> str:
    for old, new in CHANGES:
        if text.count(old) != 1:
            raise AssertionError(f"revision 0043 has changed: {old}")
        text = text.replace(old, new)
    return text


def upgrade() -> None:
    op.get_bind().connection.driver_connection.execute(_filled(_changed(BEFORE)))


def downgrade() -> None:
    op.get_bind().connection.driver_connection.execute(_filled(BEFORE))
