"""Hook of mkdocs: links out of docs/ (examples, README, benchmarks).

They lead to the repository at SONA_PG_REPOSITORY (``https://host/owner/name/blob/main``), else they are plain text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REPOSITORY = os.environ.get("SONA_PG_REPOSITORY", "")
LINK = re.compile(r"\[([^\]]*)\]\((\.\./[^)\s]+)\)")


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
        if not REPOSITORY:
            return found[1]
        return f"[{found[1]}]({REPOSITORY}/{target.relative_to(ROOT).as_posix()}{'#' if anchor else ''}{anchor})"

    return LINK.sub(absolute, markdown)
