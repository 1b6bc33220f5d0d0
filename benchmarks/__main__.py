"""All benchmarks, one after another: ``python -m benchmarks [name …] [-- arguments of theirs]``.

Each prints what was measured beside its peer and its target, in one run of one process; compare ratios, not times.
"""

from __future__ import annotations

import subprocess
import sys

SUITES = {
    "kernels": "compiled kernels beside NumPy, scikit-learn and faiss",
    "ingest": "the hot path beside NumPy and npm, the writer beside raw COPY",
    "search": "search in SQL beside the exact scan, and throughput at what is stored",
}


def main() -> int:
    """Run the suites named on the command line, or all; return the worst exit status."""
    asked, _, rest = " ".join(sys.argv[1:]).partition("--")
    names = asked.split() or list(SUITES)
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        print(f"no benchmark {unknown[0]!r}; there are: {', '.join(SUITES)}", file=sys.stderr)
        return 2
    worst = 0
    for name in names:
        print(f"\n== {name}: {SUITES[name]}", flush=True)
        worst = max(worst, subprocess.run([sys.executable, "-m", f"benchmarks.bench_{name}", *rest.split()]).returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
