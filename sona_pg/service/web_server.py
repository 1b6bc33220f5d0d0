"""The uvicorn server of ``sona-pg serve``: at its end it also ends the streams of events, which would go on."""

from __future__ import annotations

from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI


class WebServer(uvicorn.Server):
    """Serves one application; at a signal, open requests have ``grace`` seconds."""

    def __init__(self, app: FastAPI, grace: float, **settings: Any) -> None:
        """Serve ``app`` with settings of ``uvicorn.Config``."""
        super().__init__(uvicorn.Config(app, timeout_graceful_shutdown=round(grace), access_log=False, **settings))
        self._state = app.state

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End the streams of events, then serve no more."""
        self._state.is_stopping = True
        super().handle_exit(sig, frame)
