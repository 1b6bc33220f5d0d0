"""Mapping of a file's own headings, ratings and times to the fields of an import."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any

from sona_pg.errors import InvalidValue
from sona_pg.transfer.log_row import number_in, time_as_number
from sona_pg.transfer.mapped_field import MappedField, labels, read_field

DAY_FIRST = ("%d.%m.%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y %H:%M:%S")  # as 14.10.2026; with slashes the order is not clear
NUMBERS = ("quality", "latency", "cost")  # columns of numbers
MARKS = (".", ",")  # decimal marks
DIRECTIVE = re.compile("%(.)")  # of strptime


@dataclass(frozen=True, slots=True)
class RowMapping:
    """How rows of a file are read as rows of an import.

    Raises:
        InvalidValue: a field is none of an import or has two headings, the scale is empty, or the date format tells no
            date.
    """

    names: Mapping[str, str] = field(default_factory=dict)  # as MappedField tells it, by the file's own heading
    scale: tuple[float, float] | None = None  # ratings that mean quality 0 and 1
    zone: tzinfo | None = None  # of times that tell none
    decimal: str = "."  # mark in the numbers of ``NUMBERS``
    date_format: str | None = None  # of strptime, for every started_at that is a text
    ratings: Mapping[str, float] = field(default_factory=dict)  # numbers that texts in the place of a quality mean
    fields: Mapping[str, MappedField] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", {heading: read_field(told) for heading, told in self.names.items()})
        targets = [target.name for target in self.fields.values()]
        for name in targets:
            if targets.count(name) > 1 and name != "context":
                raise InvalidValue(f"two headings are mapped to {name}: expected one")
        if self.scale is not None:
            low, high = self.scale
            if not low < high:
                raise InvalidValue(f"a scale from {low:g} to {high:g} is empty: expected LOW:HIGH, as 1:5")
            if not math.isfinite(high - low):
                raise InvalidValue(f"a scale from {low:g} to {high:g} has no end: expected LOW:HIGH, as 1:5")
        if self.decimal not in MARKS:
            raise InvalidValue(f"the decimal mark is {self.decimal!r}: expected . or ,")
        if self.date_format is not None:
            _require_date(self.date_format)

    def apply(self, content: dict[str, Any]) -> dict[str, Any]:
        """Return a row in the terms of an import; what cannot be read stays, for the import to refuse.

        A mapped column counts in place of one that has the field's name, where its cell is empty too. Only columns are
        rescaled: qualities within ``feedback`` are 0 to 1 as they stand.

        Raises:
            InvalidValue: a rating is not on the scale, or a time or a number is written in another way.
        """
        targets = {target.name for target in self.fields.values()}
        found = {name: value for name, value in content.items() if name not in self.fields and name not in targets}
        for heading, target in self.fields.items():
            if heading in content:
                value = target.read(content[heading])
                found[target.name] = [*labels(found[target.name]), *labels(value)] if target.name in found else value
        if "started_at" in found:
            found["started_at"] = self._time(found["started_at"])
        if "quality" in found:
            found["quality"] = self._rated(found["quality"])
        self._read_numbers(found)
        if self.scale is not None:
            self._rescale(found)
        return found

    def rating_of(self, content: dict[str, Any]) -> float | None:
        """Return the rating of a row as it stands, before the scale; None: it tells no number."""
        heading = next((heading for heading, target in self.fields.items() if target.name == "quality"), "quality")
        value = self._rated(content.get(heading))
        return as_number(value.replace(self.decimal, ".") if isinstance(value, str) else value)

    def _rated(self, value: Any) -> Any:
        return self.ratings.get(value.strip(), value) if isinstance(value, str) else value

    def _read_numbers(self, found: dict[str, Any]) -> None:
        if self.decimal != ".":
            for name in NUMBERS:
                value = found.get(name)
                if not isinstance(value, str):
                    continue
                if "." in value:
                    raise InvalidValue(f"{name} is {value!r:.60}, expected a number such as 1234{self.decimal}5")
                found[name] = value.replace(self.decimal, ".")
        for target in self.fields.values():
            if target.factor != 1.0 and (number := as_number(found.get(target.name))) is not None:
                found[target.name] = number * target.factor

    def _time(self, value: Any) -> Any:
        """Return a time as ISO 8601 with its zone; as it is where that is not told."""
        if not isinstance(value, str):
            return value
        at = _parsed(value.strip()) if self.date_format is None else _by_format(value.strip(), self.date_format)
        if at is None:
            return value
        zone = at.tzinfo or self.zone
        return at.isoformat() if zone is None else at.replace(tzinfo=zone).isoformat()

    def _rescale(self, content: dict[str, Any]) -> None:
        assert self.scale is not None
        low, high = self.scale
        told = content.get("quality")
        rating = as_number(told)
        if rating is None:
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


def _by_format(value: str, form: str) -> datetime:
    try:
        return datetime.strptime(value, form)
    except ValueError as exc:
        raise InvalidValue(f"started_at is {value!r:.60}, expected a time written as --date-format {form!r}") from exc


def _require_date(form: str) -> None:
    """Refuse a format that strptime cannot read, that does not tell year, month and day, or that names zones."""
    if "Z" in DIRECTIVE.findall(form):  # strptime reads the name, and returns a time without its zone
        raise InvalidValue(
            f"--date-format {form}: %Z, the name of a zone, cannot be read: use %z, an offset such as +0200, "
            "or --timezone"
        )
    probe = datetime(2026, 11, 22, 14, 30, 15, tzinfo=UTC)
    try:
        told = datetime.strptime(probe.strftime(form), form).date() == probe.date()
    except ValueError:
        told = False
    if not told:
        raise InvalidValue(f"--date-format {form}: expected a format with year, month and day, as '%m/%d/%Y %I:%M %p'")


def as_number(value: Any) -> float | None:
    """Return a number, or a text that is one; None for other values."""
    if value is None or isinstance(value, bool):
        return None
    try:
        return number_in(value) if isinstance(value, str) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
