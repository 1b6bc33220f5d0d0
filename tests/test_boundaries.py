"""What import-linter cannot see: who may import the compiled modules, and who may read the environment."""

from __future__ import annotations

import ast
from pathlib import Path

SOURCES = sorted((Path(__file__).parent.parent / "sona_pg").rglob("*.py"))


def names_used(path: Path) -> set[str]:
    """Modules a file imports, and attributes of `os` it reads."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}", *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
            found.add(f"os.{node.attr}")
    return found


def test_only_the_facade_imports_the_compiled_modules() -> None:
    compiled = {"sona_pg._kernels", "sona_pg._recorder"}
    assert [path.name for path in SOURCES if names_used(path) & compiled] == ["kernels.py"]


def test_only_the_configuration_reads_the_environment() -> None:
    reading = {"os.environ", "os.getenv", "os.environb"}
    assert [path.name for path in SOURCES if names_used(path) & reading] == ["config.py"]
