"""The demo's second process: records nothing, and answers the held-out questions with every new version.

Started as ``python -m sona_pg.demo.serve``. It reads one JSON line with its space and questions, writes one JSON line
for each version, and ends at the end of its standard input.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time

import numpy as np
from numpy.typing import NDArray

from sona_pg.config import LoopConfig, SonaConfig
from sona_pg.engine import SonaEngine

ON_DEMAND = SonaConfig(loops=LoopConfig(automatic=False))  # this process only serves


def measure(
    engine: SonaEngine, questions: NDArray[np.float32], topics: NDArray[np.float32], ids: list[str], right: list[str]
) -> dict[str, object]:
    """Return the plain and the balanced share of held-out questions whose best topic is the right one."""
    started = time.perf_counter()
    rankings = [engine.rank(question, topics, ids=ids, k=1) for question in questions]
    seconds = time.perf_counter() - started
    answers = [ranking.ids[0].encode() + ranking.scores.tobytes() for ranking in rankings]
    hits = np.array([ranking.ids[0] == topic for ranking, topic in zip(rankings, right, strict=True)], float)
    of_topic = [hits[[row for row, topic in enumerate(right) if topic == name]].mean() for name in set(right)]
    return {
        "version": rankings[0].version,
        "accuracy": float(hits.mean()),
        "balanced": float(np.mean(of_topic)),
        "microseconds": 1e6 * seconds / len(rankings),
        "server": str(engine.server_id),
        "answers": hashlib.sha256(b"".join(answers)).hexdigest(),
    }


def main() -> None:
    """Serve until standard input ends."""
    task = json.loads(sys.stdin.readline())
    ended = threading.Event()

    def watch() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=watch, daemon=True).start()
    with SonaEngine(task["dim"], task["url"], task["space"], config=ON_DEMAND) as engine:
        questions, topics = engine.embed(task["questions"]), engine.embed(task["topics"])
        measured = -1
        while not ended.is_set():
            if engine.version != measured:
                served_at = time.time()
                report = measure(engine, questions, topics, task["topics"], task["right"])
                measured = int(str(report["version"]))
                print(json.dumps({**report, "served_at": served_at}), flush=True)
            ended.wait(0.005)


if __name__ == "__main__":
    main()
