"""How a rendered request reaches its target: what may cross in the head, and who carries it.

Headers cross by allow-list. Nothing of a caller's head reaches a provider but what is named here, so neither a
credential, in whatever carrier, nor an upstream address can.
"""

from collections.abc import Mapping
from typing import Protocol

from torana.call import Call
from torana.errors import HeadersTooLarge
from torana.net import Reply
from torana.net.client import Client
from torana.net.origin import Origin, parse_origin
from torana.providers import auth
from torana.records import Target

HEADS_MAX = 4096  # prepared heads kept; beyond, they are prepared anew
HEADER_CHARS_MAX = 4096  # Claude Code sends eight betas in about 300 characters

Pairs = tuple[tuple[str, str], ...]

# Caller's header -> sent on, when caller and target speak this dialect.
CROSSING: dict[str, tuple[bytes, ...]] = {
    "anthropic": (b"anthropic-version", b"anthropic-beta"),
    "openai_chat": (),
}


class Local(Protocol):
    """An in-process provider (providers.echo)."""

    async def send(self, body: bytes, *, stream: bool) -> Reply: ...


class Reach:
    """Sends requests to targets. Heads are prepared once per target and remembered."""

    __slots__ = ("_heads", "_local", "_wire")

    def __init__(self, wire: Client, local: Mapping[str, Local]) -> None:
        self._wire = wire
        self._local = local  # provider name -> who answers in this process
        self._heads: dict[tuple[int, str, Pairs], tuple[Target, Origin, bytes]] = {}

    async def send(self, target: Target, path: str, headers: Pairs, body: bytes, *, stream: bool) -> Reply:
        provider = target.provider
        local = self._local.get(provider.name)
        if local is not None:
            return await local.send(body, stream=stream)
        _, origin, head = self._head(target, path, headers)
        return await self._wire.send(origin, head, body, provider.timeouts, stream=stream)

    def _head(self, target: Target, path: str, headers: Pairs) -> tuple[Target, Origin, bytes]:
        """The entry holds its target, so that no other object takes the id while it stands."""
        place = (id(target), path, headers)
        found = self._heads.get(place)
        if found is None:
            origin, _ = parse_origin(target.provider.base_url)
            found = (target, origin, auth.head(target, path, headers))
            if len(self._heads) >= HEADS_MAX:
                self._heads.clear()
            self._heads[place] = found
        return found


def crossing(call: Call, dialect: str) -> Pairs:
    """The caller's headers that mean something to a target of the same dialect. Raises HeadersTooLarge."""
    found = []
    for name in CROSSING.get(dialect, ()):
        value = call.exchange.headers.get(name)
        if value is None:
            continue
        if len(value) > HEADER_CHARS_MAX:
            raise HeadersTooLarge(f"{name.decode()} is longer than {HEADER_CHARS_MAX} characters")
        found.append((name.decode(), value.decode("latin-1")))
    return tuple(found)
