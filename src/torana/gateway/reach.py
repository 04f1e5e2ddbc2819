"""How a rendered request reaches its target: what may cross in the head, and who carries it.

Headers cross by allow-list. Nothing of a caller's head reaches a provider but what is named here, so neither a
credential, in whatever carrier, nor an upstream address can.
"""

from typing import Protocol

from torana.call import Call
from torana.net import Reply
from torana.providers import auth
from torana.records import Provider, Target, Timeouts

HEADS_MAX = 4096  # prepared heads kept; beyond, they are prepared anew
HEADER_CHARS_MAX = 4096  # Claude Code sends eight betas in about 300 characters

# Caller's header -> sent on, when caller and target speak this dialect.
CROSSING: dict[str, tuple[bytes, ...]] = {
    "anthropic": (b"anthropic-version", b"anthropic-beta"),
    "openai_chat": (),
}


class Wire(Protocol):
    """The upstream HTTP client (net.client)."""

    async def send(
        self, origin: object, head: bytes, body: bytes, timeouts: Timeouts, *, stream: bool
    ) -> Reply: ...


class Local(Protocol):
    """An in-process provider (providers.echo)."""

    async def send(self, body: bytes, *, stream: bool) -> Reply: ...


class Reach:
    """Sends requests to targets. Heads are prepared once per target and remembered."""

    __slots__ = ("_heads", "_local", "_wire")

    def __init__(self, wire: Wire, local: dict[str, Local]) -> None:
        self._wire = wire
        self._local = local  # provider name -> who answers in this process
        self._heads: dict[tuple[Provider, str, tuple[tuple[str, str], ...]], tuple[object, bytes]] = {}

    async def send(
        self, target: Target, path: str, headers: tuple[tuple[str, str], ...], body: bytes, *, stream: bool
    ) -> Reply:
        provider = target.provider
        local = self._local.get(provider.name)
        if local is not None:
            return await local.send(body, stream=stream)
        origin, head = self._head(target, path, headers)
        return await self._wire.send(origin, head, body, provider.timeouts, stream=stream)

    def _head(self, target: Target, path: str, headers: tuple[tuple[str, str], ...]) -> tuple[object, bytes]:
        key = (id(target), path, headers)
        found = self._heads.get(key)
        if found is None:
            found = auth.head(target, path, headers)
            if len(self._heads) >= HEADS_MAX:
                self._heads.clear()
            self._heads[key] = found
        return found


def crossing(call: Call, dialect: str) -> tuple[tuple[str, str], ...]:
    """The caller's headers that mean something to a target of the same dialect."""
    found = []
    for name in CROSSING.get(dialect, ()):
        value = call.exchange.headers.get(name)
        if value is not None and len(value) <= HEADER_CHARS_MAX:
            found.append((name.decode(), value.decode("latin-1")))
    return tuple(found)
