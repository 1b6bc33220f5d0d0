"""First look at a file before anything of it is recorded: a wrong scale or encoding would let a part of its rows in."""

from __future__ import annotations

from sona_pg.errors import InvalidValue
from sona_pg.transfer.import_source import ImportWanted, open_source
from sona_pg.transfer.row_mapping import RowMapping

SCALES = ((-1, 1), (1, 5), (0, 5), (1, 10), (0, 10), (0, 100))  # of ratings, the likelier ones first


def require_scale_and_encoding(wanted: ImportWanted) -> None:
    """Read a file through, unless it was told how its ratings are scaled and, of CSV, how it is encoded.

    Raises:
        InvalidValue: qualities are outside of 0 to 1, or rows of CSV are not UTF-8; or as ``open_source``.
    """
    mapping = wanted.mapping or RowMapping()
    low = high = first = None
    with open_source(wanted) as source:
        encoded = wanted.encoding is None and source.headings() is not None
        if mapping.scale is not None and not encoded:
            return
        for row in source.rows():
            if encoded and row.is_misread:
                raise InvalidValue(
                    f"line {row.line} of {wanted.path} is {row.reason}; nothing was recorded "
                    "(--encoding utf-8 rejects such rows, and records the others)"
                )
            if row.content is None or mapping.scale is not None:
                continue
            rating = mapping.rating_of(row.content)
            if rating is None:
                continue
            low, high = min(rating, rating if low is None else low), max(rating, rating if high is None else high)
            if first is None and not 0 <= rating <= 1:
                first = row.line
    if first is not None and low is not None and high is not None:
        raise InvalidValue(
            f"{wanted.path} has qualities from {low:g} to {high:g}, outside of 0 to 1 for the first time in line "
            f"{first}; nothing was recorded: tell the ratings that mean 0 and 1, as in --scale {_scale_of(low, high)} "
            "(--scale 0:1 rejects such rows, and records the others)"
        )


def _scale_of(low: float, high: float) -> str:
    """Return the likeliest scale of ratings from ``low`` to ``high``."""
    for least, most in SCALES:
        if least <= low and high <= most:
            return f"{least}:{most}"
    return f"{low:g}:{high:g}"
