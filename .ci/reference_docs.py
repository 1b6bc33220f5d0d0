"""Write docs/python.md, configuration.md and errors.md from docstrings and comments: `make docs-reference`."""

# ruff: noqa: E501

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import sona_pg
from sona_pg import config, errors
from sona_pg.config.sona_names import SETTINGS
from sona_pg.config.space_settings import TYPES

DOCS = Path(__file__).resolve().parents[1] / "docs"
MADE = "Made from the code by `make docs-reference`; do not edit, a test compares.\n"
PYTHON = f"""# Python API

{MADE}
All names come from `sona_pg`. Calls of `SonaEngine` that are served from memory never wait for the database; those that
may, say so. `AsyncSonaEngine` has the same names; its waiting calls are awaited: [In your servers](servers.md).
"""
FIRST = ("SonaEngine", "AsyncSonaEngine", "Store", "SonaConfig")  # the others follow by name
CONFIGURATION = f"""# Configuration

{MADE}
`SonaEngine(config=SonaConfig(ingest=IngestConfig(durability="spool")))`, or a preset: `SonaConfig.max_throughput()`,
`max_quality()`, `edge_deployment()`, `batch_processing()`. Settings marked *space* are stored with the space: set when it is
made, changed by `engine.set_settings({{"base.rank": 16}})` or `sona-pg space set NAME base.rank=16`, the same for all its
learners. The others are each process's own.

## Environment

| variable | |
|---|---|
| `SONA_PG_URL` | The database; without it, the embedded Postgres (extra `embedded`) |
| `SONA_PG_HOME` | Folder of the embedded Postgres, of spooled records and of the last served versions. Default: the user's data folder |
| `SONA_PG_MIGRATE` | `auto` (default) or `check`: engines change nothing of the schema, and name the command to run |
| `SONA_PG_RECEIPT_KEY` | file of the key that signs receipts of erasures; by default `receipt.key` in `SONA_PG_HOME`, made when it is needed |
| `SONA_PG_READ_URL` | A standby for search and analytics, used while it is well ([Standby and failover](standby.md)) |
| `SONA_PG_READ_LAG` | Seconds that it may lag; 10 by default |
| `SONA_PG_ISA` | Instruction set of the kernels: `scalar`, `avx2`, `avx512`, `neon`. Default: the best one of this CPU |
"""
SONAS_NAMES = """## SONA's names

What SONA's configuration calls its settings (`microLoraRank` in JavaScript is `micro_lora_rank` here), for code that comes from there:

| SONA | here | |
|---|---|---|
"""
ERRORS = f"""# Errors

{MADE}
Every error is a `SonaError`. Four bases say what to do: `InvalidValue`, mend your data; `NotFound`, name another; `Conflict`, look at
the present state, and decide; `Unavailable`, try again later. Over HTTP they are 422, 404, 409 and 503. What they mean in
practice: [Troubleshooting](troubleshooting.md).

| error | is a | meaning |
|---|---|---|
"""


def python_reference() -> str:
    """Return the reference of the public names."""
    names = [*FIRST, *(name for name in sona_pg.__all__ if name not in FIRST and name != "__version__")]
    known = [(name, getattr(sona_pg, name)) for name in names]
    parts = [PYTHON]
    for name, made in known:
        if not (issubclass(made, Exception) or (dataclasses.is_dataclass(made) and name.endswith("Config"))):
            parts.extend(_class(name, made))
    return "\n".join(parts) + "\n"


def _class(name: str, made: type[Any]) -> Iterator[str]:
    yield f"## {name}\n"
    if not issubclass(made, Enum):
        yield f"```text\n{name}{_signature(made)}\n```\n"
    yield _text(made.__doc__) if not _is_generated(made) else ""
    for member, value in sorted(_members(made)):
        doc = inspect.getdoc(value) or ""
        compiled = re.match(rf"\w+\.{member}\((?:self(?:, )?)?(.*)\)\n*", doc)  # Cython puts the signature there
        told = _text(doc[compiled.end() :] if compiled else doc)
        named = f"({compiled[1]})" if compiled else "" if isinstance(value, property) else _signature(value)
        heading = f"{member}{named}"
        if len(heading) > 100:
            heading = heading.replace("(", "(\n    ", 1).replace(", ", ",\n    ")
        yield f"### {name}.{member}\n\n```text\n{heading}\n```\n\n{told}"


