"""Trajectories that one process begins and another one ends: kept open in the store meanwhile."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import numpy as np
from numpy.typing import ArrayLike

from sona_pg.config import SonaConfig
from sona_pg.domain.ids import made_at
from sona_pg.engine.lifetime import EngineLifetime
from sona_pg.engine.opened_space import OpenRequest
from sona_pg.errors import DatabaseUnavailable, InvalidValue, TrajectoryError, UnknownTrajectory
from sona_pg.limits import (
    LONGEST_ID,
    LONGEST_LABEL,
    LONGEST_PARAMETER_NAME,
    MAX_DIM,
    MAX_HALF,
    MAX_PARAMETER,
    MAX_PARAMETERS,
)
from sona_pg.recorder import Trajectory
from sona_pg.serving.arguments import require_amount
from sona_pg.store.shared_rows import SharedPart

MOST_REWARD = 1e6
END_TIMEOUT = 8.0  # seconds that a shared trajectory waits for the commit of what is recorded before it, or of its end


class SharedCalls(EngineLifetime):
    """Calls about trajectories that are not open in this process: they wait for the database."""

    def __init__(self, config: SonaConfig, wanted: OpenRequest) -> None:
        """Open the space ``wanted``; raises as ``SonaEngine`` does."""
        super().__init__(config, wanted)
        self.on_event_loop = False  # an AsyncSonaEngine stands on it: no plain call may wait
        self.shared_by(self._elsewhere)

    def share_trajectory(self, trajectory: Trajectory) -> UUID:
        """Hand an open trajectory to the store, and return its id: any process of the space goes on with that.

        It waits for the database, for a millisecond or two; so does every later call that names the id, in whichever
        process: ``add_step``, ``set_trajectory_route``, ``add_trajectory_context``, ``set_trajectory_parameters`` and
        ``end_trajectory``, which returns once the record is committed; if it raises, the trajectory stays shared: end
        it again. One that nobody ends is dropped a week after the last call about it.

        Raises:
            TrajectoryError: it has ended, or is shared already; the same one, begun again by the caller's id, is the
                one that is there.
            DatabaseUnavailable: Postgres does not answer; the trajectory stays open here.
        """
        session = self._session
        session.require_database()
        if not session.writer.candidates_settled:
            session.writer.flush(END_TIMEOUT, backlog=False)  # the candidates that it names are committed before it
        frame = base64.b64encode(self.frame_of(trajectory)).decode()
        stored = session.database.shared.begin(session.space, trajectory.id, {"frame": frame})
        self.let_go(trajectory)
        if not stored:
            raise TrajectoryError(
                f"trajectory {trajectory.id} is shared already, with other contents, which stay: go on with its id, or "
                "choose another"
            )
        return trajectory.id

    def _elsewhere(self, id: UUID, call: str, a: Any, b: Any, c: Any) -> None:
        """Do a call of the recorder on a trajectory that is open in the store."""
        if self.on_event_loop:
            _require_no_loop(id)
        session = self._session
        session.require_database()
        if call == "end_trajectory":
            self._end_shared(id, a, b, c)
            return
        self._tell(id, call, _checked(call, a, b, c))

    def add_shared_step(
        self,
        id: UUID,
        activations: ArrayLike | None = None,
        attention_weights: ArrayLike | None = None,
        reward: float = 0.0,
        *,
        once: str | None = None,
    ) -> None:
        """Add a step to a shared trajectory, as ``add_step`` does; of calls with the same ``once`` the first counts."""
        self._session.require_database()
        content = _checked("add_step", activations, attention_weights, reward)
        self._tell(id, "add_step", content if once is None else {**content, "once": once})

    def _tell(self, id: UUID, call: str, content: dict[str, Any]) -> None:
        session = self._session
        since = max(1, int(1e6 * (time.time() - made_at(id).timestamp())))
        if not session.database.shared.add(session.space, id, SharedPart(since, call, content)):
            raise _not_open(id)

    def _end_shared(self, id: UUID, quality: float | None, latency: float | None, cost: float | None) -> None:
        session = self._session
        if quality is not None:
            require_amount(quality, "quality", 1.0)
        if latency is None:
            latency = max(0.0, time.time() - made_at(id).timestamp())
        require_amount(latency, "latency")
        if cost is not None:
            require_amount(cost, "cost")
        with session.database.shared.taking(session.space, id) as parts:
            if not parts:
                raise _not_open(id)
            trajectory = self.open_frame(base64.b64decode(parts[0].content["frame"]))
            for part in parts[1:]:
                self._repeat(trajectory, part)
            self.end_trajectory(trajectory, quality, latency=latency, cost=cost)
            if trajectory.refused:
                raise DatabaseUnavailable(f"the buffer is full, so trajectory {id} is not ended: end it again")
            # The stored rows go after the record's commit. A process that dies in between leaves both, and the end that
            # is sent again makes the same record, whose id the ledger knows.
            session.writer.flush(END_TIMEOUT, backlog=False)

    def _repeat(self, trajectory: Trajectory, part: SharedPart) -> None:
        told = part.content
        if part.call == "add_step":
            arrays = (_vector(told["activations"]), _vector(told["attention_weights"]))
            self.add_step_at(trajectory, part.part, *arrays, told["reward"])
        elif part.call == "set_trajectory_route":
            self.set_trajectory_route(trajectory, told["value"])
        elif part.call == "add_trajectory_context":
            self.add_trajectory_context(trajectory, told["value"])
        else:
            self.set_trajectory_parameters(trajectory, told["value"])


def _checked(call: str, a: Any, b: Any, c: Any) -> dict[str, Any]:
    """Return the arguments of a call as JSON, or raise the error that the recorder would raise at the end."""
    if call == "add_step":
        if not isinstance(c, int | float | np.number) or not -MOST_REWARD <= c <= MOST_REWARD:
            raise InvalidValue(f"reward is {c!r:.60}, expected a number from -1e6 to 1e6")
        arrays = {"activations": _text(a, "activations"), "attention_weights": _text(b, "attention_weights")}
        return {**arrays, "reward": float(c)}
    if call == "set_trajectory_parameters":
        return {"value": _parameters(a)}
    longest = LONGEST_ID if call == "set_trajectory_route" else LONGEST_LABEL
    if not isinstance(a, str) or "\0" in a or _size(a) > longest or (not a and call == "set_trajectory_route"):
        raise InvalidValue(
            f"{call}: {a!r:.60} cannot be used: expected a text of at most {longest} bytes of UTF-8 without NUL"
        )
    return {"value": a}


def _size(text: str) -> float:
    """Return the bytes of a text in UTF-8; a lone surrogate has none, and fits nowhere."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return float("inf")


