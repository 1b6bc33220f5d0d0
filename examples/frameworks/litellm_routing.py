"""LiteLLM: the model name auto chooses among model groups, and learns from feedback.

Run it: python examples/frameworks/litellm_routing.py (extras embedded, text, litellm; or set SONA_PG_URL). The models
are LiteLLM's mocks, so that it runs offline.
"""

from __future__ import annotations

import asyncio

from litellm import Router

from sona_pg import SonaEngine
from sona_pg.integrations.litellm_routing import SonaRouting

GROUPS = [
    {"model_name": name, "litellm_params": {"model": f"openai/{name}", "api_key": "none", "mock_response": name}}
    for name in ("small", "large")
]


async def main() -> None:
    """Ask, tell how good the answer was, learn."""
    with SonaEngine(hidden_dim=256, space="example-litellm") as engine:
        router = Router(model_list=GROUPS)
        SonaRouting(engine, ["small", "large"], costs={"small": 0.1, "large": 1.0}).attach(router)
        for round_ in range(50):
            for asked, right in (("say hello", "small"), ("prove this theorem", "large")):
                message = {"role": "user", "content": f"{asked} {round_}"}
                answer = await router.acompletion("auto", messages=[message])
                trajectory = answer._hidden_params["sona_trajectory"]
                engine.feedback(trajectory, float(answer.choices[0].message.content == right))
        await asyncio.sleep(0.5)  # LiteLLM tells the last outcomes in the background
        engine.force_learn()  # servers do this by themselves; here it must not wait for its time
        for asked in ("say hello", "prove this theorem"):
            scores = engine.route(engine.embed([asked])[0], ["small", "large"], query=asked).scores
            print(f"{asked}: {max(scores, key=lambda route: scores[route])}")


if __name__ == "__main__":
    asyncio.run(main())
