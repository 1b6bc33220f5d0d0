"""OpenAI Agents: a model provider whose model ``auto`` is chosen by the learned router (extra ``agents``)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import Any
from uuid import UUID

from agents import Model, ModelProvider, ModelResponse
from pydantic.dataclasses import dataclass as pydantic_dataclass

from sona_pg.engine import SonaEngine
from sona_pg.integrations.text_candidates import last_user_text
from sona_pg.recorder import Trajectory

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class RoutedCall:
    """One call of a model that was recorded."""

    trajectory: UUID
    route: str
    propensity: float | None  # None: the caller has named the model


@pydantic_dataclass
class RoutedResponse(ModelResponse):
    """A model's response with the trajectory that was recorded, about which feedback can be given."""

    trajectory: str = ""
    route: str = ""


class SonaModelProvider(ModelProvider):
    """Gives agents the model ``auto``, and each of its models by name; every call is a trajectory.

    ``RunConfig(model_provider=SonaModelProvider(engine, models))``. Each of ``result.raw_responses`` has a
    ``trajectory``; ``on_call`` hears of every call, streams too. ``engine.feedback(trajectory, quality)`` teaches.
    """

    def __init__(
        self,
        engine: SonaEngine,
        models: Mapping[str, Model],
        *,
        costs: Mapping[str, float] | None = None,
        budget: float | None = None,
        on_call: Callable[[RoutedCall], object] = lambda call: None,
    ) -> None:
        """Route among ``models``, by name; ``costs`` and ``budget`` are those of ``SonaEngine.route``."""
        self.engine = engine
        self.models = dict(models)
        self.costs = costs
        self.budget = budget
        self.on_call = on_call

    def get_model(self, model_name: str | None) -> Model:
        """Return the routed model for ``auto`` or None, else the one of that name, which is recorded as well.

        Raises:
            ValueError: there is no model of that name.
        """
        if model_name not in (None, AUTO, *self.models):
            raise ValueError(f"there is no model {model_name!r}: expected one of {', '.join((AUTO, *self.models))}")
        return RoutedModel(self, None if model_name == AUTO else model_name)

    async def aclose(self) -> None:
        """Close all models."""
        await asyncio.gather(*(model.close() for model in self.models.values()))


class RoutedModel(Model):
    """A model that is chosen anew for each call, or recorded under the name that was asked for."""

    def __init__(self, provider: SonaModelProvider, forced: str | None) -> None:
        self._provider = provider
        self._forced = forced
        self._used: ContextVar[Model | None] = ContextVar("sona_used_model", default=None)

    def get_retry_advice(self, request: Any) -> Any:
        """Return the advice of the model that was called last in this context."""
        used = self._used.get()
        return None if used is None else used.get_retry_advice(request)

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """Return the response of the chosen model, with the trajectory."""
        model, handle, call = await self._choose(args, kwargs)
        began = time.perf_counter()
        try:
            response = await model.get_response(*args, **kwargs)
        except Exception:
            self._end(handle, began, 0.0)
            raise
        self._end(handle, began, None)
        if call is None:
            return response
        known = {field.name: getattr(response, field.name) for field in fields(ModelResponse)}
        return RoutedResponse(**known, trajectory=str(call.trajectory), route=call.route)

    async def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Pass on the events of the chosen model; the trajectory ends with them."""
        model, handle, _ = await self._choose(args, kwargs)
        began, quality = time.perf_counter(), None
        try:
            async for event in model.stream_response(*args, **kwargs):
                yield event
        except Exception:
            quality = 0.0
            raise
        finally:
            self._end(handle, began, quality)

    async def _choose(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Model, Trajectory | None, RoutedCall | None]:
        provider, engine = self._provider, self._provider.engine
        text = last_user_text(kwargs["input"] if "input" in kwargs else args[1])
        vector = (await asyncio.to_thread(engine.embed, [text]))[0]
        if not vector.any():  # a text without a word, which says nothing about a choice
            model = provider.models[self._forced or next(iter(provider.models))]
            self._used.set(model)
            return model, None, None
        decision, route = None, self._forced
        if route is None:
            decision = engine.route(
                vector, list(provider.models), query=text, costs=provider.costs, budget=provider.budget
            )
            route = decision.route
        handle = engine.begin_trajectory(vector, query=text, decision=decision)
        engine.set_trajectory_route(handle, route)
        call = RoutedCall(handle.id, route, None if decision is None else decision.propensity)
        provider.on_call(call)
        self._used.set(provider.models[route])
        return provider.models[route], handle, call

    def _end(self, handle: Trajectory | None, began: float, quality: float | None) -> None:
        if handle is not None:
            self._provider.engine.end_trajectory(handle, quality, latency=time.perf_counter() - began)
