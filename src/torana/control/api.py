"""/admin/v1: keys are listed, created and revoked. A Starlette application; nothing here is on the hot path.

Three things stand before every answer: the caller is on this machine, it holds the token, and its body is small.
"""

import hmac
import logging
import os
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

from msgspec import Struct
from msgspec.json import Decoder
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from torana import __version__
from torana.control.keys import Keys, Object, described
from torana.errors import (
    BodyTooLarge,
    CallerLeft,
    Error,
    Fault,
    Forbidden,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Unauthorized,
    UnsupportedMediaType,
)
from torana.wire.json import Object as Checked
from torana.wire.json import encode, read

BODY_BYTES_MAX = 16_384  # the largest body we take is a name of 64 characters

Answer = Callable[[Request], Awaitable[Response]]

_log = logging.getLogger("torana.control")


class NewKey(Struct, forbid_unknown_fields=True):
    name: str


_new_key = Decoder(NewKey)


def build(keys: Keys, token: str) -> Starlette:
    """The application, for whoever holds `token`."""
    if not token:
        raise InternalError("the admin API needs a token: an empty one would be matched by an empty header")
    admin = _Admin(keys)
    answers = [
        ("GET", "/admin/v1/health", admin.health),
        ("GET", "/admin/v1/keys", admin.all),
        ("POST", "/admin/v1/keys", admin.create),
        ("DELETE", "/admin/v1/keys/{id}", admin.revoke),
    ]
    return Starlette(
        routes=[Route(path, _guarded(answer, token), methods=[method]) for method, path, answer in answers],
        exception_handlers={HTTPException: _outside},
    )


def _guarded(answer: Answer, token: str) -> Answer:
    async def respond(request: Request) -> Response:
        try:
            _require_loopback(request)
            _require_token(request, token)
            return await answer(request)
        except Error as exc:
            return _refusal(exc)
        except ClientDisconnect:
            return _refusal(CallerLeft("the caller closed the connection"))
        except Exception:
            _log.exception("an admin request failed")
            return _refusal(InternalError("a bug of ours; the log has the details"))

    return respond


def _require_loopback(request: Request) -> None:
    try:
        near = ip_address(request.client.host if request.client else "").is_loopback
    except ValueError:
        near = False
    if not near:
        raise Forbidden("the admin API answers on this machine only; use a loopback address")


def _require_token(request: Request, token: str) -> None:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode(), token.encode())
    if scheme.lower() != "bearer" or not same:
        raise Unauthorized(
            "the admin API needs the token that torana.token holds, beside the database",
            param="authorization",
        )


class _Admin:
    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def health(self, _: Request) -> Response:
        """{"status":"ok","version","pid"}"""
        return _json({"status": "ok", "version": __version__, "pid": os.getpid()})

    async def all(self, _: Request) -> Response:
        """{"object":"list","data":[key]}"""
        return _json({"object": "list", "data": [described(key) for key in await self._keys.all()]})

    async def create(self, request: Request) -> Response:
        """The key, and this one time its secret."""
        body = Checked(await _body(request)).body  # a key that stands twice is refused
        key, secret = await self._keys.create(read(_new_key, body, InvalidRequest).name)
        return _json({**described(key), "secret": secret}, 201)

    async def revoke(self, request: Request) -> Response:
        """The key as it is now."""
        return _json(described(await self._keys.revoke(request.path_params["id"])))


async def _body(request: Request) -> bytes:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise UnsupportedMediaType("send JSON, with content-type: application/json")
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES_MAX:
            raise BodyTooLarge(f"the body is larger than {BODY_BYTES_MAX} bytes")
    return bytes(body)


def _json(value: Object, status: int = 200) -> Response:
    headers = {"cache-control": "private, no-store"}
    return Response(encode(value), status, headers, media_type="application/json")


def _refusal(error: Error) -> Response:
    """{"error":{"message","type","param","code"}}"""
    kind = "invalid_request_error" if error.fault is Fault.CALLER else "api_error"
    told = {"message": error.message, "type": kind, "param": error.param, "code": error.native_code}
    return _json({"error": told}, error.status)


async def _outside(_: Request, exc: Exception) -> Response:
    """A path or method that no route has: it is refused alike with the token and without."""
    if isinstance(exc, HTTPException) and exc.status_code == MethodNotAllowed.status:
        return _refusal(MethodNotAllowed("this path does not take this method"))
    return _refusal(NotFound("there is no such path in /admin/v1"))
