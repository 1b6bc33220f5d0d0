"""Log lines of long-running commands: JSON for a log collector, text for a person."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from enum import StrEnum


class LogForm(StrEnum):
    """Forms of log lines."""

    json = "json"
    text = "text"


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the figures that came along, and the error."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        told: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        figures = getattr(record, "figures", None)
        if isinstance(figures, dict):
            told |= figures
        if record.exc_info:
            told["error"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def log_to_stderr(form: LogForm | None, level: int = logging.INFO) -> None:
    """Write the log to standard error; by default as text on a terminal, as JSON elsewhere."""
    handler = logging.StreamHandler(sys.stderr)
    as_json = form is LogForm.json or (form is None and not sys.stderr.isatty())
    handler.setFormatter(
        JsonLines() if as_json else logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("sona_pg").setLevel(level)
