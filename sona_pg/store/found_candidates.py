"""Candidates by a part of their id or of their text, for people who look for one to retire or restore."""

from __future__ import annotations

from sqlalchemy import Connection

from sona_pg.domain.overview_figures import CandidateMatch, CandidateMatches
from sona_pg.store.connect import driver_connection

# Reads all ids and texts of a space: people ask seldom, and one at a time.
FIND = """
SELECT f.id, f.text, f.is_retired, count(*) OVER ()
FROM (
    SELECT c.candidate_id AS id, n.content ->> 'text' AS text,
           c.retired_at IS NOT NULL AND c.restored_at IS NULL AS is_retired
    FROM sona.candidates c
    LEFT JOIN sona.candidate_contents n ON n.space_id = %(space)s AND n.candidate_id = c.candidate_id
    WHERE c.space_id = %(space)s
) f
WHERE strpos(lower(f.id), lower(%(find)s)) > 0 OR strpos(lower(f.text), lower(%(find)s)) > 0
ORDER BY lower(f.id) <> lower(%(find)s), f.is_retired, f.id
LIMIT %(most)s
"""


def read_candidates_with(connection: Connection, space_id: int, find: str, most: int) -> CandidateMatches:
    """Return at most ``most`` candidates with ``find`` in id or text, in any case of letters, and how many fit."""
    rows = driver_connection(connection).execute(FIND, {"space": space_id, "find": find, "most": most}).fetchall()
    return CandidateMatches([CandidateMatch(*row[:3]) for row in rows], rows[0][3] if rows else 0)
