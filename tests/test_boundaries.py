"""Boundaries beyond import-linter: imports of the compiled modules, and reads of the environment."""

from __future__ import annotations

import ast
from collections import Counter
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


def test_only_the_facades_import_the_compiled_modules() -> None:
    compiled = {"sona_pg._kernels", "sona_pg._recorder"}
    assert [path.name for path in SOURCES if names_used(path) & compiled] == ["kernels.py", "recorder.py"]


def test_only_the_configuration_reads_the_environment() -> None:
    reading = {"os.environ", "os.getenv", "os.environb"}
    assert [path.name for path in SOURCES if names_used(path) & reading] == ["environment.py"]


def test_no_module_name_is_used_twice() -> None:
    modules = Counter(path.stem for path in SOURCES if path.stem != "__init__")
    packages = {path.parent.name for path in SOURCES if path.stem == "__init__"}
    assert not [name for name, count in modules.items() if count > 1 or name in packages]


def test_no_class_name_is_used_twice() -> None:
    classes = Counter(
        node.name
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert not [name for name, count in classes.items() if count > 1]
