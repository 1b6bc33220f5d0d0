"""LiteLLM: a router strategy that learns, with outcomes from its logging callbacks (extra ``litellm``)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any
from uuid import UUID

import litellm
from litellm import Router
from litellm.integrations.custom_logger import CustomLogger
from litellm.types.router import PreRoutingHookResponse, TaggedPreRoutingStrategy

from sona_pg.engine import SonaEngine
from sona_pg.errors import TrajectoryError
from sona_pg.integrations.text_candidates import last_user_text

log = logging.getLogger(__name__)

TRAJECTORY = "sona_trajectory"  # key of a request's metadata, and of a response's hidden parameters


class SonaRouting(CustomLogger):
    """Chooses a model group for each request by the learned router, and records its latency, cost and failures.

    ``routing.attach(router)`` answers the model name ``auto``. The trajectory's id is in
    ``response._hidden_params["sona_trajectory"]`` and, also of a stream, in ``routing.trajectory.get()`` of the
    caller's context: ``engine.feedback(id, quality)`` teaches.
    """

    def __init__(
        self,
        engine: SonaEngine,
        routes: Sequence[str],
        *,
        costs: Mapping[str, float] | None = None,
        budget: float | None = None,
        name: str = "auto",
    ) -> None:
        """Choose among the model groups ``routes``.

        Args:
            engine: the space that learns.
            routes: names of model groups of the router.
            costs: estimate of a request's cost by route; corrected by the real ones that LiteLLM reports.
            budget: mean cost of a request.
            name: the model name that leaves the choice to the router.
        """
        super().__init__()
        self.engine = engine
        self.routes = list(routes)
        self.name = name
        self.trajectory: ContextVar[UUID | None] = ContextVar(TRAJECTORY, default=None)
        self._costs = costs
        self._budget = budget

    def attach(self, router: Router) -> None:
        """Have ``router`` ask for each request of the model ``name``, and LiteLLM report outcomes."""
        router.auto_routers.setdefault(self.name, []).append(TaggedPreRoutingStrategy(tags=(), strategy=self))
        litellm.logging_callback_manager.add_litellm_callback(self)

    async def async_pre_routing_hook(
        self,
        model: str,
        request_kwargs: dict[str, Any],
        messages: list[dict[str, Any]] | None = None,
        input: str | list[Any] | None = None,
        specific_deployment: bool | None = False,
    ) -> PreRoutingHookResponse | None:
        """Return the chosen model group; None for requests of other models."""
        if model != self.name:
            return None
        text = last_user_text(messages) or last_user_text(input)
        vector = (await asyncio.to_thread(self.engine.embed, [text]))[0]
        if not vector.any():  # a text without a word, which says nothing about a choice
            return PreRoutingHookResponse(model=self.routes[0], messages=messages)
        decision = self.engine.route(vector, self.routes, query=text, costs=self._costs, budget=self._budget)
        handle = self.engine.begin_trajectory(vector, query=text, decision=decision)
        metadata = request_kwargs.get("metadata")
        request_kwargs["metadata"] = {**(metadata or {}), TRAJECTORY: str(handle.id)}
        self.trajectory.set(handle.id)
        return PreRoutingHookResponse(model=decision.route, messages=messages)

    async def async_post_call_success_deployment_hook(
        self, request_data: dict[str, Any], response: Any, call_type: Any
    ) -> Any:
        """Tell the caller the trajectory's id."""
        told = (request_data.get("metadata") or {}).get(TRAJECTORY)
        hidden = getattr(response, "_hidden_params", None)
        if told is not None and isinstance(hidden, dict):
            hidden[TRAJECTORY] = told
        return response

    async def async_log_success_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: datetime, end_time: datetime
    ) -> None:
        """End the trajectory with its latency and real cost; the quality comes as feedback."""
        cost = kwargs.get("response_cost")
        self._end(kwargs, start_time, end_time, None, cost if cost and cost > 0 else None)

    async def async_log_failure_event(
        self, kwargs: dict[str, Any], response_obj: Any, start_time: datetime, end_time: datetime
    ) -> None:
        """End the trajectory as a failure of its route."""
        self._end(kwargs, start_time, end_time, 0.0, None)

    def _end(
        self, kwargs: Mapping[str, Any], began: datetime, ended: datetime, quality: float | None, cost: float | None
    ) -> None:
        metadata = (kwargs.get("litellm_params") or {}).get("metadata") or {}
        told = metadata.get(TRAJECTORY)
        if told is None:
            return
        seconds = max((ended - began).total_seconds(), 0.0)
        try:
            self.engine.end_trajectory(UUID(told), quality, latency=seconds, cost=cost)
        except TrajectoryError:  # ended by an earlier attempt of the same request
            log.debug("trajectory %s has ended", told)
