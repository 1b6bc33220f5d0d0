"""Hook of mkdocs: links out of docs/ (examples, README, benchmarks), and ARCHITECTURE.md as a page of the site.

They lead to the repository at SONA_PG_REPOSITORY (``https://host/owner/name/blob/main``), else they are plain text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = os.environ.get("SONA_PG_REPOSITORY", "")
ARCHITECTURE = ROOT / "ARCHITECTURE.md"
PAGE = "architecture.md"  # of the site
LINK = re.compile(r"\[([^\]]*)\]\((\.\./[^)\s]+)\)")


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Return the files of the site with ARCHITECTURE.md among them."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, PAGE, content=architecture()))
    return files


def architecture() -> str:
    """Return ARCHITECTURE.md with its links as seen from docs/."""
    text = ARCHITECTURE.read_text(encoding="utf-8")
    return re.sub(r"\]\((?:docs/)?([\w./-]+\.md)", lambda found: f"]({_from_docs(found[0], found[1])}", text)


def _from_docs(whole: str, path: str) -> str:
    return path if whole.startswith("](docs/") else f"../{path}"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the page's text with the links that leave docs/ made absolute, or plain.

    Raises:
        FileNotFoundError: a link names a file that is not there.
    """
    folder = (ROOT / "docs" / page.file.src_uri).parent

    def absolute(found: re.Match[str]) -> str:
        path, _, anchor = found[2].partition("#")
        target = (folder / path).resolve(strict=True)
        if target.is_relative_to(ROOT / "docs"):
            return found[0]
        if target == ARCHITECTURE:
            return f"[{found[1]}]({os.path.relpath(ROOT / 'docs' / PAGE, folder)})"
        if not REPOSITORY:
            return found[1]
        return f"[{found[1]}]({REPOSITORY}/{target.relative_to(ROOT).as_posix()}{'#' if anchor else ''}{anchor})"

    return LINK.sub(absolute, markdown)
