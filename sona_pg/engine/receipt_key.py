"""The operator's key for receipts of erasures: a file, made when it is first needed."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from sona_pg.config import Environment
from sona_pg.domain.erasure import Key
from sona_pg.errors import StorageError

SHORTEST = 16  # bytes
FILE = "receipt.key"


def receipt_key(path: str | Path | None = None) -> Key:
    """Return the key in ``path``, else in ``SONA_PG_RECEIPT_KEY``, else in the home folder: made there if missing.

    Raises:
        StorageError: the file cannot be read or made, or is shorter than 16 bytes.
    """
    environment = Environment.read()
    named = path if path is not None else environment.receipt_key
    file = environment.home / FILE if named is None else Path(named)
    try:
        if named is None and not file.exists():
            _make(file)
        secret = file.read_bytes().strip()
    except OSError as exc:
        raise StorageError(f"the key for receipts, {file}, cannot be used: {exc.strerror or exc}") from exc
    if len(secret) < SHORTEST:
        raise StorageError(f"the key for receipts, {file}, has {len(secret)} bytes: expected at least {SHORTEST}")
    return Key(secret)


def _make(file: Path) -> None:
    """Write a random key; of two processes that do, the first one's stays."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f"{file.name}.{os.getpid()}~")
    beside.touch(mode=0o600)
    try:
        beside.write_text(secrets.token_hex(32) + "\n")
        os.link(beside, file)
    except FileExistsError:
        pass
    finally:
        beside.unlink(missing_ok=True)
