"""The gatekeeper: judges versions by the outcomes of decisions, promotes candidates, rolls worse versions back."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np

from sona_pg.config import SonaConfig
from sona_pg.domain.gate import Gate, Judgement, OpenGate
from sona_pg.domain.space import Space
from sona_pg.domain.state import LearnedState
from sona_pg.errors import (
    DatabaseError,
    DatabaseUnavailable,
    LearningConflict,
    LearningError,
    UnknownVersion,
    VersionConflict,
)
from sona_pg.learning.gating.judgement import Differences, Pair, differences
from sona_pg.learning.gating.wager import Wager
from sona_pg.learning.knowledge import initial_state
from sona_pg.store.database import Database
from sona_pg.store.gate_store import JudgedDecisions
from sona_pg.worker.background import BackgroundLoop
from sona_pg.worker.threads import one_thread

log = logging.getLogger(__name__)

KEPT_STATES = 8  # versions in memory, of all spaces together


class Gatekeeper:
    """Judges the open gates of spaces; any number of workers may, each decision is counted once."""

    def __init__(self, database: Database) -> None:
        """Prepare; nothing is read before the first look."""
        self._database = database
        self._judging = threading.Lock()
        self._states: OrderedDict[tuple[int, int], LearnedState] = OrderedDict()

    def with_news(self, spaces: Sequence[int]) -> list[OpenGate]:
        """Return the open gates of ``spaces`` with facts that they have not counted."""
        return self._database.gates.with_news(spaces)

    def judge(self, gate: OpenGate, loop: BackgroundLoop, space: Space) -> Gate:
        """Count the decisions judged since the gate's last look, and act on the result; return its figures.

        Raises:
            DatabaseUnavailable: Postgres is away; what was not counted is counted later.
        """
        while gate.figures.closed_at is None:
            try:
                with self._judging:
                    counted = self._look(gate, loop, space)
            except DatabaseUnavailable:
                raise
            except (DatabaseError, LearningError) as exc:
                log.warning("version %d of space %r is not judged: %s", gate.figures.version, space.name, exc)
                return gate.figures
            if counted is None:
                return gate.figures
            gate = counted
        return gate.figures

    def _look(self, gate: OpenGate, loop: BackgroundLoop, space: Space) -> OpenGate | None:
        """Count the next decisions; None if there are none, or another worker was faster."""
        found = self._database.gates.judged(space, gate, loop.catalog)
        if found is None:
            return None
        loop.catalog = found.catalog
        known = gate.figures
        served = found.live_version if gate.is_watch else known.reference
        other = known.reference if gate.is_watch else known.version
        if not gate.is_watch and served != found.live_version:
            self._database.gates.reject(gate, "ended", f"version {found.live_version} has gone live meanwhile")
            return None
        with one_thread():
            told = self._told(space, (served, other), known.reference, loop.config, found)
        wager, differing, settled = _counted(gate, told)
        figures = _figures(known, wager, differing)
        if not self._database.gates.record(gate, figures, found.looked, wager.as_dict()):
            return None
        if settled or figures.decisions >= known.most_decisions:
            return dataclasses.replace(gate, figures=self._act(gate, figures, wager, loop, space))
        return OpenGate(
            gate.space_id, dataclasses.replace(figures, looked_at=found.looked[0]), found.looked[1], wager.as_dict()
        )

    def _told(
        self, space: Space, versions: tuple[int, int], incumbent: int, config: SonaConfig, found: JudgedDecisions
    ) -> Differences:
        """Return the differences of all decisions, also of those that canaries made with the version in question."""
        served, other = versions
        if not found.of_candidate:
            return self._differences(space, served, other, incumbent, config, found)
        canaries = np.array([id_.tobytes() in found.of_candidate for id_ in found.trajectories.ids], np.bool_)
        usual = self._differences(space, served, other, incumbent, config, found.of_rows(np.flatnonzero(~canaries)))
        turned = self._differences(space, other, served, incumbent, config, found.of_rows(np.flatnonzero(canaries)))
        return Differences(
            np.concatenate([usual.values, -turned.values]), np.concatenate([usual.bounds, turned.bounds])
        )

    def _differences(
        self, space: Space, served: int, other: int, incumbent: int, config: SonaConfig, found: JudgedDecisions
    ) -> Differences:
        if not len(found.trajectories) or served == other:
            return Differences(np.zeros(0), np.zeros(0))
        of_served, of_other, believed = (self._state(space, version) for version in (served, other, incumbent))
        pair = Pair(of_served, of_other, believed, config)
        return differences(pair, found.trajectories, found.outcomes, found.sets, found.catalog)

    def _state(self, space: Space, version: int) -> LearnedState:
        key = (space.space_id, version)
        state = self._states.get(key)
        if state is None:
            state = self._states[key] = self._database.load_version(space, version)
            while len(self._states) > KEPT_STATES:
                self._states.popitem(last=False)
        self._states.move_to_end(key)
        return state

    def _act(self, gate: OpenGate, figures: Gate, wager: Wager, loop: BackgroundLoop, space: Space) -> Gate:
        """Close the gate with its judgement; return the figures with it."""
        known = gate.figures
        about = f"{figures.difference:+.3f} in quality over {figures.decisions} decisions ({figures.differing} differ)"
        gates = self._database.gates
        closed = dataclasses.replace(figures, closed_at=figures.looked_at, reason=about)
        try:
            if gate.is_watch and bool(wager.exceeds(known.margin, known.confidence)[0]):
                nothing = initial_state(space.dim, loop.config)
                live = gates.roll_back(space, loop.server_id, gate, nothing, about)
                log.warning(
                    "space %r: version %d was worse than version %d (%s): rolled back, as version %d",
                    space.name, known.version, known.reference, about, live,
                )  # fmt: skip
                return dataclasses.replace(closed, judgement="rolled back")
            if not gate.is_watch and bool(wager.exceeds(-known.margin, known.confidence)[0]):
                gates.promote(space, loop.server_id, gate, about)
                log.info("space %r: version %d is live: %s", space.name, known.version, about)
                return dataclasses.replace(closed, judgement="promoted")
            judgement: Judgement = "rejected"
            if gate.is_watch:
                judgement = "accepted" if figures.judgement == "accepted" else "undecided"
            gates.reject(gate, judgement, about)
            return dataclasses.replace(closed, judgement=judgement)
        except LearningConflict as exc:
            log.info("%s", exc)
            return dataclasses.replace(closed, judgement="ended", reason=str(exc))
        except (VersionConflict, UnknownVersion) as exc:  # the reference holds data that was erased since, or is gone
            gates.reject(gate, "ended", str(exc))
            return dataclasses.replace(closed, judgement="ended", reason=str(exc))


def _counted(gate: OpenGate, told: Differences) -> tuple[Wager, int, bool]:
    """Return the evidence after ``told``, the number of differing decisions, and whether the test is decided."""
    known = gate.figures
    deciding = [-known.margin, known.margin]
    wager = Wager.from_dict(dict(gate.evidence)) if gate.evidence else Wager.opened(deciding)
    differing = known.differing
    for value, bound in zip(told.values.tolist(), told.bounds.tolist(), strict=True):
        if _is_settled(known, wager):
            break
        wager = wager.fold([value], bound)
        differing += value != 0.0
    return wager, differing, _is_settled(known, wager)


def _is_settled(known: Gate, wager: Wager) -> bool:
    if known.mode == "watch":
        return bool(wager.exceeds(known.margin, known.confidence)[0])
    return bool((wager.exceeds(-known.margin, known.confidence) | wager.is_below(-known.margin, known.confidence))[0])


def _figures(known: Gate, wager: Wager, differing: int) -> Gate:
    """Return the figures of a gate: of the judged version less the reference."""
    low, high = wager.interval(known.confidence)
    mean, judgement = wager.mean, known.judgement
    if known.mode == "watch":  # the bets are on the reference
        mean, low, high = -mean, -high, -low
        if judgement == "open" and bool(wager.is_below(known.margin, known.confidence)[0]):
            judgement = "accepted"
    return dataclasses.replace(
        known, decisions=wager.seen, differing=differing, difference=mean, low=low, high=high, judgement=judgement
    )
