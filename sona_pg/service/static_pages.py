"""Pages for browsers: the dashboard at /, the chat demo at /demo, the operations at /docs, and their assets.

They are open to everybody and hold no data of a space: scripts ask the operations for that, with the key that was
typed. The policy allows scripts and styles from this service's own files alone, and no request to another host.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.resources import files
from typing import NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sona_pg.demo.helpdesk import helpdesk_json

PAGES = {"/": "index.html", "/demo": "demo.html", "/docs": "operations.html", "/glossary": "glossary.html"}
ASSETS = "/assets/"
KINDS = {
    "html": "text/html",
    "css": "text/css",
    "js": "text/javascript",
    "svg": "image/svg+xml",
    "json": "application/json",
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # asked again each time: answered by 304 unless a release has changed it
}


class Asset(NamedTuple):
    """A file as it is sent."""

    content: bytes
    media_type: str
    tag: str


def page_routes() -> list[Route]:
    """Return the routes of the pages and their assets, read from the package once."""
    assets = {ASSETS + name: asset for name, asset in _assets()}
    assets.update({path: assets.pop(ASSETS + name) for path, name in PAGES.items()})
    assets[f"{ASSETS}lessons.json"] = _asset("lessons.json", helpdesk_json())
    return [_route(path, asset) for path, asset in sorted(assets.items())]


def is_page(path: str) -> bool:
    """Whether a path is of a page or an asset, which need no key."""
    return path in PAGES or path.startswith(ASSETS)


def _assets() -> Iterator[tuple[str, Asset]]:
    for entry in (files("sona_pg.service") / "pages").iterdir():
        if entry.name.rpartition(".")[2] in KINDS:
            yield entry.name, _asset(entry.name, entry.read_bytes())


def _asset(name: str, content: bytes) -> Asset:
    digest = hashlib.sha256(content).hexdigest()[:32]
    return Asset(content, KINDS[name.rpartition(".")[2]], f'"{digest}"')


def _route(path: str, asset: Asset) -> Route:
    async def send(request: Request) -> Response:
        request.scope["sona.operation"] = path if path in PAGES else f"{ASSETS}*"
        headers = {**HEADERS, "ETag": asset.tag}
        known = request.headers.get("if-none-match", "")
        if asset.tag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
            return Response(status_code=304, headers=headers)
        return Response(asset.content, headers=headers, media_type=asset.media_type)

    return Route(path, send, methods=["GET"], include_in_schema=False)
