"""A version as one file: everything that serving and further learning need, with a checksum.

``MAGIC``, CRC-32C of the rest, length of the header, the header (JSON), then the arrays that it names, little-endian.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from sona_pg.domain.catalog import Catalog
from sona_pg.domain.pattern import LearnedPattern, ParameterRecord, RouteRecord
from sona_pg.domain.space import Space
from sona_pg.domain.state import FisherSnapshot, LearnedState, LoraWeights, RouteStatistics
from sona_pg.domain.verdict import VerdictCounts
from sona_pg.errors import StorageError
from sona_pg.kernels import crc32c
from sona_pg.store.snapshots import Snapshot
from sona_pg.store.states import FORMAT

MAGIC = b"sona-pg version 1\n"
START = len(MAGIC) + 4  # offset of the checksummed part


@dataclass(frozen=True, slots=True, eq=False)
class VersionFile:
    """Contents of a file: space, version, and Fisher information."""

    space: Space
    snapshot: Snapshot
    fisher: Sequence[FisherSnapshot]


def pack(space: Space, snapshot: Snapshot, fisher: Sequence[FisherSnapshot] = ()) -> list[bytes | memoryview]:
    """Return a version as the parts of a file, in order."""
    header, arrays = _packed(space, snapshot, fisher)
    text = json.dumps(header).encode()
    parts: list[bytes | memoryview] = [len(text).to_bytes(8, "little"), text, *map(_bytes_of, arrays)]
    checksum = 0
    for part in parts:
        checksum = crc32c(part, checksum)
    return [MAGIC, checksum.to_bytes(4, "little"), *parts]


def read_file(path: Path) -> VersionFile:
    """Return the contents of a file; see ``unpack``."""
    try:
        return unpack(path.read_bytes(), path)
    except OSError as exc:
        raise StorageError(f"no version can be read from {path}: {exc.strerror}") from exc


def unpack(whole: bytes, path: Path) -> VersionFile:
    """Return the contents of a file made by ``pack``; ``path`` is named in errors.

    Raises:
        StorageError: the bytes are not a version, are truncated or changed, or were written by a later release.
    """
    if not whole.startswith(MAGIC):
        raise StorageError(f"{path} holds no version that this release can read: expected a file of SonaEngine.save")
    if crc32c(whole[START:]).to_bytes(4, "little") != whole[len(MAGIC) : START]:
        raise StorageError(f"{path} was cut short or changed since it was written: its checksum is another; save again")
    size = int.from_bytes(whole[START : START + 8], "little")
    try:
        header = json.loads(whole[START + 8 : START + 8 + size])
        known = int(header.get("format", 1))
        if known <= FORMAT:
            return _unpacked(header, whole, START + 8 + size)
    except (KeyError, TypeError, ValueError) as exc:
        raise StorageError(f"{path} has a right checksum, and is no version: save again") from exc
    raise StorageError(f"{path} has format {known}, this release knows up to {FORMAT}: upgrade sona-pg on this server")


def _packed(
    space: Space, snapshot: Snapshot, fisher: Sequence[FisherSnapshot]
) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    state = snapshot.state
    centroids = [pattern.centroid for pattern in snapshot.patterns]
    arrays: list[tuple[str, NDArray[Any]]] = [
        ("candidates", snapshot.catalog.halves),
        ("centroids", np.stack(centroids) if centroids else np.zeros((0, space.dim), np.float32)),
    ]
    header: dict[str, Any] = {
        "format": FORMAT,
        "space": {"space_id": space.space_id, "name": space.name, "dim": space.dim},
        "settings": dict(space.settings),
        "version": snapshot.version,
        "candidates": list(snapshot.catalog.ids),
        "retired": sorted(snapshot.retired),
        "patterns": [_pattern_row(pattern) for pattern in snapshot.patterns],
        "fisher": [[held.task, held.layer, held.kind] for held in fisher],
        "state": None,
    }
    for place, held in enumerate(fisher):
        arrays += [(f"fisher {place} information", held.fisher), (f"fisher {place} optimum", held.optimum)]
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


def _unpacked(header: dict[str, Any], whole: bytes, start: int) -> VersionFile:
    arrays = dict(_arrays(header["arrays"], whole, start))
    space = Space(**header["space"], settings=header.get("settings", {}))
    fisher = [
        FisherSnapshot(task, layer, arrays[f"fisher {place} information"], arrays[f"fisher {place} optimum"], kind)
        for place, (task, layer, kind) in enumerate(header.get("fisher", ()))
    ]
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
    retired = frozenset(header.get("retired", ()))  # files of earlier releases have none
    return VersionFile(space, Snapshot(header["version"], state, patterns, catalog, retired=retired), fisher)


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
