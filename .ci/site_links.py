"""Hook of mkdocs: links out of docs/ (examples, README, benchmarks), and pages of the site made of files elsewhere.

They lead to the repository at SONA_PG_REPOSITORY (``https://host/owner/name/blob/main``), else they are plain text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = os.environ.get("SONA_PG_REPOSITORY", "")
ELSEWHERE = {"architecture.md": ROOT / "ARCHITECTURE.md", "javascript.md": ROOT / "clients" / "js" / "README.md"}
PAGES = {source: page for page, source in ELSEWHERE.items()}
LINK = re.compile(r"\[([^\]]*)\]\((\.\./[^)\s]+)\)")


def on_files(files: Any, config: Any, **_: Any) -> Any:
    """Return the files of the site with those of ELSEWHERE among them."""
    from mkdocs.structure.files import File

    for page, source in ELSEWHERE.items():
        files.append(File.generated(config, page, content=moved(source)))
    return files


def moved(source: Path) -> str:
    """Return the text of a file outside docs/ with its links as seen from docs/."""

    def link(found: re.Match[str]) -> str:
        return f"]({os.path.relpath(source.parent / found[1], ROOT / 'docs')}"

    return re.sub(r"\]\((?!\w+:)([\w./-]+\.md)", link, source.read_text(encoding="utf-8"))


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
        if target in PAGES:
            return (
                f"[{found[1]}]({os.path.relpath(ROOT / 'docs' / PAGES[target], folder)}{'#' if anchor else ''}{anchor})"
            )
        if not REPOSITORY:
            return found[1]
        return f"[{found[1]}]({REPOSITORY}/{target.relative_to(ROOT).as_posix()}{'#' if anchor else ''}{anchor})"

    return LINK.sub(absolute, markdown)
