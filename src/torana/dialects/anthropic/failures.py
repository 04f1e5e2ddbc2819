"""Errors, as Anthropic and the clouds that host its models spell them, and as its clients expect them.

https://platform.claude.com/docs/en/api/errors
"""

from types import MappingProxyType

from msgspec import MsgspecError, Raw, Struct
from msgspec.json import Decoder

from torana.dialects.anthropic.wire import ABSENT, BRACE, QUOTE, first_byte
from torana.errors import Error, UpstreamError
from torana.wire.json import encode

BODY_CHARS_MAX = (
    500  # of a body that is no error object: enough to recognise a proxy's page, not enough to flood a log
)

WORDS: MappingProxyType[int, str] = MappingProxyType(
    {
        400: "invalid_request_error",
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        408: "timeout_error",
        413: "request_too_large",
        429: "rate_limit_error",
        500: "api_error",
        503: "overloaded_error",
        504: "timeout_error",
        529: "overloaded_error",
    }
)
STATUS: MappingProxyType[str, int] = MappingProxyType(
    {
        "invalid_request_error": 400,
        "authentication_error": 401,
        "billing_error": 402,
        "permission_error": 403,
        "not_found_error": 404,
        "request_too_large": 413,
        "rate_limit_error": 429,
        "api_error": 500,
        "timeout_error": 504,
        "overloaded_error": 529,
    }
)


class Failure(Struct):
    """Anthropic: {type: error, error: {type, message}, request_id}. Vertex: {error: {code, message, status}}.
    Bedrock: {message}."""

    error: Raw = ABSENT
    message: Raw = ABSENT
    detail: Raw = ABSENT
    request_id: str | None = None


class Inner(Struct):
    type: str | None = None
    message: str | None = None
    status: str | int | None = None
    code: str | int | None = None


_failure = Decoder(Failure | list[Failure])
_inner = Decoder(Inner)
_string = Decoder(str)


def parse_error(status: int, body: bytes) -> Error:
    """The provider's refusal: its status, type and message."""
    inner, _ = _read(body)
    message = inner.message
    if message is None:
        message = _excerpt(body) or f"the provider answered {status} without a word"
    return UpstreamError(message, kind=_kind(inner), status=status, code=_code(inner))


def parse_failure(error: bytes | Raw) -> Error:
    """The error object of a stream's `error` event, or of an answer whose status was 200: its type says the status."""
    inner, _ = _read(b'{"error":%b}' % bytes(error))
    message = inner.message
    if message is None:
        message = "the provider broke the answer off without a reason"
    return UpstreamError(
        message, kind=_kind(inner), status=STATUS.get(inner.type or "", 0), code=_code(inner)
    )


def request_id(body: bytes) -> str:
    """The provider's own id of the request, for those who ask its support; "" if it gave none."""
    return _read(body)[1]


def render_error(error: Error, request_id: str = "") -> bytes:
    fields: dict[str, object] = {
        "type": "error",
        "error": {"type": _word(error), "message": error.message},
    }
    if request_id:
        fields["request_id"] = request_id
    return encode(fields)


def _word(error: Error) -> str:
    if error.kind in STATUS:
        return error.kind
    return WORDS.get(error.status) or ("api_error" if error.status >= 500 else "invalid_request_error")


def _read(body: bytes) -> tuple[Inner, str]:
    try:
        failure = _failure.decode(body)
        if isinstance(failure, list):
            failure = failure[0] if failure else Failure()
        return _inner_of(failure), failure.request_id or ""
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        return Inner(), ""


def _inner_of(failure: Failure) -> Inner:
    if first_byte(failure.error) == BRACE:
        return _inner.decode(failure.error)
    for word in (failure.error, failure.message, failure.detail):
        if first_byte(word) == QUOTE:
            return Inner(message=_string.decode(word))
    return Inner()


def _kind(inner: Inner) -> str:
    return inner.type or (inner.status if isinstance(inner.status, str) else "")


def _code(inner: Inner) -> str | None:
    """Anthropic has no codes; Vertex's is the status again."""
    return inner.code if isinstance(inner.code, str) else None


def _excerpt(body: bytes) -> str:
    return body[: 4 * BODY_CHARS_MAX].decode("utf-8", "replace").strip()[:BODY_CHARS_MAX]
