"""Tutorial 5: the HTTP backend of a help desk, for clients in any language: it answers, hears thumbs, and learns.

Run it: uvicorn --app-dir examples/tutorials 05_http_backend:app --port 8800 (extras embedded, text, server; or set
SONA_PG_URL), and beside it the client: node examples/tutorials/05_http_client.mjs
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from uuid import UUID

from fastapi import Body, FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from sona_pg import AsyncSonaEngine, InvalidValue
from sona_pg.demo.helpdesk import helpdesk_answers

ANSWERS = helpdesk_answers()  # in your backend: articles, tools, prompts


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the engine in each worker of the server, and close it when that ends."""
    async with AsyncSonaEngine(256, space="tutorial-helpdesk") as engine:
        await engine.remember(ANSWERS, await engine.embed(ANSWERS))
        app.state.engine = engine
        yield


app = FastAPI(title="Help desk", lifespan=lifespan)


@app.exception_handler(InvalidValue)
async def invalid(request: Request, error: InvalidValue) -> JSONResponse:
    """Tell the client what is wrong with what it sent."""
    return JSONResponse({"detail": str(error)}, 422)


class Answer(BaseModel):
    """An answer, and the id under which to rate it."""

    answer: str
    id: UUID
    confidence: float | None


class Rating(BaseModel):
    """How good an answer was, or which one would have been right."""

    id: UUID
    quality: Annotated[float, Field(ge=0, le=1)] | None = None
    correction: str | None = None


@app.post("/api/query")
async def query(query: Annotated[str, Body(embed=True, min_length=1)]) -> Answer:
    """Answer a question. The event loop never waits for the database: ranking and recording are memory-speed."""
    engine = app.state.engine
    embedding = (await engine.embed([query]))[0]
    ranking = engine.rank(embedding, ids=ANSWERS, k=3)
    trajectory = engine.begin_trajectory(embedding, query=query, ranking=ranking)
    engine.set_trajectory_route(trajectory, ranking.ids[0])
    engine.end_trajectory(trajectory)
    return Answer(answer=ranking.ids[0], id=trajectory.id, confidence=ranking.confidence)


@app.post("/api/feedback")
async def feedback(rating: Rating) -> dict[str, int]:
    """Take a thumb or a correction; the next answer of this server considers it."""
    if rating.correction is not None and rating.correction not in ANSWERS:
        raise InvalidValue("correction is none of the answers of this help desk")
    return {"sequence": app.state.engine.feedback(rating.id, quality=rating.quality, correction=rating.correction)}


@app.post("/api/learn")
async def learn() -> dict[str, int]:
    """Learn now; without it, the engine learns by itself."""
    cycle = await app.state.engine.force_learn()
    return {"version": cycle.version, "trajectories": cycle.trajectories, "feedback": cycle.feedback}


@app.get("/api/stats")
async def stats() -> dict[str, Any]:
    """Return figures of the space and of this server."""
    engine: AsyncSonaEngine = app.state.engine
    return await engine.metrics()
