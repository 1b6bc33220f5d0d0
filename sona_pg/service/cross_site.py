"""Cross-site requests: those that a web page elsewhere makes a browser on this machine send, unasked."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sona_pg.service.problems import ProblemError

SAFE = ("GET", "HEAD", "OPTIONS")  # methods whose operations change nothing
ANY = "*"  # of --origin
ADVICE = "; `sona-pg serve --origin {}` lets them"


def refuse_cross_site(method: str, headers: Mapping[bytes, bytes], origins: Collection[str]) -> None:
    """Refuse a request of a page that is neither this service's own nor of one of ``origins``.

    CORS alone keeps an answer from such a page, not the request from this service: browsers send POST with no body, a
    text or a form without asking first. For requests without a key, since no browser adds a key by itself.

    Raises:
        ProblemError: 403: the request comes from a page elsewhere.
    """
    site = headers.get(b"sec-fetch-site", b"")  # which scripts cannot set, as they cannot set Origin
    if method in SAFE or site == b"same-origin" or ANY in origins:
        return
    origin = headers.get(b"origin", b"").decode("latin-1")
    if origin in origins:
        return
    if origin:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if origin.lower().partition("://")[2] == host:
            return
        advice = "" if origin == "null" else ADVICE.format(origin)
        raise ProblemError(403, f"pages of {origin!r} may not send this without a key{advice}")
    if site not in (b"", b"none"):  # none: by the user, not by a page
        raise ProblemError(403, f"pages elsewhere ({site.decode('latin-1')}) may not send this without a key")
