"""What a change of quality came with, in words: the topics first, and of the rest only what is left without them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from functools import reduce

from sona_pg.domain.level_change import ChangePart, dated, tenths

LEAST_PART = 0.15  # of a difference: less is not worth telling
STANDS_OUT = 0.1  # by which a part of the difference exceeds the part of the ratings
LARGE = 0.3  # part of a difference that is told of a label also where it fell with the topics
MORE_THAN_USUAL = 1.5  # times its part of the ratings that a topic contributes at least to be told
TOLD = 3  # parts in a sentence
LISTED = 10  # of those that are other than the rest, and did not make the change; the table has all


def reasons(difference: float, parts: Sequence[ChangePart]) -> tuple[str, list[ChangePart]]:
    """Return in words what a change came with, and the parts that made it.

    The words also name every other part that is beyond chance: what the table calls so is never denied.
    """
    if not parts:
        return "Nothing is known about what it came with: too little was rated on one side.", []
    topics = _topics(difference, parts)
    replaced = _replaced(parts)
    gone = [part for pair in replaced for part in pair]
    others = [part for part in parts if part.kind != "topic" and part not in gone]
    rest = difference - sum(part.effect for part in topics)
    told: list[ChangePart] = []
    for part in others:
        net = part.on_its_own() if topics and not any(_is_same(part, topic) for topic in topics) else part
        if _stands_out(net, difference, rest) and not any(_is_same(net, other) for other in told):
            told.append(net)
    told = sorted(told, key=lambda part: -abs(part.effect))[:TOLD]
    words = [_grouped(topics)] if topics else []
    words += [part.told() for part in told]
    words += [_succession(old, new) for old, new in replaced]
    named = [*topics[:TOLD], *told, *gone]
    beside = _beside(difference, topics, told, others)
    said = {(part.kind, part.name) for part in (*topics, *told, *gone, *beside)}
    apart = [part for part in parts if part.is_clear and (part.kind, part.name) not in said]
    if named:
        first = f"What it came with: {'; '.join(words)}.{_with_topics(beside)}"
    elif apart:
        first = "No single answer, topic, label or user makes up much of it."
    else:
        first = "It went through everything: no answer, topic, label or user stands out beyond its part of the ratings."
    return f"{first}{_apart(difference, apart, bool(topics))}", named


def _topics(difference: float, parts: Sequence[ChangePart]) -> list[ChangePart]:
    """Return the topics that clearly changed by more than the rest, if together they are worth telling."""
    found = [
        part for part in parts
        if part.kind == "topic" and part.is_clear and part.effect / difference >= MORE_THAN_USUAL * part.usual
    ]  # fmt: skip
    return found if found and _stands_out(reduce(ChangePart.plus, found), difference, difference) else []


def _grouped(topics: Sequence[ChangePart]) -> str:
    """Return in words what happened to some topics together."""
    if len(topics) == 1:
        return topics[0].told()
    both = reduce(ChangePart.plus, topics)
    names = [f"“{part.title}”" if part.title else "one without texts" for part in topics]
    listed = ", ".join(names[:TOLD]) + (f" and {len(names) - TOLD} more" if len(names) > TOLD else "")
    return both.told().replace(f"the topic “{both.title}”", f"the topics {listed}", 1)


def _replaced(parts: Sequence[ChangePart]) -> list[tuple[ChangePart, ChangePart]]:
    """Return the labels of one key ("prompt:") of which one ended when the other began."""
    found = []
    labels = [part for part in parts if part.kind == "label" and ":" in part.name]
    for old in labels:
        key = old.name.partition(":")[0]
        new = [
            one for one in labels
            if one.name.partition(":")[0] == key and one.first_day >= old.last_day and one.first_day > old.first_day
        ]  # fmt: skip
        if len(new) == 1:
            found.append((old, new[0]))
    return found


def _succession(old: ChangePart, new: ChangePart) -> str:
    """Return in words how one label followed another: only where no day lies between them it was replaced."""
    if new.first_day - old.last_day <= timedelta(days=1):
        return f"the label “{old.title}” was replaced by “{new.title}” on {dated(new.first_day)}"
    ended, began = dated(old.last_day), dated(new.first_day)
    return f"the label “{old.title}” was rated last on {ended}, “{new.title}” first on {began}"


def _beside(
    difference: float, topics: Sequence[ChangePart], told: Sequence[ChangePart], others: Sequence[ChangePart]
) -> Sequence[ChangePart]:
    """Return what fell with the topics that were told."""
    if not topics:
        return []
    names = {(part.kind, part.name) for part in told}
    return [
        part for part in others
        if part.is_clear and part.effect / difference >= LARGE and (part.kind, part.name) not in names
    ][:TOLD]  # fmt: skip


def _with_topics(beside: Sequence[ChangePart]) -> str:
    """Return what fell with the topics in words, and how much of it is left without them."""
    if not beside:
        return ""
    listed = ", ".join(
        f"{part.title or 'no route'} {tenths(part.effect)} points, {tenths(part.own_effect)} had they not changed"
        for part in beside
    )
    return f" Others changed with these topics: {listed}."


def _apart(difference: float, parts: Sequence[ChangePart], beside_topics: bool) -> str:
    """Return in words the parts that are other than the rest beyond chance, and did not make the change.

    Those that moved against it come first: the mean hides them.
    """
    against = [part for part in parts if part.effect * difference < 0]
    along = [part for part in parts if part not in against]
    words = ""
    if against:
        words += f" Against it, beyond chance: {_listed([part.told('against it') for part in against])}."
    if along:
        told = [
            part.told(f"of it, {tenths(part.own_effect)} had these topics not changed")
            if beside_topics and part.kind != "topic" else part.told()
            for part in along
        ]  # fmt: skip
        words += f" Other than the rest, beyond chance: {_listed(told)}."
    return words


def _listed(words: Sequence[str]) -> str:
    more = f"; and {len(words) - LISTED} more, in the table" if len(words) > LISTED else ""
    return "; ".join(words[:LISTED]) + more


def _stands_out(part: ChangePart, difference: float, rest: float) -> bool:
    """Whether a part contributed more to a difference than its part of the ratings to what topics leave of it."""
    of_all = part.effect / difference if difference else 0.0
    usual = part.usual * min(max(rest / difference, 0.0), 1.0) if difference else 0.0
    return part.is_clear and of_all >= LEAST_PART and of_all - usual >= STANDS_OUT


def _is_same(one: ChangePart, other: ChangePart) -> bool:
    """Whether two parts of one kind or of two tell of the same ratings, by their numbers."""
    same = (one.before_rated, one.after_rated) == (other.before_rated, other.after_rated)
    return same and not one.sampled and not other.sampled and math.isclose(one.effect, other.effect, abs_tol=1e-9)
