"""OpenAI Agents: each call of an agent's model goes to the model that the learned router chooses.

Run it: python examples/frameworks/agents_provider.py (extras embedded, text, agents; or set SONA_PG_URL). Its models
only say their names, so that it runs offline: give it OpenAIChatCompletionsModel and the like.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from agents import Agent, Model, ModelResponse, RunConfig, Runner, Usage
from openai.types.responses import ResponseOutputMessage, ResponseOutputText

from sona_pg import SonaEngine
from sona_pg.integrations.agents_provider import SonaModelProvider


class SaysItsName(Model):
    """A model that answers with its name."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """Return the answer."""
        text = ResponseOutputText(text=self.name, type="output_text", annotations=[])
        said = ResponseOutputMessage(id="m", type="message", role="assistant", status="completed", content=[text])
        return ModelResponse(output=[said], usage=Usage(requests=1), response_id=None)

    def stream_response(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Refuse: this example does not stream."""
        raise NotImplementedError


async def main() -> None:
    """Run an agent, tell how good its answers were, learn."""
    with SonaEngine(hidden_dim=256, space="example-agents") as engine:
        provider = SonaModelProvider(engine, {"small": SaysItsName("small"), "large": SaysItsName("large")})
        config = RunConfig(model_provider=provider, tracing_disabled=True)
        agent = Agent("helper", model="auto")
        for round_ in range(50):
            for asked, right in (("say hello", "small"), ("prove this theorem", "large")):
                done = await Runner.run(agent, f"{asked} {round_}", run_config=config)
                engine.feedback(done.raw_responses[-1].trajectory, float(done.final_output == right))
        engine.force_learn()  # servers do this by themselves; here it must not wait for its time
        for asked in ("say hello", "prove this theorem"):
            scores = engine.route(engine.embed([asked])[0], ["small", "large"], query=asked).scores
            print(f"{asked}: {max(scores, key=lambda route: scores[route])}")


if __name__ == "__main__":
    asyncio.run(main())
