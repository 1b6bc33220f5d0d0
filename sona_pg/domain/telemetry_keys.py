"""Keys by which a span of OpenTelemetry, or an evaluation of it, finds its trajectory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID


@dataclass(frozen=True, slots=True)
class TelemetryKeys:
    """Hashes of what a span or an evaluation names, of 16 bytes each; None: not named."""

    span: bytes | None
    evaluated_span: bytes | None  # of an evaluation that names a response, which may be another span's
    response: bytes | None
    response_in_trace: bytes | None  # told apart, as applications give one response id to several traces
    trace: UUID | None  # an evaluation may come in a trace of its own
    inference: bool  # else an evaluation

    @classmethod
    def of(cls, trace: str, span: str, response: str, *, inference: bool) -> TelemetryKeys:
        """Return the keys of hexadecimal ids and a response id, each empty where there is none."""
        return cls(
            _hash(f"span {trace} {span}") if trace and span else None,
            _hash(f"evaluated {trace} {span}") if trace and span else None,
            _hash(f"response {response}") if response else None,
            _hash(f"trace {trace} response {response}") if trace and response else None,
            UUID(bytes=_hash(f"trace {trace}")) if trace else None,
            inference,
        )

    @property
    def named(self) -> tuple[bytes, ...]:
        """The keys that it has."""
        again = again_key(self.span) if self.inference and self.span is not None else None
        keys = (self.span, self.evaluated_span, self.response_in_trace, self.response, again)
        return tuple(key for key in keys if key is not None)


class TelemetryClaim(NamedTuple):
    """Trajectory that a span or an evaluation is about."""

    id: UUID | None  # None: it may be about several
    doubt: str = ""  # for whoever sent it
    again: bool = False  # another span has told of this trajectory


def owner_key(response: bytes) -> bytes:
    """Return the key under which the trace of a response's first span is kept; ``erasure_statements`` has it too."""
    return bytes([255 - response[0]]) + response[1:]


def sharing_key(response: bytes) -> bytes:
    """Return the key under which the last trace is kept that had a response of another trace's; see ``owner_key``."""
    return response[:1] + bytes([255 - response[1]]) + response[2:]


def early_key(trajectory: UUID) -> bytes:
    """Return the key that is kept of a trajectory that an evaluation has before its span has come."""
    return _hash(f"early {trajectory}")


def arrived_key(trajectory: UUID) -> bytes:
    """Return the key that is kept once the span of ``early_key`` has come."""
    return _hash(f"arrived {trajectory}")


def again_key(span: bytes) -> bytes:
    """Return the key that is kept of a span of whose trajectory another span has told before."""
    return _hash(f"again {span.hex()}")


def _hash(name: str) -> bytes:
    return hashlib.blake2b(name.encode(errors="replace"), digest_size=16).digest()
