"""The verdict as tables."""

from __future__ import annotations

from collections.abc import Sequence

from .verdict import Verdict

FAULTS = {
    "kill": "kills of a recorder, a learner or a worker",
    "stop": "processes stopped (SIGSTOP) for up to 15 s",
    "failover": "kills of the primary, and promotions of its standby",
    "network": "cuts and stalls of the network",
    "crash": "crashes of Postgres",
    "restart": "restarts of Postgres",
    "readonly": "read-only spells",
    "timeouts": "spells of short timeouts",
    "connections": "spells without connections",
    "pooler": "kills of the pooler",
    "clock": "steps of a wall clock",
}


def show(verdict: Verdict, minutes: float) -> None:
    """Print the faults, the numbers of acknowledged and stored records, and the failures."""
    print(f"\nfaults in {minutes:g} minutes")
    for kind, words in FAULTS.items():
        missed = f"  ({verdict.missed[kind]} could not begin)" if verdict.missed[kind] else ""
        if kind in verdict.faults or missed:
            print(f"{verdict.faults[kind]:8} {words}{missed}")
    print("\nprocesses")
    rows: list[Sequence[object]] = [("place", "started", "trajectories acknowledged")]
    places = {**verdict.starts, **dict.fromkeys(verdict.by_process, "")}
    rows += [(name, verdict.starts.get(name, ""), verdict.by_process.get(name, 0)) for name in sorted(places)]
    _table(rows)
    print("\nledger")
    promised, stored = verdict.comparison.promised, verdict.comparison.stored
    wrong = {failure.what: failure.count for failure in verdict.comparison.failures}
    rows = [("", "acknowledged", "stored", "missing", "doubled")]
    for kind, named in (("trajectories", "trajectories"), ("steps", ""), ("feedback", "facts")):
        missing = wrong.get(f"acknowledged {named} that are missing", "")
        rows.append((kind, promised[kind], stored[kind], missing, wrong.get(f"{named} stored twice", "")))
    _table(rows)
    print(f"\n{verdict.cycles} cycles; {_rebuilt(verdict)}")
    print("at the end: " + ", ".join(f"{what} {seconds:.1f} s" for what, seconds in verdict.seconds.items()))
    print("logged: " + (", ".join(f"{n} {level}" for level, n in sorted(verdict.levels.items())) or "nothing"))
    for failure in verdict.failures:
        print(f"\nWRONG: {failure.count} {failure.what}")
        for example in failure.examples:
            print(f"    {example}")
    print()


def _rebuilt(verdict: Verdict) -> str:
    again = verdict.rebuild
    if again is None:
        return "NOT rebuilt"
    equal = "equal to the live state" if again.equal else "DIFFERENT from the live state"
    return f"rebuilt {again.cycles} of them from {again.trajectories} trajectories: {equal}"


def _table(rows: Sequence[Sequence[object]]) -> None:
    widths = [max(len(str(row[column])) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        first, *others = [str(cell) for cell in row]
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        print("  ".join([f"  {first.ljust(widths[0])}", *cells]))
