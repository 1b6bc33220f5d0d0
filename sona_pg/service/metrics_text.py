"""Figures of the service in Prometheus' text format: requests, this process's open spaces, and all of the store."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from fastapi import FastAPI

from sona_pg.domain.figure_text import figure_lines, gauge_lines, of_space
from sona_pg.domain.space_figures import SpaceFigures
from sona_pg.engine.process_figures import process_figures
from sona_pg.errors import DatabaseUnavailable, SonaError
from sona_pg.service.operations import ServiceState

log = logging.getLogger("sona_pg.service")

STARTING = "the service is starting\n"
MOST_SPACES = 1_000  # with figures of their own: each is some twenty series of Prometheus

UPKEEP = {
    "maintained": ("sona_maintained_timestamp_seconds", "When maintenance of the store ended well last."),
    "dumped": ("sona_dumped_timestamp_seconds", "When `sona-pg dump` ended well last; absent if it never did."),
}
# name in Prometheus, kind, help, and where the figure is in SonaEngine.metrics(), or in SpaceFigures
SPACE_FIGURES = (
    ("sona_version", "gauge", "State version that this server serves.", ("version",)),
    ("sona_version_age_seconds", "gauge", "Age of the version that is served.", ("version_age_seconds",)),
    ("sona_patterns", "gauge", "Patterns of the version that is served.", ("patterns",)),
    ("sona_recorded_total", "counter", "Records accepted by this process.", ("recorded",)),
    ("sona_dropped_total", "counter", "Records refused because the buffer was full.", ("dropped",)),
    (
        "sona_conflicting_total",
        "counter",
        "Trajectories recorded again under a stored id with other contents, which are not stored.",
        ("server", "writer", "conflicting"),
    ),
    ("sona_abandoned_total", "counter", "Trajectories that were never ended.", ("abandoned",)),
    ("sona_queue_records", "gauge", "Records in memory that the writer has not taken yet.", ("waiting",)),
    (
        "sona_uncommitted_records",
        "gauge",
        "Records accepted by this process and not committed yet, in memory or in the spool.",
        ("server", "writer", "waiting"),
    ),
    (
        "sona_uncommitted_seconds",
        "gauge",
        "Age of the oldest record that is not committed yet, at most; 0 if none waits.",
        ("server", "writer", "waiting_seconds"),
    ),
    (
        "sona_failures_total",
        "counter",
        "Cycles and version changes that failed in this process.",
        ("server", "failed_cycles"),
    ),
    ("sona_live_version", "gauge", "State version that servers are to serve; 0 before any.", ("store", "live_version")),
    (
        "sona_live_version_age_seconds",
        "gauge",
        "Age of that version; before any, of the space.",
        ("store", "live_version_age"),
    ),
    ("sona_trajectories_total", "counter", "Trajectories of the space, of all servers.", ("store", "trajectories")),
    ("sona_feedback_total", "counter", "Facts of feedback of the space, of all servers.", ("store", "feedback")),
    ("sona_unlearned_facts", "gauge", "Facts that wait to be learned.", ("store", "unlearned")),
    (
        "sona_unlearned_seconds",
        "gauge",
        "Time since the oldest of them was committed; 0 if none waits.",
        ("store", "unlearned_age"),
    ),
    (
        "sona_failed_cycles",
        "gauge",
        "Cycles of the space that failed since its live version was made, in any process.",
        ("store", "failed_cycles"),
    ),
    (
        "sona_strayed_feedback",
        "gauge",
        "Facts of the last 7 days, an hour old or more, on ids without a record in the space, but for those from "
        "before what retention keeps; at most 10 minutes old.",
        ("store", "strayed"),
    ),
)


def metrics_text(state: ServiceState, space_id: int | None) -> str:
    """Return the figures of all spaces, or of the one with this number; not on an event loop, for it asks the database.

    What the database would have told is left out while it does not answer, and ``sona_database_up`` says so.
    """
    engines = [(name, engine.engine) for name, engine in list(state.spaces.opened.items())]
    is_up = not any(engine.is_cut_off for _, engine in engines)
    stored: list[SpaceFigures] = []
    upkeep: Mapping[str, datetime] = {}
    strayed: Mapping[int, int] | None = None
    if is_up:
        try:
            stored = state.store.space_figures(space_id)
            upkeep = state.store.upkeep_times() if space_id is None else {}
            strayed = state.strayed.of(state.store)
        except DatabaseUnavailable:
            is_up = False
        except SonaError as exc:  # a role without grants: the rest is served
            log.warning("figures of the store are left out: %s", exc)
    own: dict[int | str, dict[str, Any]] = {}  # by the number of the space, or its name until that is known
    for name, engine in engines:
        if space_id not in (None, engine.space_id):
            continue
        try:
            own[name if engine.space_id is None else engine.space_id] = {"name": name, **process_figures(engine)}
        except SonaError:
            continue  # removed, or closing: it has no figures
    listed, left_out = _listed(own, stored, strayed)
    lines = [
        *state.figures.lines(),
        *gauge_lines("sona_database_up", "Whether the database has answered lately (1) or not (0).", is_up),
        *(gauge_lines("sona_spaces", "Spaces that this request may see.", len(stored)) if stored else ()),
        *gauge_lines("sona_spaces_unlisted", f"Spaces beyond {MOST_SPACES:,}, without figures here.", left_out),
        *(line for done, at in upkeep.items() for line in gauge_lines(*UPKEEP[done], at.timestamp())),
        *space_lines(listed),
    ]
    return "\n".join(lines) + "\n"


def figures(app: FastAPI) -> tuple[int, str]:
    """Return status and text of the figures of all spaces, for a port that asks for no key."""
    state: ServiceState | None = getattr(app.state, "service", None)
    return (503, STARTING) if state is None else (200, metrics_text(state, None))


def health(app: FastAPI) -> tuple[int, str]:
    """Return status and text of the health of this process, whatever the database does."""
    return (503, STARTING) if getattr(app.state, "service", None) is None else (200, "ok\n")


def _listed(
    own: Mapping[int | str, Mapping[str, Any]], stored: Iterable[SpaceFigures], strayed: Mapping[int, int] | None
) -> tuple[dict[str, dict[str, Any]], int]:
    """Return the figures of spaces by name, and how many are left out: failing and open spaces come first."""
    known: dict[int | str, dict[str, Any]] = {key: dict(figures) for key, figures in own.items()}
    for one in sorted(stored, key=lambda one: (one.failed_cycles == 0, one.space_id not in own, one.space_id)):
        counted = {} if strayed is None else {"strayed": strayed.get(one.space_id, 0)}
        known.setdefault(one.space_id, {}).update(name=one.name, store=asdict(one) | counted)
    found = list(known.values())
    return {figures["name"]: figures for figures in found[:MOST_SPACES]}, len(found[MOST_SPACES:])


def space_lines(figures: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Give the figures of spaces, by name."""
    for name, kind, told, path in SPACE_FIGURES:
        found = list(_found(figures, path))
        if found:
            yield from figure_lines(name, kind, told, ((of_space(space), value) for space, value in found))


def _found(figures: Mapping[str, Mapping[str, Any]], path: Iterable[str]) -> Iterator[tuple[str, float]]:
    for space, known in figures.items():
        value: Any = known
        for step in path:
            value = value.get(step) if isinstance(value, Mapping) else None
        if isinstance(value, int | float):
            yield space, float(value)
