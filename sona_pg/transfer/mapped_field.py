"""Field of an import that a heading is mapped to, with a prefix for labels or a factor for numbers."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from sona_pg.errors import InvalidValue
from sona_pg.transfer.json_codec import read_cell
from sona_pg.transfer.log_row import FIELDS
from sona_pg.transfer.row_source import JSON_CELLS

MULTIPLIED = ("latency", "cost")


class MappedField(NamedTuple):
    """A field as ``--map`` tells it: ``text``, ``context:user`` or ``latency*60``."""

    name: str
    prefix: str = ""  # of labels: the value 42 becomes the label user:42
    factor: float = 1.0  # of numbers

    def read(self, value: Any) -> Any:
        """Return the value of a cell: JSON where the field may hold it, labels with their prefix.

        Raises:
            InvalidValue: the cell begins as JSON and is none.
        """
        if self.name in JSON_CELLS and isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
            try:
                value = read_cell(value)
            except (ValueError, RecursionError) as exc:
                raise InvalidValue(f"{self.name} is no JSON: {exc}") from exc
        if not self.prefix:
            return value
        return [self._label(each) for each in labels(value)]

    def _label(self, value: Any) -> Any:
        known = isinstance(value, str | int) and not isinstance(value, bool)
        return f"{self.prefix}:{value}" if known else value  # the import refuses other values


def labels(value: Any) -> list[Any]:
    """Return labels as a list, whether one or several were told."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def read_field(told: str) -> MappedField:
    """Return the field that ``told`` names.

    Raises:
        InvalidValue: it is no field of an import, or its prefix or factor cannot be used.
    """
    name, colon, prefix = told.partition(":")
    name, star, factor = (name, "", "") if colon else told.partition("*")
    name = name.strip()
    if name not in FIELDS:
        raise InvalidValue(f"{name!r} is no field of an import: expected one of {', '.join(sorted(FIELDS))}")
    if colon and (name != "context" or not prefix):
        raise InvalidValue(f"{told!r}: only labels have a prefix, as in context:user")
    if not star:
        return MappedField(name, prefix)
    try:
        number = float(factor)
    except ValueError:
        number = math.nan
    if name not in MULTIPLIED or not 0 < number < math.inf:
        raise InvalidValue(f"{told!r}: expected latency or cost times a number, as in latency*60")
    return MappedField(name, factor=number)
