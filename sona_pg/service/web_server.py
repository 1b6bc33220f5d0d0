"""The uvicorn server of ``sona-pg serve``: at its end it also ends the streams of events, which would go on."""

from __future__ import annotations

import time
from email.utils import formatdate
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send


class WebServer(uvicorn.Server):
    """Serves one application; at a signal, open requests have ``grace`` seconds."""

    def __init__(self, app: FastAPI, grace: float, **settings: Any) -> None:
        """Serve ``app`` with settings of ``uvicorn.Config``."""
        settings |= {"access_log": False, "date_header": False, "timeout_graceful_shutdown": round(grace)}
        super().__init__(uvicorn.Config(_Dated(app), **settings))
        self._state = app.state

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the streams of events, then serve no more."""
        self._state.is_stopping = True
        super().handle_exit(sig, frame)


class _Dated:
    """Dates answers by the database's clock, as ids are: clients number what they record by it, at every server.

    The application cannot, as other servers than this one send a date of their own.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                others = [one for one in message.get("headers", ()) if one[0].lower() != b"date"]
                message = {**message, "headers": [*others, (b"date", formatdate(self._now, usegmt=True).encode())]}
            await send(message)

        await self._app(scope, receive, dated)

    @property
    def _now(self) -> float:
        service = getattr(self._app.state, "service", None)  # None: it has not started
        return time.time() if service is None else float(service.spaces.now)
