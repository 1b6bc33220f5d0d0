"""Every row of the promises about speed, measured beside its peer: `python -m benchmarks [suite …]`.

Each suite runs in a process of its own. At the end all lines come as one table, which is also written, as Markdown and
JSON, to a folder. Compare ratios, not times; peers with their own thread pools lose most on a busy machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.report import Line, machine, markdown, parser

SUITES = {
    "calls": "recording and adapting on every request, and the kernel of find_patterns, beside NumPy and npm",
    "asking": "the public calls that ask an engine, in units of NumPy's top five of 100",
    "kernels": "k-means and EWC, beside NumPy, faiss and scikit-learn",
    "ingest": "the writer and the reader, beside raw COPY",
    "latency": "single calls under background load, and the memory of an engine",
    "cycles": "learning cycles over large catalogs, backlogs, histories and many routes",
    "spaces": "a thousand spaces in one process: connections, threads, memory, idle CPU, opening, all of them learning",
    "service": "the HTTP service, one worker and its database, beside a bare FastAPI endpoint",
    "evidence": "from a thumb to the next answer, here and on ten other servers, and what it costs to ask",
    "budget": "one budget for eight servers that are killed now and then: what they spend together",
    "sql": "every SQL view and function at a million trajectories, each beside its target",
    "pages": "dashboard and chat in Chromium over a million trajectories: first view, blocking, bytes, axe",
    "deep": "a deep cycle over 100,000 nodes and a million edges, and find_patterns beside it",
    "gate": "false judgements of 10,000 equal versions, and decisions until a loss is told",
    "fleet": "a publication and a rollback to twenty servers, races for a lease, two workers of a thousand spaces",
    "scale": "ten thousand servers and a million spaces: unit costs, arithmetic, and a simulation of leases",
    "tenants": "a login that Postgres holds to one space beside the schema's owner",
    "citus": "a store on Citus beside one on a plain Postgres, where SONA_PG_CITUS_URL and SONA_PG_PLAIN_URL name them",
    "search": "search in SQL beside the exact scan, and recording into a filled store",
}


def main() -> int:
    """Run the suites named on the command line, or all; return 1 if one of them failed."""
    made = parser(__doc__)
    made.add_argument("suites", nargs="*", help=f"of: {', '.join(SUITES)}; default: all")
    made.add_argument("--out", type=Path, default=Path("build/bench"), help="where the table is written")
    asked = made.parse_args()
    for name in asked.suites:
        if name not in SUITES:
            made.error(f"there is no suite {name!r}; there are: {', '.join(SUITES)}")
    passed_on = ["--quick"] if asked.quick else []
    passed_on += [
        part for name in ("data", "home") if (path := getattr(asked, name)) for part in (f"--{name}", str(path))
    ]
    began, failed, on = time.monotonic(), [], machine()
    print(on, flush=True)
    with tempfile.TemporaryDirectory(prefix="sona-pg-bench-") as folder:
        results = Path(folder) / "lines"
        results.touch()
        for name in asked.suites or SUITES:
            print(f"\n== {name}: {SUITES[name]}", flush=True)
            command = [sys.executable, "-m", f"benchmarks.bench_{name}", *passed_on, "--results", str(results)]
            if subprocess.run(command).returncode:
                failed.append(name)
        lines = [Line(**json.loads(line)) for line in results.read_text().splitlines()]
    lines += [Line(f"suite {name}", "FAILED: see above", target="to run", reached=False) for name in failed]
    took = f"{(time.monotonic() - began) / 60:.0f} minutes"
    promised = [line.reached for line in lines if line.reached is not None]
    reached = f"{sum(promised)} of {len(promised)} targets reached"
    title = f"{on}; {took}; {'A TWENTIETH OF THE ROWS; ' if asked.quick else ''}{reached}"
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "results.md").write_text(markdown(lines, title))
    told = {"machine": on, "quick": asked.quick, "lines": [vars(line) for line in lines]}
    (asked.out / "results.json").write_text(json.dumps(told, indent=1) + "\n")
    print(f"\n{markdown(lines, title)}\n{reached} in {took}; written to {asked.out}/results.md and results.json")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
