"""Who asks: API keys, and this machine's own requests without one."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from starlette.concurrency import run_in_threadpool

from sona_pg.domain.access import SCOPES, Scope
from sona_pg.engine import Store
from sona_pg.errors import DatabaseUnavailable
from sona_pg.service.problems import ProblemError
from sona_pg.service.service_options import ServiceOptions

KNOWN_FOR = 10.0  # seconds until a key is looked up again: a revoked one is refused then
ASK_AGAIN = 1.0  # seconds until a key that was good is looked up again, after a look-up had no answer
MOST_WAIT = 0.5  # seconds that a request with such a key waits for its look-up
MOST_KNOWN = 10_000  # tokens, good and bad ones
OWN_NAMES = ("localhost", "127.0.0.1", "[::1]")
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="sona-pg"'}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request, and what it may do."""

    name: str  # the source of its feedback
    scopes: frozenset[Scope]
    space: str | None = None  # name of the one that its key is bound to, at the last look-up; None: all
    space_id: int | None = None  # its number, which no other space ever has
    key_id: str = ""

    @property
    def actor(self) -> str:
        """Return who is told as the one who acted."""
        return f"key {self.name} ({self.key_id})" if self.key_id else self.name

    def require(self, scope: Scope) -> None:
        """Refuse a call that this caller's key does not allow."""
        if scope not in self.scopes:
            raise ProblemError(
                403, f"this key lacks the scope {scope!r}: make one that has it with `sona-pg keys create`"
            )


HERE = Caller("http", frozenset(SCOPES))  # without a key, from this machine


class Callers:
    """Finds out who sends a request, and how many it has sent lately."""

    def __init__(self, options: ServiceOptions) -> None:
        self._store: Store | None = None  # until the application has started
        self._options = options
        self._known: OrderedDict[str, tuple[float, Caller | None]] = OrderedDict()
        self._looking: dict[str, asyncio.Task[Caller | DatabaseUnavailable | None]] = {}
        self._spent: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key -> requests left, and when

    def ask(self, store: Store) -> None:
        """Look keys up in ``store`` from now on."""
        self._store = store

    async def identify(self, headers: Mapping[bytes, bytes], address: str | None) -> Caller:
        """Return who asks.

        Raises:
            ProblemError: 401: the key is missing or no good; 403: the request has come by a name that is not ours.
        """
        token = _token(headers)
        if token is not None:
            caller = await self._of_token(token)
            if caller is None:
                raise ProblemError(401, "this API key is unknown, or was revoked", headers=CHALLENGE)
            return caller
        forwarded = b"x-forwarded-for" in headers or b"forwarded" in headers
        if self._options.require_keys or forwarded or not _is_own(address):
            raise ProblemError(401, "an API key is needed: Authorization: Bearer sona_…", headers=CHALLENGE)
        host = headers.get(b"host", b"localhost").decode("latin-1")
        if _name_of(host) not in OWN_NAMES:  # a page elsewhere has pointed its own name at this machine
            raise ProblemError(403, f"a request without a key must be sent to {OWN_NAMES[0]}, not to {host!r}")
        return HERE

    def spend(self, caller: Caller) -> None:
        """Count a request; refuse it where its key has sent too many (a token bucket of one second)."""
        rate = self._options.rate
        if rate is None:
            return
        now = time.monotonic()
        left, at = self._spent.get(caller.key_id, (max(rate, 1.0), now))
        left = min(max(rate, 1.0), left + (now - at) * rate)
        if left < 1:
            wait = {"Retry-After": str(max(1, round((1 - left) / rate)))}
            raise ProblemError(429, f"more than {rate:g} requests a second with this key", headers=wait)
        self._spent[caller.key_id] = (left - 1, now)
        self._spent.move_to_end(caller.key_id)
        while len(self._spent) > MOST_KNOWN:
            self._spent.popitem(last=False)

    async def _of_token(self, token: str) -> Caller | None:
        known = self._known.get(token)
        if known is not None and time.monotonic() - known[0] < KNOWN_FOR:
            return known[1]
        task = self._looking.get(token)
        if task is None:  # one look-up for all who wait: a silent database must not occupy a thread for each
            task = self._looking[token] = asyncio.create_task(self._look_up(token))
            task.add_done_callback(lambda _: self._looking.pop(token))
        if known is None or known[1] is None:
            found = await asyncio.shield(task)
        else:  # a key that was good goes on while the database is away, or slow
            await asyncio.wait({task}, timeout=MOST_WAIT)
            found = task.result() if task.done() else known[1]
        if isinstance(found, DatabaseUnavailable):
            if known is None or known[1] is None:
                raise found
            return known[1]
        return found

    async def _look_up(self, token: str) -> Caller | DatabaseUnavailable | None:
        """Return who has a key now, or why that cannot be told."""
        assert self._store is not None
        caller = None
        try:
            key = await run_in_threadpool(self._store.find_key, token)
        except DatabaseUnavailable as exc:
            known = self._known.get(token)
            if known is not None and known[1] is not None:
                self._known[token] = (time.monotonic() - KNOWN_FOR + ASK_AGAIN, known[1])
            return exc
        if key is not None:
            caller = Caller(key.name, key.scopes, key.space, key.space_id, str(key.key_id))
        self._known[token] = (time.monotonic(), caller)
        self._known.move_to_end(token)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return caller


def _token(headers: Mapping[bytes, bytes]) -> str | None:
    given = headers.get(b"authorization", b"")
    if given[:7].lower() == b"bearer ":
        return given[7:].strip().decode("latin-1")
    own = headers.get(b"x-api-key")
    return None if own is None else own.decode("latin-1")


def _name_of(host: str) -> str:
    """Return a host without its port."""
    return host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0].lower()


def _is_own(address: str | None) -> bool:
    """Whether a request comes from this machine; None: over a Unix socket, or in this process."""
    if address is None:
        return True
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return False