def _members(made: type[Any]) -> Iterator[tuple[str, Any]]:
    for member in dir(made):
        value = inspect.getattr_static(made, member)
        if isinstance(value, staticmethod | classmethod):
            value = value.__func__
        is_compiled = type(value).__name__ in ("cython_function_or_method", "method_descriptor")
        inner = made is sona_pg.SonaEngine and is_compiled and not hasattr(sona_pg.AsyncSonaEngine, member)
        if member.startswith("_") or inner or made is sona_pg.AsyncSonaEngine or issubclass(made, Enum):
            continue
        if isinstance(value, property) or (callable(value) and inspect.getdoc(value)):
            yield member, value


def _signature(made: Callable[..., Any]) -> str:
    try:
        parameters = list(inspect.signature(made).parameters.values())
    except (TypeError, ValueError):
        return "(…)"
    told, star = [], False
    for known in parameters:
        if known.name in ("self", "cls"):
            continue
        if known.kind is known.KEYWORD_ONLY and not star:
            told.append("*")
            star = True
        prefix = {known.VAR_POSITIONAL: "*", known.VAR_KEYWORD: "**"}.get(known.kind, "")
        star = star or prefix == "*"
        default = "" if known.default is known.empty else f"={_default(known.default)}"
        told.append(f"{prefix}{known.name}{default}")
    return f"({', '.join(told)})"


def _default(value: object) -> str:
    if isinstance(value, Enum):
        return str(value)
    return repr(value) if isinstance(value, str | int | float | bool | tuple | None) else "…"


def _is_generated(made: type[Any]) -> bool:
    return (made.__doc__ or "").startswith(f"{made.__name__}(")


def _text(doc: str | None) -> str:
    """Return a docstring as Markdown: double backquotes as single ones, lists of Args and Raises."""
    lines, listed = [], False
    for line in inspect.cleandoc(doc or "").splitlines():
        if re.fullmatch(r"(Args|Raises|Returns|Yields):", line):
            lines += [f"**{line[:-1]}**", ""]
            listed = True
        elif listed and re.match(r"    \S", line):
            name, _, rest = line.strip().partition(":")
            lines.append(f"- `{name}`:{rest}")
        elif listed and line.startswith(" "):
            lines.append(f"  {line.strip()}")
        else:
            listed = listed and not line
            lines.append(line)
    return "\n".join(lines).replace("``", "`").strip() + "\n"


def configuration() -> str:
    """Return the reference of all settings, from their comments."""
    parts = [CONFIGURATION]
    for part, made in _config_parts():
        parts.append(f"## {part}\n\n{_text(made.__doc__)}")
        rows = []
        told = _comments(made)
        for field in dataclasses.fields(made):
            stored = " *space*" if _is_stored(part, field.name) else ""
            rows.append(f"| `{part}.{field.name}`{stored} | `{field.default!r}` | {told.get(field.name, '')} |")
        parts.append("| setting | default | |\n|---|---|---|\n" + "\n".join(rows) + "\n")
    named = [f"| `{name}` | `{setting}` | {differs} |" for name, (setting, differs) in SETTINGS.items()]
    parts.append(SONAS_NAMES + "\n".join(named) + "\n")
    return "\n".join(parts)


def _config_parts() -> Iterator[tuple[str, type[Any]]]:
    for field in dataclasses.fields(config.SonaConfig):
        made = getattr(config, str(field.type).partition(" ")[0], None)
        if dataclasses.is_dataclass(made):
            yield field.name, made  # type: ignore[misc]


def _is_stored(part: str, name: str) -> bool:
    return f"{part}.{name}" in TYPES


def _comments(made: type[Any]) -> dict[str, str]:
    """Return the comment of each field: those on its own lines, and the one behind it."""
    source = inspect.getsource(made)
    lines = source.splitlines()
    found: dict[str, str] = {}
    (body,) = ast.parse(source).body
    assert isinstance(body, ast.ClassDef)
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            above, row = [], node.lineno - 2
            while lines[row].strip().startswith("#"):
                above.insert(0, lines[row].strip().lstrip("# "))
                row -= 1
            behind = lines[node.lineno - 1].partition("  # ")[2]
            found[node.target.id] = " ".join(filter(None, [behind, *above])).replace("|", "\\|")
    return found


def errors_page() -> str:
    """Return the reference of the errors."""
    rows = []
    for name, made in vars(errors).items():
        if isinstance(made, type) and issubclass(made, errors.SonaError) and made.__module__ == errors.__name__:
            bases = ", ".join(f"`{base.__name__}`" for base in made.__bases__)
            rows.append(f"| `{name}` | {bases} | {_text(made.__doc__).splitlines()[0]} |")
    return ERRORS + "\n".join(rows) + "\n"


PAGES = {"python.md": python_reference, "configuration.md": configuration, "errors.md": errors_page}


def main() -> int:
    """Write the pages."""
    for name, written in PAGES.items():
        (DOCS / name).write_text(written(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
