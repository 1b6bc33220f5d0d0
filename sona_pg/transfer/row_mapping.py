"""Mapping of a file's own headings, ratings and times to the fields of an import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any

from sona_pg.errors import InvalidValue
from sona_pg.transfer.json_codec import read_cell
from sona_pg.transfer.log_row import FIELDS, time_as_number
from sona_pg.transfer.row_source import JSON_CELLS

DAY_FIRST = ("%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S")  # as 14.10.2026; with slashes the order is not clear


@dataclass(frozen=True, slots=True)
class RowMapping:
    """How rows of a file are read as rows of an import.

    Raises:
        InvalidValue: a field is none of an import or has two headings, or the scale is empty.
    """

    names: Mapping[str, str] = field(default_factory=dict)  # field of an import by the file's own heading
    scale: tuple[float, float] | None = None  # ratings that mean quality 0 and 1
    zone: tzinfo | None = None  # of times that tell none

    def __post_init__(self) -> None:
        unknown = sorted(set(self.names.values()) - FIELDS)
        if unknown:
            raise InvalidValue(f"{unknown[0]!r} is no field of an import: expected one of {', '.join(sorted(FIELDS))}")
        fields = list(self.names.values())
        for name in fields:
            if fields.count(name) > 1:
                raise InvalidValue(f"two headings are mapped to {name}: expected one")
        if self.scale is not None and not self.scale[0] < self.scale[1]:
            low, high = self.scale
            raise InvalidValue(f"a scale from {low:g} to {high:g} is empty: expected LOW:HIGH, as 1:5")

    def apply(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return a row in the terms of an import; what cannot be read stays, for the import to refuse.

        A mapped column counts in place of one that has the field's name, where its cell is empty too.

        Raises:
            InvalidValue: a rating is not on the scale.
        """
        fields = self.names.values()
        found = {name: value for name, value in content.items() if name not in self.names and name not in fields}
        found.update((self.names[name], value) for name, value in content.items() if name in self.names)
        for name in fields:
            value = found.get(name)
            if name in JSON_CELLS and isinstance(value, str) and value.lstrip()[:1] in ("[", "{"):
                try:
                    found[name] = read_cell(value)
                except (ValueError, RecursionError) as exc:
                    raise InvalidValue(f"{name} is no JSON: {exc}") from exc
        if "started_at" in found:
            found["started_at"] = self._time(found["started_at"])
        if self.scale is not None:
            self._rescale(found)
            facts = found.get("feedback")
            if isinstance(facts, list):
                found["feedback"] = [dict(fact) if isinstance(fact, dict) else fact for fact in facts]
                for fact in found["feedback"]:
                    if isinstance(fact, dict):
                        self._rescale(fact)
        return found

    def _time(self, value: Any) -> Any:
        """Return a time as ISO 8601 with its zone; as it is where that is not told."""
        if not isinstance(value, str):
            return value
        at = _parsed(value.strip())
        if at is None:
            return value
        zone = at.tzinfo or self.zone
        return at.isoformat() if zone is None else at.replace(tzinfo=zone).isoformat()

    def _rescale(self, content: dict[str, Any]) -> None:
        assert self.scale is not None
        low, high = self.scale
        told = content.get("quality")
        if told is None or isinstance(told, bool):
            return
        try:
            rating = float(told)
        except (TypeError, ValueError):
            return
        if not low <= rating <= high:
            raise InvalidValue(f"quality is {told!r:.60}, expected a number from {low:g} to {high:g}")
        content["quality"] = (rating - low) / (high - low)


def _parsed(value: str) -> datetime | None:
    if time_as_number(value) is not None:
        return None
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        pass
    for form in DAY_FIRST:
        try:
            return datetime.strptime(value, form)
        except ValueError:
            continue
    return None
