"""What a period without a change of quality does not show: how large a fall could hide in its ratings."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from statistics import NormalDist
from typing import NamedTuple

from sona_pg.domain.level_change import ratings, share, tenths
from sona_pg.domain.period_figures import DaySums, PeriodSums, QualityChange

CHANCE = 0.01  # of finding a change among all days though there is none, as sona.quality_changes has it
FOUND = NormalDist().inv_cdf(0.9)  # by which a fall that is found nine times of ten exceeds what is just told
STRETCH = 14  # days of the fall that is looked for
NAMED = 3  # routes
COMPARED = 12  # routes with most ratings: among more of them chance alone makes some worse
FEWEST = 20  # ratings on either side, for the mean of all
FEWEST_OF_ROUTE = 10
STEPS = 5  # of approximation: more change nothing that is shown


class Series(NamedTuple):
    """Rated days of the whole space, or of one route, that a change is looked for in."""

    route: str | None  # None: the whole space
    stretch: int  # ratings of two weeks, at the rate of the period
    days: Sequence[DaySums]  # with ratings, oldest first

    @classmethod
    def of(cls, route: str | None, days: Iterable[DaySums], first: date, last: date) -> Series:
        """Return the rated ones of ``days``, with the rate of those from ``first`` to ``last``."""
        known = [one for one in days if one.rated]
        span = (last - max(first, known[0].day)).days + 1 if known else STRETCH
        within = sum(one.rated for one in known if first <= one.day <= last)
        return cls(route, round(within * STRETCH / span), known)

    def smallest_fall(self, excess: float, routes: int) -> float | None:
        """Return how large a fall of two weeks must be to be told nine times of ten; None: none is so large.

        As of a spell in ``sona.quality_changes``, every pair of days counts as a look; those of ``routes`` as well.
        """
        whole = PeriodSums.of(self.days)
        outside = whole.rated - self.stretch
        fewest = FEWEST if self.route is None else FEWEST_OF_ROUTE
        if whole.quality is None or min(self.stretch, outside) < fewest or len(self.days) < 3:
            return None
        looks = len(self.days) * (len(self.days) - 1) / 2 * (1 if self.route is None else max(routes, 1))
        sure = NormalDist().inv_cdf(1 - CHANCE / looks / 2)
        level, fall = _spread(whole.quality), 0.0
        for _ in range(STEPS):  # ratings of the fall spread as its own level has it, and it moves the mean of all
            fallen = _spread(max(whole.quality - fall, 0.0))
            mixed = _spread(max(whole.quality - fall * self.stretch / whole.rated, 0.0))
            told = sure * math.sqrt(excess * mixed * (1 / self.stretch + 1 / outside))
            fall = told + FOUND * math.sqrt(excess * (fallen / self.stretch + level / outside))
        return fall if fall < whole.quality else None


def _spread(quality: float) -> float:
    """Return the variance of a rating of such a mean, nearly as thumbs have it."""
    return max(quality * (1 - quality), 0.01)


def hidden_sentence(series: Sequence[Series], falls: Sequence[float | None], is_changed: bool = False) -> str:
    """Return in words how large a fall of each, the whole space first, would have to be to be told.

    ``is_changed``: beside another change that is told.
    """
    all_, *of_routes = zip(series, falls, strict=True)
    opening = "Not all that changed need be told" if is_changed else "That is no all-clear"
    told = f"{opening}: of the mean of all ({_rate(all_[0])}) {_hides(all_[1])}"
    routes = "; ".join(f"of “{one.route}” ({one.stretch:,}) {_hides(fall)}" for one, fall in of_routes)
    return f"{told}{f'; {routes}' if routes else ''}. Days of your own show on Routes what they had."


def _rate(one: Series) -> str:
    return f"{ratings(one.stretch)} in two weeks"


def _hides(fall: float | None) -> str:
    if fall is None:
        return "any fall of two weeks can hide"
    return f"a fall of two weeks by less than about {math.ceil(100 * fall)} points can hide"


def mean_sentence(change: QualityChange | None) -> str | None:
    """Return in words why the mean of a period differs though no day does; None where it does not clearly."""
    if change is None or change.low <= 0 <= change.high:
        return None
    way = "lower" if change.difference < 0 else "higher"
    low, high = sorted((abs(change.low), abs(change.high)))
    return (
        f"Its mean is {tenths(change.difference)} points {way} than that of as many days before ({tenths(low)} to "
        f"{tenths(high)}): that is one comparison, while a day is looked for among all, and must differ by more."
    )


def worse_sentences(
    days: Iterable[DaySums], first: date, last: date, around: int, but: frozenset[str] = frozenset()
) -> dict[str, str]:
    """Return in words the routes rated clearly lower from ``first`` to ``last`` than ``around`` days before and after.

    Clearly: their intervals do not meet. Those in ``but`` are told elsewhere.
    """
    within: dict[str, list[DaySums]] = {}
    outside: dict[str, list[DaySums]] = {}
    margin = timedelta(days=around)
    for one in days:
        if one.route and first - margin <= one.day <= last + margin:
            (within if first <= one.day <= last else outside).setdefault(one.route, []).append(one)
    sums = {route: (PeriodSums.of(within[route]), PeriodSums.of(outside[route])) for route in within.keys() & outside}
    most = sorted(sums.items(), key=lambda pair: (-pair[1][0].rated, pair[0]))[:COMPARED]
    found = ((route, _worse(route, now, else_, around)) for route, (now, else_) in most if route not in but)
    return dict(itertools.islice(((route, words) for route, words in found if words), NAMED))


def _worse(route: str, now: PeriodSums, outside: PeriodSums, around: int) -> str | None:
    if now.quality is None or now.low is None or now.high is None or outside.quality is None or outside.low is None:
        return None
    if now.high >= outside.low or min(now.rated, outside.rated) < FEWEST_OF_ROUTE:
        return None
    return (
        f"Answers of “{route}” were rated lower in this period than in the {around} days before and after it: "
        f"{share(now.quality)} of {ratings(now.rated)} ({share(now.low)} to {share(now.high)}), else "
        f"{share(outside.quality)} of {outside.rated:,}. Of days chosen for another reason that is beyond chance; "
        "chosen for their low figures they may be chance."
    )
