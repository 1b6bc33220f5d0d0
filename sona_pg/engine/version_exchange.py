"""Versions: copies between stores and files, and comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import SonaConfig
from sona_pg.domain.space import Space
from sona_pg.domain.state import Arrays, LearnedState
from sona_pg.domain.topic import TopicNames
from sona_pg.domain.version import Difference, VersionDifference
from sona_pg.domain.wording import title, wordings
from sona_pg.engine.session import Session
from sona_pg.errors import DimensionMismatch, SettingsConflict, StorageError
from sona_pg.learning.knowledge import initial_state
from sona_pg.learning.ranking.relocation import relocated
from sona_pg.serving.served_version import ServedVersion
from sona_pg.serving.version_file import MAGIC, VersionFile, pack, unpack
from sona_pg.store.database import Database
from sona_pg.store.snapshots import Snapshot
from sona_pg.store.versions import Loaded
from sona_pg.store.whole_file import whole_file


def save(database: Database, space: Space, path: Path, version: int | None) -> None:
    """Write a version to ``path``, atomically; ``StorageError`` if the file cannot be written."""
    number, held, catalog = database.versions.exported(space, version)
    state, patterns, fisher = (None, [], []) if held is None else (held.state, held.patterns, held.fisher)
    retired = frozenset(database.retirements.retired(space)).intersection(catalog.ids)
    parts = pack(space, Snapshot(number, state, patterns, catalog, retired=retired), fisher)
    try:
        with whole_file(path) as beside, beside.open("wb") as file:
            file.writelines(parts)
    except OSError as exc:
        raise StorageError(f"the version cannot be written to {path}: {exc.strerror}") from exc


def read(path: Path, dim: int) -> VersionFile | None:
    """Return the version that ``save`` wrote to ``path``; None for another file, such as adapters alone.

    Raises:
        StorageError: the file cannot be read, was cut short or changed, or is of a later release.
        DimensionMismatch: it is of another dimension.
    """
    try:
        whole = path.read_bytes()
    except OSError as exc:
        raise StorageError(f"no version can be read from {path}: {exc.strerror}") from exc
    if not whole.startswith(MAGIC) and not MAGIC.startswith(whole):
        return None
    found = unpack(whole, path)
    if found.space.dim != dim:
        raise DimensionMismatch(dim, found.space.dim, f"the version in {path}")
    _require_finite(found, path)
    return found


def serve(session: Session, path: Path) -> None:
    """Serve the version of a file, or the adapters of an earlier release's, until a newer version is published."""
    found = read(path, session.hot.dim)
    if found is None:
        session.load_adapters(path)
    else:
        session.serve_instead(_beside(session.serving, found, session.config), str(path))


def publish(session: Session, path: Path, keep_facts: bool) -> int:
    """Make the version of a file the live one of the session's space; return its number there."""
    found, space = read(path, session.hot.dim), session.space
    if found is None:
        raise StorageError(f"{path} holds no whole version to publish: expected a file of SonaEngine.save")
    nothing = initial_state(space.dim, session.config)
    state = found.snapshot.state or nothing
    _require_fit(state, nothing, path, space)
    loaded = Loaded(
        f"version {found.snapshot.version} of space {found.space.name!r} in {path}",
        state,
        found.snapshot.patterns,
        found.fisher,
        found.snapshot.catalog,
        found.snapshot.retired,
    )
    return session.database.versions.put_in(space, session.server_id, loaded, relocated, keep_facts=keep_facts)


def _beside(serving: ServedVersion, found: VersionFile, config: SonaConfig) -> ServedVersion:
    """Return the version of a file as this server serves it: under the live number, with the candidates of both."""
    catalog = serving.catalog.followed_by(found.snapshot.catalog)
    state = found.snapshot.state
    snapshot = Snapshot(
        serving.version,
        None if state is None else relocated(state, catalog.slots(found.snapshot.catalog.ids)),
        found.snapshot.patterns,
        catalog,
    )
    return ServedVersion.of(snapshot, found.space.dim, config)


def compare(database: Database, space: Space, a: int, b: int) -> VersionDifference:
    """Return the differences of two versions, with the movement of each array."""
    found: dict[str, list[Difference]] = {"pattern": [], "route": [], "adapter": [], "array": []}
    listed = named(database, space, database.versions.diff(space, a, b))
    arrays = [
        {} if version == 0 else database.load_version(space, version).arrays
        for version in (a, b)
        if any(item.part == "array" for item in listed)
    ]
    for item in listed:
        found[item.part].append(_with_movement(item, *arrays) if item.part == "array" else item)
    return VersionDifference(a, b, found["pattern"], found["route"], found["adapter"], found["array"])


def named(database: Database, space: Space, found: Sequence[Difference]) -> list[Difference]:
    """Return differences of which those of patterns say which topic they are about."""
    names = TopicNames(database.topics.listing(space))
    return [dataclasses.replace(one, topic=_topic(one, names)) if one.part == "pattern" else one for one in found]


def _topic(found: Difference, names: TopicNames) -> str | None:
    query = (found.after or found.before or {}).get("typical_query")
    return names.of(UUID(found.name)) or (None if query is None else title(wordings([query])))


def _with_movement(item: Difference, before: Mapping[str, Arrays], after: Mapping[str, Arrays]) -> Difference:
    part, _, name = item.name.partition("/")
    old, new = before.get(part, {}).get(name), after.get(part, {}).get(name)
    moved = None if old is None or new is None else _movement(old, new)
    return item if item.after is None else dataclasses.replace(item, after={**item.after, "moved": moved})


def _movement(old: NDArray[np.generic], new: NDArray[np.generic]) -> float | None:
    """Return |new - old| / |old|; None if the arrays are not comparable."""
    if old.shape != new.shape or old.dtype.kind != "f":
        return None
    length = float(np.linalg.norm(old.astype(np.float64)))
    apart = float(np.linalg.norm(new.astype(np.float64) - old.astype(np.float64)))
    return apart / length if length > 0 else None


def _require_finite(found: VersionFile, path: Path) -> None:
    state, patterns = found.snapshot.state, found.snapshot.patterns
    weights = [] if state is None else [factor for lora in (state.micro, *state.base) for factor in (lora.a, lora.b)]
    if not all(np.isfinite(values).all() for values in [*weights, *(pattern.centroid for pattern in patterns)]):
        raise StorageError(f"{path} holds values that are not finite: they would poison every answer; save again")


def _require_fit(state: LearnedState, ours: LearnedState, path: Path, space: Space) -> None:
    """Raise ``SettingsConflict`` unless learning in the space can continue from ``state``."""
    told, expected = ((of.micro.rank, of.base[0].rank, len(of.base)) for of in (state, ours))
    for name, theirs, here in zip(("micro.rank", "base.rank", "base.layers"), told, expected, strict=True):
        if theirs != here:
            raise SettingsConflict(
                f"the version in {path} was learned with {name}={theirs}, space {space.name!r} learns with "
                f"{name}={here}: publish it in a space with the same setting"
            )
