"""A live view of a space in the terminal: rates, quality, lag, versions."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from sona_pg.cli.options import SpaceName, Url, database_at
from sona_pg.cli.render import wants_json
from sona_pg.domain.pulse import Pulse
from sona_pg.errors import DatabaseUnavailable

BARS = "▁▂▃▄▅▆▇█"
HISTORY = 40  # rates in the curve
Rates = dict[str, float]


def watch(
    space: SpaceName = "default",
    every: Annotated[float, typer.Option(help="Seconds between looks.", min=0.1)] = 2.0,
    count: Annotated[int | None, typer.Option(help="How many looks; else until Ctrl-C.", min=1)] = None,
    url: Url = None,
) -> None:
    """Watch a space: how much it records, how good it is, what waits to be learned, who serves which version.

    In a pipe, or with --json, one JSON object for each look.

    Example: sona-pg watch --space support --every 1
    """
    with database_at(url) as database:
        found = database.find_space(space)

        def looks() -> Iterator[tuple[Pulse | None, Rates]]:
            before: Pulse | None = None
            done = 0
            while True:
                try:
                    pulse = database.pulse(found)
                    yield pulse, rates_between(before, pulse)
                    before = pulse
                except DatabaseUnavailable:
                    yield None, {}
                done += 1
                if count is not None and done >= count:
                    return
                time.sleep(every)

        try:
            if wants_json():
                for pulse, rates in looks():
                    told: dict[str, Any] = {"away": True} if pulse is None else {**pulse.as_dict(), **rates}
                    print(json.dumps(told), flush=True)
            else:
                _show(looks(), space)
        except KeyboardInterrupt:
            return


def rates_between(before: Pulse | None, after: Pulse) -> Rates:
    """Return trajectories and facts a second between two looks; empty at the first one."""
    if before is None:
        return {}
    seconds = max((after.at - before.at).total_seconds(), 1e-3)
    return {
        "trajectories_a_second": round(max(after.trajectories - before.trajectories, 0) / seconds, 3),
        "feedback_a_second": round(max(after.feedback - before.feedback, 0) / seconds, 3),
    }


def _show(looks: Iterator[tuple[Pulse | None, Rates]], space: str) -> None:
    recorded: deque[float] = deque(maxlen=HISTORY)
    qualities: deque[float] = deque(maxlen=HISTORY)
    with Live(console=Console(), auto_refresh=False) as live:
        last: Pulse | None = None
        for pulse, rates in looks:
            if rates:
                recorded.append(rates["trajectories_a_second"])
            if pulse is not None and pulse.quality is not None:
                qualities.append(pulse.quality)
            last = pulse or last
            title = f"space {space!r}" + ("" if pulse is not None else ": the database is away")
            live.update(panel(title, last, rates, recorded, qualities), refresh=True)


def panel(title: str, pulse: Pulse | None, rates: Rates, recorded: deque[float], qualities: deque[float]) -> Table:
    """Return the view of a pulse, with the curves of the last looks."""
    table = Table(title=title, title_justify="left", show_header=False)
    if pulse is None:
        return table
    table.add_row("recorded", f"{pulse.trajectories:,} trajectories, {pulse.feedback:,} facts")
    table.add_row("a second", f"{rates.get('trajectories_a_second', 0):,.1f}", curve(recorded))
    quality = "no ratings in 5 minutes" if pulse.quality is None else f"{pulse.quality:.3f} of the last {pulse.rated}"
    table.add_row("quality", quality, curve(qualities))
    waited = "" if pulse.waiting_for is None else f", the oldest for {_duration(pulse.waiting_for)}"
    table.add_row("unlearned", f"{pulse.waiting:,} facts{waited}")
    age = "nothing learned yet" if pulse.version_age is None else f"{_duration(pulse.version_age)} old"
    table.add_row("live version", f"{pulse.live_version}, {age}")
    table.add_row("servers", f"{pulse.servers} live, at most {pulse.behind} versions behind")
    last = "" if pulse.cycle_seconds is None else f", the last one took {pulse.cycle_seconds:.2f} s"
    table.add_row("cycles", f"{pulse.cycles} in the last hour{last}")
    if pulse.failed_cycles or pulse.dropped:
        table.add_row("trouble", f"{pulse.failed_cycles} failed cycles, {pulse.dropped:,} records dropped")
    return table


def curve(values: deque[float]) -> str:
    """Return values as bars, the highest as high as a line."""
    most = max(values, default=0.0)
    return "".join(BARS[round(value / most * (len(BARS) - 1))] for value in values) if most > 0 else ""


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
