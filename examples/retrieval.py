"""Show help pages, learn from thumbs: which page answers what, where titles hardly say it.

Run it: python examples/retrieval.py (extras embedded and text; or set SONA_PG_URL).
"""

from __future__ import annotations

import itertools

from sona_pg import SonaEngine

# Each page with questions that are asked often; the last one only comes afterwards.
PAGES = {
    "Logistics desk": ["where is my parcel?", "my package has not come", "parcel is late", "when is my parcel coming?"],
    "Ledger corrections": [
        "i want my money back",
        "give me my money",
        "cash back please",
        "can i have the money back?",
    ],
    "Identity portal": ["cannot log in", "forgot my password", "i am locked out", "log in with a new password"],
    "Membership lifecycle": ["stop charging me monthly", "why pay every month", "end my plan", "stop my monthly plan"],
    "Hardware bench": ["it broke after a week", "the screen is cracked", "the device died", "my screen broke"],
    "Stored value": [
        "pay with a voucher",
        "voucher code refused",
        "a present for a friend",
        "my voucher does not work",
    ],
}
TITLES = list(PAGES)


def answered(engine: SonaEngine) -> int:
    """Return how many of the later questions get the right page first."""
    later = engine.embed([questions[-1] for questions in PAGES.values()])
    rankings = engine.rank_many(later, ids=TITLES)
    return sum(ranking.ids[0] == title for ranking, title in zip(rankings, TITLES, strict=True))


def main() -> None:
    """Ask, show one page, hear a thumb, learn."""
    with SonaEngine(hidden_dim=256, space="example-retrieval") as engine:
        engine.remember(TITLES, engine.embed(TITLES))
        print(f"before: {answered(engine)} of {len(PAGES)} later questions answered by the right page")
        for _, (title, questions) in itertools.product(range(8), PAGES.items()):
            for question in questions[:-1]:
                embedding = engine.embed([question])[0]
                ranking = engine.rank(embedding, ids=TITLES, exploration=1.0)
                t = engine.begin_trajectory(embedding, query=question, ranking=ranking)
                engine.set_trajectory_route(t, ranking.ids[0])
                engine.end_trajectory(t, quality=float(ranking.ids[0] == title))  # thumb up or down
            engine.force_learn()  # servers do this by themselves; here it must not wait for its time
        print(f"after:  {answered(engine)} of {len(PAGES)}, from {3 * 8 * len(PAGES)} thumbs")


if __name__ == "__main__":
    main()
