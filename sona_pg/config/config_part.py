"""Base of every part of a configuration: remembers the fields named by the caller, and checks their types."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Self

from sona_pg.config.sona_names import require_known
from sona_pg.errors import ConfigError


class ConfigPart:
    """Base of the parts: remembers the names of the given fields.

    ``MicroConfig(rank=2)`` equals ``MicroConfig()``, but names the rank: a space with another rank is then refused.
    """

    __slots__ = ("_given",)
    _given: frozenset[str]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Store which fields are given, by position or by name; ``ConfigError`` if there is none of a name."""
        made = super().__new__(cls)
        in_order = [known.name for known in dataclasses.fields(cls)]  # type: ignore[arg-type]
        require_known(cls.__name__, kwargs, in_order)
        object.__setattr__(made, "_given", frozenset(in_order[: len(args)]) | kwargs.keys())
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle the named fields as well."""
        values = {known.name: getattr(self, known.name) for known in dataclasses.fields(self)}  # type: ignore[arg-type]
        return _restored, (type(self), values, self._given)

    @property
    def given(self) -> frozenset[str]:
        """The fields that were named, and those that differ from their default."""
        different = {
            known.name
            for known in dataclasses.fields(self)  # type: ignore[arg-type]
            if known.default is not dataclasses.MISSING and getattr(self, known.name) != known.default
        }
        return self._given | different


def _restored(made: type[ConfigPart], values: dict[str, Any], given: frozenset[str]) -> ConfigPart:
    part = made(**values)
    object.__setattr__(part, "_given", given)
    return part


def require(condition: bool, name: str, value: object, expected: str) -> None:
    """Raise ``ConfigError`` unless ``condition`` holds."""
    if not condition:
        raise ConfigError(f"{name}={value!r} cannot work: expected {expected}")


def require_types(config: Any, part: str) -> None:
    """Raise ``ConfigError`` for values of the wrong type, such as a fraction for a whole number."""
    for known in dataclasses.fields(config):
        value = getattr(config, known.name)
        fits, expected = {
            "int": (isinstance(value, int) and not isinstance(value, bool), "a whole number"),
            "float": (isinstance(value, int | float) and not isinstance(value, bool), "a number"),
            "bool": (isinstance(value, bool), "True or False"),
        }.get(str(known.type), (True, ""))
        require(fits, f"{part}.{known.name}", value, expected)
        if isinstance(value, float):
            require(math.isfinite(value), f"{part}.{known.name}", value, "a finite number")
