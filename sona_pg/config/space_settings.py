"""Learning settings of a space, by dotted name (``base.rank``): kept with the space, the same for every learner.

A configuration *wishes* for the settings that its caller named (``ConfigPart.given``), and takes the space's own for
all others: ``config=None`` and ``SonaConfig()`` wish for none. A new space gets all settings of the configuration it is
first opened with.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from sona_pg.config.cost_part import CostConfig
from sona_pg.config.gate_part import GateConfig
from sona_pg.config.graph_parts import DreamConfig, GraphConfig
from sona_pg.config.learning_parts import BaseConfig, EwcConfig, MicroConfig, PatternConfig
from sona_pg.config.running_parts import LoopConfig
from sona_pg.config.sona_config import SonaConfig
from sona_pg.errors import ConfigError, SettingsConflict

Settings = Mapping[str, Any]

PARTS: Mapping[str, type] = {
    "micro": MicroConfig,
    "base": BaseConfig,
    "ewc": EwcConfig,
    "patterns": PatternConfig,
    "graph": GraphConfig,
    "dreams": DreamConfig,
    "gate": GateConfig,
    "loops": LoopConfig,
    "costs": CostConfig,
}
OF_PROCESS = frozenset({"loops.automatic", "loops.poll_interval", "loops.recent", "loops.slice"})
TYPES: Mapping[str, str] = {
    f"{part}.{known.name}": str(known.type)
    for part, made in PARTS.items()
    for known in dataclasses.fields(made)
    if f"{part}.{known.name}" not in OF_PROCESS
}
OF_PART = {part: [name for name in TYPES if name.startswith(f"{part}.")] for part in PARTS}
# Shapes of learned arrays: they may grow, never shrink.
GROWING = ("micro.rank", "base.rank", "base.layers")

# Defaults of the release that kept no settings with a space (schema revision 0005). A space of that time has these
# until they are set, whatever today's defaults, so that a rebuild equals its live state.
FIRST: Settings = {
    "micro.rank": 2,
    "micro.learning_rate": 0.05,
    "micro.max_norm": 1.0,
    "base.rank": 8,
    "base.learning_rate": 0.05,
    "base.layers": 12,
    "base.passes": 5,
    "base.max_norm": 64.0,
    "costs.unit": "",
    "ewc.fisher": "kronecker",
    "ewc.sketch": 128,
    "ewc.lambda_": 1000.0,
    "ewc.lambda_min": 100.0,
    "ewc.lambda_max": 15_000.0,
    "ewc.max_tasks": 10,
    "ewc.fisher_decay": 0.999,
    "ewc.boundary_threshold": 4.0,
    "patterns.clusters": 100,
    "patterns.max_iterations": 100,
    "patterns.tolerance": 0.001,
    "patterns.min_size": 5,
    "patterns.quality_threshold": 0.3,
    "patterns.merge_similarity": 0.95,
    "patterns.decay": 0.99,
    "patterns.success_quality": 0.7,
    "patterns.failure_quality": 0.3,
    "patterns.failing_reward": 0.0,
    "graph.nodes": 10_000,
    "graph.degree": 16,
    "graph.half_life": 30.0,
    "dreams.count": 50,
    "dreams.path": 15,
    "dreams.creative_jump": 0.3,
    "dreams.restart": 0.1,
    "dreams.temperature": 1.0,
    "dreams.novelty": 0.3,
    "dreams.coherence": 0.4,
    "dreams.utility": 0.3,
    "dreams.least_quality": 0.5,
    "dreams.least_integration": 0.1,
    "dreams.edge_weight": 0.1,
    "dreams.exploration": 0.0,
    "dreams.interval": 604_800.0,
    "dreams.budget": 600.0,
    "gate.mode": "watch",
    "gate.margin": 0.05,
    "gate.confidence": 0.95,
    "gate.decisions": 1000,
    "gate.share": 0.0,
    "loops.background_interval": 3600.0,
    "loops.min_trajectories": 100,
    "loops.growth": 0.1,
    "loops.shortest_interval": 30.0,
    "loops.replay": 8192,
    "loops.seed": 0,
}


def settings_of(config: SonaConfig) -> dict[str, Any]:
    """Return all settings of a space in ``config``."""
    return {name: _valued(name, _read(config, name)) for name in TYPES}


def wishes_of(config: SonaConfig) -> dict[str, Any]:
    """Return the settings of a space that the caller of ``config`` has named."""
    return {
        f"{part}.{field}": _valued(f"{part}.{field}", getattr(getattr(config, part), field))
        for part in PARTS
        for field in sorted(getattr(config, part).given)
        if f"{part}.{field}" in TYPES
    }


def completed(stored: Settings, found: Settings) -> dict[str, Any]:
    """Return the complete settings of a space from ``stored`` ones; without any, from the shapes ``found`` in it."""
    defaults = _defaults()
    first = {} if stored else {**FIRST, **found}
    return {name: _valued(name, stored.get(name, first.get(name, default))) for name, default in defaults.items()}


def _like(name: str) -> str:
    """Return the settings of the part that ``name`` tells, else the parts: all together are too many to read."""
    names = OF_PART.get(name.partition(".")[0])
    return f"one of {', '.join(names)}" if names else f"one of those of {', '.join(PARTS)}, as base.rank"


def applied(config: SonaConfig, settings: Settings) -> SonaConfig:
    """Return ``config`` with the settings of a space; settings of the process are unchanged.

    Raises:
        ConfigError: a setting is unknown, or has an invalid value.
    """
    for name in settings:
        if name not in TYPES:
            raise ConfigError(f"there is no setting {name!r} of a space: expected {_like(name)}")
    parts = {}
    for part, made in PARTS.items():
        now = getattr(config, part)
        if all(getattr(now, name[len(part) + 1 :]) == settings.get(name) for name in OF_PART[part]):
            continue
        values = {
            known.name: settings.get(f"{part}.{known.name}", getattr(now, known.name))
            for known in dataclasses.fields(made)
        }
        parts[part] = made(**values)
    return config.replace(**parts) if parts else config


def changed(own: Settings, changes: Mapping[str, Any], *, learned: bool = True) -> dict[str, Any]:
    """Return the settings ``own`` of a space with ``changes``; ``learned``: whether it has a version yet.

    Raises:
        ConfigError: a setting is unknown, has an invalid value, or would cut learned state.
    """
    wanted = settings_of(applied(applied(SonaConfig(), own), changes))
    for name in GROWING:
        if learned and wanted[name] < own[name]:
            raise ConfigError(
                f"{name} cannot shrink from {own[name]} to {wanted[name]}: learned state would be cut; "
                "create another space for it"
            )
    return wanted


def require_agreement(space: str, own: Settings, wished: Settings) -> None:
    """Raise ``SettingsConflict``, which names both values, if a space has other settings than wished for."""
    apart = [name for name, value in wished.items() if own[name] != value]
    if not apart:
        return
    told = ", ".join(f"{name}={own[name]!r}, not {wished[name]!r}" for name in apart)
    again = " ".join(f"{name}={wished[name]}" for name in apart)
    raise SettingsConflict(
        f"space {space!r} learns with {told}: open it without naming {'this' if len(apart) == 1 else 'these'}, or "
        f"change its settings, for every learner, by engine.set_settings or `sona-pg space set {space} {again}`"
    )


def parsed(told: str) -> tuple[str, Any]:
    """Return name and value of a setting written as ``name=value``.

    Raises:
        ConfigError: the text has another form, or the setting is unknown.
    """
    name, _, text = told.partition("=")
    if name not in TYPES or not (text or name == "costs.unit"):
        raise ConfigError(f"{told!r} is no setting: expected name=value with {_like(name)}")
    kind = TYPES[name]
    try:
        return name, int(text) if kind == "int" else float(text) if kind == "float" else text
    except ValueError as exc:
        raise ConfigError(f"{name}={text!r} cannot work: expected a {'whole ' * (kind == 'int')}number") from exc


@functools.cache
def _defaults() -> Settings:
    return settings_of(SonaConfig())


def _read(config: SonaConfig, name: str) -> Any:
    part, _, field = name.partition(".")
    return getattr(getattr(config, part), field)


def _valued(name: str, value: Any) -> Any:
    return float(value) if TYPES[name] == "float" else value
