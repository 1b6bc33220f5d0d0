"""Times in a spool that were guessed: its process recorded feedback before the database had told its time.

    <folder of the process>/clock    boot of the machine, microseconds from its monotonic clock to the times that were
                                     guessed, and the correction, once it is known

The monotonic clock of a machine goes on until its next boot, so a later process can tell how wrong the guess was. The
correction is written down before anything is committed with it: a replay must give each fact the same sequence.
"""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path

from sona_pg.recorder import HotPath

log = logging.getLogger("sona_pg.ingest")

FILE = "clock"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # of Linux
UNKNOWN = "?"
LINE = "{:36s} {:+020d} {:>20s}\n"  # of one length, so that writing the correction needs no room on the disk


def write_down(folder: Path, hot: HotPath) -> None:
    """Keep what the times guessed by ``hot`` are worth, if it has guessed any or still may."""
    if not hot.knows_time or hot.correction:
        correction = f"{hot.correction:+d}" if hot.knows_time else UNKNOWN
        (folder / FILE).write_text(LINE.format(_boot(), hot.guessed_since_1970, correction))


def correction_in(folder: Path, hot: HotPath, *, own: bool) -> int | None:
    """Return the microseconds to add to guessed times in ``folder``; None until ``hot`` has heard the database's time.

    ``own``: they were guessed by ``hot`` itself.
    """
    with suppress(FileNotFoundError):
        boot, guessed, correction = (folder / FILE).read_text().split()
        if correction != UNKNOWN:
            return int(correction)
        if not hot.knows_time:
            return None
        if own:
            found = hot.correction
        elif boot == _boot() != UNKNOWN:
            found = hot.correction_of(int(guessed))
        else:
            found = 0
            log.warning(
                "spool: what %s holds was recorded before this machine was started again, and before the database had "
                "told its time: its feedback keeps the time of this machine's clock then", folder
            )  # fmt: skip
        with open(folder / FILE, "r+") as stream:
            stream.write(LINE.format(boot, int(guessed), f"{found:+d}"))
        if found:
            log.warning("spool: the times of feedback in %s are corrected by %+.0f s", folder, found / 1e6)
        return found
    return 0


def forget(folder: Path) -> None:
    """Delete the file: the records are committed."""
    with suppress(FileNotFoundError):
        os.unlink(folder / FILE)


def _boot() -> str:
    """Return the id of this boot of the machine."""
    try:
        return BOOT_ID.read_text().strip()
    except OSError:  # another system
        return UNKNOWN
