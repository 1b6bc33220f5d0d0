"""Install sona-pg with extras, editable, into the environment of this Python: `python .ci/install.py demo`.

The result is that of `pip install --editable '.[demo]'`, in less time: the extensions compile while pip fetches the
dependencies, NumPy is fetched once (it is needed for both), and no package is byte-compiled ahead of its first import.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
INSTALL = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--prefer-binary", "--no-input"]


def requirements(project: dict[str, Any], extra: str) -> Iterator[str]:
    """Yield the requirements of ``extra``; extras that it names (``sona-pg[cli,text]``) are followed."""
    for requirement in project["optional-dependencies"][extra]:
        if requirement.startswith(f"{project['name']}["):
            for name in requirement.partition("[")[2].removesuffix("]").split(","):
                yield from requirements(project, name)
        else:
            yield requirement


def main(extra: str) -> int:
    """Install, and return the exit status."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project = settings["project"]
    if find_spec("pip") is None:
        subprocess.run([sys.executable, "-m", "ensurepip"], check=True)
    subprocess.run([*INSTALL, *settings["build-system"]["requires"]], check=True)
    # The two write different files of the environment: this one none of sona-pg's, the other one nothing else.
    with subprocess.Popen([*INSTALL, *project["dependencies"], *requirements(project, extra)]) as dependencies:
        editable = ["--no-build-isolation", "--no-deps", "--editable", str(ROOT)]
        built = subprocess.run([*INSTALL, *editable], check=False)
    return built.returncode or dependencies.returncode


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
