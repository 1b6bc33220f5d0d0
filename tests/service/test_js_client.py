"""The JavaScript client against a running service, where Node is installed: `make test-js` asks for it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

from sona_pg.service import ServiceOptions
from tests.service.conftest import CONFIG, DIM, EMBEDDER
from tests.service.site import Site

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "clients" / "js"
NODE = shutil.which("node")
CLANG = shutil.which("clang") if shutil.which("wasm-ld") else None

if NODE is not None or "REQUIRE_NODE" in os.environ:

    def test_the_javascript_client(service_store):
        assert NODE is not None, "node is missing"
        site = Site(service_store, ServiceOptions(dim=DIM, config=CONFIG), EMBEDDER)
        try:
            done = subprocess.run(
                [NODE, "--test", "test/"], cwd=CLIENT, env=os.environ | {"SONA_URL": site.url}, capture_output=True,
                text=True, timeout=120, check=False,
            )  # fmt: skip
        finally:
            site.close()
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"^# pass [1-9]", done.stdout, re.M), done.stdout


if CLANG is not None:

    def test_the_webassembly_is_that_of_the_c_sources(tmp_path):
        """Another version of clang makes other bytes: then that it compiles is all that is compared."""
        made = tmp_path / "kernels-wasm.js"
        subprocess.run([CLIENT / "wasm" / "build.sh", made], check=True, timeout=60)
        committed = (CLIENT / "src" / "kernels-wasm.js").read_text(encoding="utf-8")
        built = made.read_text(encoding="utf-8")
        assert built == committed or built.partition("\n")[0] != committed.partition("\n")[0]
        assert len(committed) < 64_000


def test_the_package_needs_no_other_and_has_the_release_of_sona_pg():
    told = (CLIENT / "package.json").read_text(encoding="utf-8")
    release = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert "ependencies" not in told
    assert f'"version": "{release}"' in told
    for source in (CLIENT / "src").glob("*.js"):
        named = re.findall(r'from "([^"]+)"', source.read_text(encoding="utf-8"))
        assert all(name.startswith(("./", "node:")) for name in named), source
        assert source.name == "file-storage.js" or not any(name.startswith("node:") for name in named), source


def test_the_package_has_the_text_of_its_licence():
    told = json.loads((CLIENT / "package.json").read_text(encoding="utf-8"))
    assert "LICENSE" in told["files"]
    assert (CLIENT / "LICENSE").read_text(encoding="utf-8") == (ROOT / "LICENSE").read_text(encoding="utf-8")