def _parameters(values: Any) -> dict[str, float]:
    if not isinstance(values, Mapping) or len(values) > MAX_PARAMETERS:
        raise InvalidValue(f"parameters is {values!r:.60}, expected at most {MAX_PARAMETERS} numbers by name")
    for name, value in values.items():
        named = isinstance(name, str) and 1 <= len(name) <= LONGEST_PARAMETER_NAME and name.isprintable()
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not named or not number or not -MAX_PARAMETER <= value <= MAX_PARAMETER:
            raise InvalidValue(
                f"parameters[{name!r:.60}] is {value!r:.60}: expected a number within ±{MAX_PARAMETER:g}"
            )
    return {name: float(value) for name, value in values.items()}


def _text(values: ArrayLike | None, what: str) -> str | None:
    if values is None:
        return None
    try:
        array = np.ascontiguousarray(values, np.float32)
    except (TypeError, ValueError) as exc:
        raise InvalidValue(f"{what} is no array of numbers") from exc
    if array.ndim != 1 or len(array) > MAX_DIM or not (np.abs(array) <= MAX_HALF).all():
        raise InvalidValue(f"{what} of shape {array.shape}: expected at most {MAX_DIM} numbers within ±{MAX_HALF}")
    return base64.b64encode(array.tobytes()).decode()


def _vector(text: str | None) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    return None if text is None else np.frombuffer(base64.b64decode(text), np.float32)


def _not_open(id: UUID) -> UnknownTrajectory:
    return UnknownTrajectory(
        f"trajectory {id} is not open in this process, nor shared: it has ended, or another process began it and "
        "has not shared it"
    )


def _require_no_loop(id: UUID) -> None:
    """Refuse to wait for the database on an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise TrajectoryError(
        f"trajectory {id} is not open in this process, so the call asks the database: await "
        "engine.in_thread(engine.end_trajectory, id, ...), which does not hold up the event loop"
    )
