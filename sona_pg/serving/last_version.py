"""The version that this machine served last, kept in a file for an engine that is opened while the database is away."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.catalog import Catalog
from sona_pg.domain.pattern import LearnedPattern, ParameterRecord, RouteRecord
from sona_pg.domain.space import Space
from sona_pg.domain.state import LearnedState, LoraWeights, RouteStatistics
from sona_pg.domain.verdict import VerdictCounts
from sona_pg.errors import StorageError
from sona_pg.kernels import crc32c
from sona_pg.store.database import Snapshot

log = logging.getLogger(__name__)

MAGIC = b"sona-pg version 1\n"
KEEP_EVERY = 10.0  # seconds between two versions that are kept; the last one is kept at the end
MOST_FILES = 256  # of all spaces; the one that was kept longest ago goes first
MOST_BYTES = 256 << 20  # of one file: a larger version is not kept


class LastVersion:
    """Keeps what an engine serves, not more often than every ``KEEP_EVERY`` seconds."""

    def __init__(self, home: Path, place: str, space: str) -> None:
        """Keep it in a file of ``home`` that belongs to a space of the database at ``place``."""
        self.path = path_for(home, place, space)
        self._kept = 0  # the version in the file
        self._kept_at = -KEEP_EVERY  # monotonic seconds

    def keep(self, space: Space, version: int, snapshot: Callable[[], Snapshot], *, now: bool = False) -> None:
        """Write the version that is served, unless it is there, nothing was learned, or the last was a moment ago."""
        at = time.monotonic()
        if version in (0, self._kept) or (at - self._kept_at < KEEP_EVERY and not now):
            return
        self._kept, self._kept_at = version, at
        try:
            save(self.path, space, snapshot())
        except StorageError as exc:
            log.info("%s", exc)


def path_for(home: Path, place: str, space: str) -> Path:
    """Return the file of a space of the database at ``place``, as ``connect.place_of`` names it."""
    digest = hashlib.blake2b(f"{place}\0{space}".encode(), digest_size=16).hexdigest()
    return home / "served" / f"{digest}.version"


def save(path: Path, space: Space, snapshot: Snapshot) -> bool:
    """Write a version, whole or not at all; return False if it is too large to be kept.

    Raises:
        StorageError: the file cannot be written.
    """
    header, arrays = _packed(space, snapshot)
    text = json.dumps(header).encode()
    parts: list[bytes | memoryview] = [len(text).to_bytes(8, "little"), text, *map(_bytes_of, arrays)]
    if sum(map(len, parts)) > MOST_BYTES:
        return False
    checksum = 0
    for part in parts:
        checksum = crc32c(part, checksum)
    temporary = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with temporary.open("wb") as file:  # part by part: a catalog is not copied
            file.writelines([MAGIC, checksum.to_bytes(4, "little"), *parts])
        temporary.replace(path)
        for _, old in sorted((kept.stat().st_mtime_ns, kept) for kept in path.parent.glob("*.version"))[:-MOST_FILES]:
            old.unlink(missing_ok=True)
    except OSError as exc:
        with suppress(OSError):
            temporary.unlink()
        raise StorageError(f"the version cannot be kept in {path} ({exc.strerror}): make the folder writable") from exc
    return True


def load(path: Path, dim: int) -> tuple[Space, Snapshot] | None:
    """Return the space and version that ``save`` wrote, or None if there is none for ``dim`` that is whole."""
    try:
        whole = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        log.warning("the last version cannot be read from %s (%s)", path, exc.strerror)
        return None
    start = len(MAGIC) + 4
    if not whole.startswith(MAGIC) or crc32c(whole[start:]).to_bytes(4, "little") != whole[len(MAGIC) : start]:
        log.warning("%s holds no version that this release can read: it is passed over", path)
        return None
    size = int.from_bytes(whole[start : start + 8], "little")
    header = json.loads(whole[start + 8 : start + 8 + size])
    if header["space"]["dim"] != dim:
        return None
    return _unpacked(header, whole, start + 8 + size)


def _packed(space: Space, snapshot: Snapshot) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    state = snapshot.state
    centroids = [pattern.centroid for pattern in snapshot.patterns]
    arrays: list[tuple[str, NDArray[Any]]] = [
        ("candidates", snapshot.catalog.halves),
        ("centroids", np.stack(centroids) if centroids else np.zeros((0, space.dim), np.float32)),
    ]
    header: dict[str, Any] = {
        "space": {"space_id": space.space_id, "name": space.name, "dim": space.dim},
        "version": snapshot.version,
        "candidates": list(snapshot.catalog.ids),
        "patterns": [_pattern_row(pattern) for pattern in snapshot.patterns],
        "state": None,
    }
    if state is not None:
        header["state"] = {
            "parent": state.parent,
            "cycle_id": None if state.cycle_id is None else str(state.cycle_id),
            "scales": [float(lora.scale) for lora in (state.micro, *state.base)],
            "routes": {name: dataclasses.asdict(known) for name, known in state.routes.items()},
            "metrics": dict(state.metrics),
        }
        for place, lora in enumerate((state.micro, *state.base)):
            arrays += [(f"lora {place} a", lora.a), (f"lora {place} b", lora.b)]
        arrays += [(f"{part}/{name}", values) for part, named in state.arrays.items() for name, values in named.items()]
    little = [(name, values.astype(values.dtype.newbyteorder("<"), copy=False)) for name, values in arrays]
    header["arrays"] = [[name, values.dtype.str, values.shape] for name, values in little]
    return header, [values for _, values in little]


def _unpacked(header: dict[str, Any], whole: bytes, start: int) -> tuple[Space, Snapshot]:
    arrays = dict(_arrays(header["arrays"], whole, start))
    space = Space(**header["space"])
    kept = header["state"]
    state = None
    if kept is not None:
        loras = [
            LoraWeights(arrays[f"lora {place} a"], arrays[f"lora {place} b"], scale)
            for place, scale in enumerate(kept["scales"])
        ]
        learned: dict[str, dict[str, NDArray[Any]]] = {}
        for name, values in arrays.items():
            part, slash, of_part = name.partition("/")
            if slash:
                learned.setdefault(part, {})[of_part] = values
        state = LearnedState(
            version=header["version"],
            parent=kept["parent"],
            micro=loras[0],
            base=tuple(loras[1:]),
            routes={name: RouteStatistics(**known) for name, known in kept["routes"].items()},
            arrays=learned,
            cycle_id=None if kept["cycle_id"] is None else UUID(kept["cycle_id"]),
            metrics=kept["metrics"],
        )
    patterns = [_pattern(row, centroid) for row, centroid in zip(header["patterns"], arrays["centroids"], strict=True)]
    catalog = Catalog.of(header["candidates"], arrays["candidates"])
    return space, Snapshot(header["version"], state, patterns, catalog)


def _bytes_of(values: NDArray[Any]) -> memoryview:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8).data


def _arrays(named: list[Any], whole: bytes, start: int) -> Iterator[tuple[str, NDArray[Any]]]:
    for name, dtype, shape in named:
        count = int(np.prod(shape, dtype=np.int64))
        yield name, np.frombuffer(whole, np.dtype(dtype), count, start).reshape(shape).copy()
        start += count * np.dtype(dtype).itemsize


def _pattern_row(pattern: LearnedPattern) -> dict[str, Any]:
    row = {field.name: getattr(pattern, field.name) for field in dataclasses.fields(pattern)}
    del row["centroid"], row["similarity"]
    return row | {
        "id": str(pattern.id),
        "merged_from": [str(merged) for merged in pattern.merged_from],
        "verdicts": pattern.verdicts.counts,
        "routes": {
            name: [record.size, record.weight, record.quality, record.verdicts.counts]
            for name, record in pattern.routes.items()
        },
        "parameters": {name: dataclasses.asdict(record) for name, record in pattern.parameters.items()},
    }


def _pattern(row: Mapping[str, Any], centroid: NDArray[np.float32]) -> LearnedPattern:
    changed = {
        "id": UUID(row["id"]),
        "typical_queries": tuple(row["typical_queries"]),
        "typical_similarities": tuple(row["typical_similarities"]),
        "merged_from": tuple(map(UUID, row["merged_from"])),
        "verdicts": VerdictCounts(*row["verdicts"]),
        "routes": {
            name: RouteRecord(size, weight, quality, VerdictCounts(*verdicts))
            for name, (size, weight, quality, verdicts) in row["routes"].items()
        },
        "parameters": {name: ParameterRecord(**record) for name, record in row["parameters"].items()},
    }
    return LearnedPattern(centroid=centroid, **{**row, **changed})
