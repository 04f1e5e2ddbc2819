"""The front door: which operation a path asks for, and the small answers that are no calls."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

from torana.call import Surface
from torana.dialects import DIALECTS
from torana.errors import Error, InternalError, NotFound, public_status
from torana.gateway import heads, openapi, told
from torana.gateway.life import Gateway, Parts
from torana.ledger import new_call_id
from torana.net import Exchange, Headers
from torana.policy.keys import authenticate
from torana.records import Key
from torana.surfaces import error_dialect, find
from torana.wire import json

log = logging.getLogger("torana.gateway")

LOOPBACK = ("127.", "::1", "::ffff:127.")
TEXT = (b"content-type", b"text/plain; charset=utf-8")


class Front:
    """The Application that the HTTP server runs.

    `admin` answers under /admin/ and has its own authorisation; `metrics` renders (content type, body);
    `unready` says why calls should go elsewhere, or "".
    """

    def __init__(
        self,
        gateway: Gateway,
        parts: Parts,
        *,
        admin: Callable[[Exchange], Awaitable[None]],
        metrics: Callable[[], tuple[str, bytes]],
        unready: Callable[[], str],
        public_models: bool = False,
        public_metrics: bool = False,
    ) -> None:
        self._gateway = gateway
        self._parts = parts
        self._admin = admin
        self._metrics = metrics
        self._openapi = b""
        self._unready = unready
        self._public_models = public_models
        self._public_metrics = public_metrics

    async def __call__(self, exchange: Exchange) -> None:
        try:
            surface = find(exchange.method, exchange.path)
            if surface.operation == "converse":
                await self._gateway.converse(exchange, surface)
            elif surface.operation == "admin":
                await self._admin(exchange)
            else:
                await self._small(exchange, surface)
        except Error as error:
            self._refuse(exchange, error)
        except Exception:
            log.exception("%s %s failed inside the gateway", exchange.method, exchange.path)
            self._refuse(
                exchange, InternalError("the gateway failed on this request; its log has the reason")
            )

    def _refuse(self, exchange: Exchange, error: Error) -> None:
        self._parts.counters.refuse(error.native_code or error.code)
        if exchange.started:
            exchange.abort()
            return
        headers, status, body = refuse(error, exchange.path, exchange.headers)
        exchange.answer(status, headers, body)

    async def _small(self, exchange: Exchange, surface: Surface) -> None:
        match surface.operation:
            case "hello":
                self._say(exchange, told.hello())
            case "healthy":
                self._say(exchange, {"status": "ok"})
            case "ready":
                reason = self._unready()
                self._say(exchange, {"status": reason or "ok"}, 503 if reason else 200)
            case "openapi":
                self._openapi = self._openapi or openapi.render()
                exchange.answer(200, [heads.JSON], self._openapi)
            case "metrics":
                if not self._public_metrics and not exchange.peer.startswith(LOOPBACK):
                    self._key(exchange)
                kind, body = self._metrics()
                exchange.answer(200, [(b"content-type", kind.encode()), *heads.PRIVATE], body)
            case "models" | "model":
                self._models(exchange, surface)
            case _:
                await self._call(exchange, unquote(surface.id))

    def _key(self, exchange: Exchange) -> Key:
        return authenticate(exchange, self._parts.live.snapshot)

    def _models(self, exchange: Exchange, surface: Surface) -> None:
        if not self._public_models:
            self._key(exchange)
        snapshot = self._parts.live.snapshot
        anthropic = error_dialect(exchange.path, exchange.headers) == "anthropic"
        if surface.operation == "model":
            self._say(exchange, told.model(snapshot, unquote(surface.id), anthropic=anthropic))
        elif anthropic:
            self._say(exchange, told.anthropic_models(snapshot, exchange.query))
        else:
            self._say(exchange, told.openai_models(snapshot))

    async def _call(self, exchange: Exchange, id: str) -> None:
        """What became of a call; to the key that made it, and to nobody else does it exist."""
        key = self._key(exchange)
        entry = await self._parts.ledger.find(id)
        if entry is None or entry.key_id != key.id:
            raise NotFound(f"no call {id!r} was made with this key")
        self._say(exchange, told.call(entry, await self._parts.ledger.attempts(id)))

    def _say(self, exchange: Exchange, value: Any, status: int = 200) -> None:  # value: a JSON object of ours
        id = new_call_id().encode()
        head = [heads.JSON, *heads.PRIVATE, (b"x-request-id", id), (b"request-id", id)]
        exchange.answer(status, head, json.encode(value))


def refuse(error: Error, path: str, headers: dict[bytes, bytes]) -> tuple[Headers, int, bytes]:
    """An error in the shape that a caller of this path understands: (head, status, body)."""
    name, id = error_dialect(path, headers), new_call_id()
    anthropic = name == "anthropic"
    head = heads.refusal(error, id)
    return head, public_status(error, anthropic=anthropic), DIALECTS[name].render_error(error, id)
