"""Errors in and out: https://platform.openai.com/docs/guides/error-codes/api-errors

Providers were recorded to say an error as an object, a bare message, a string, FastAPI's `detail`, a list, a
page of HTML and nothing at all. Status, message, type, param and code arrive as the provider sent them.
"""

from msgspec import MsgspecError, Raw

from torana.dialects.openai_chat.wire import any_decoder
from torana.errors import Error, UpstreamError
from torana.wire import json

TEXT_CHARS_MAX = 500  # of a body that is no JSON: enough to recognise a proxy's page
TYPES = {
    401: "authentication_error",
    403: "permission_error",
    408: "timeout_error",
    409: "conflict_error",
    429: "rate_limit_error",
    504: "timeout_error",
}


def parse_error(status: int, body: bytes) -> Error:
    try:
        found = any_decoder.decode(body)
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        return UpstreamError(_text(body, status), status=status, code=None)
    return error_of(found, status)


def parse_inband(raw: Raw, status: int = 0) -> Error:
    """An error object inside a 200: its own code, where it is a status, is the status."""
    try:
        return error_of({"error": any_decoder.decode(raw)}, status)
    except (MsgspecError, RecursionError):  # numbers and escapes that were skipped until now
        return UpstreamError(_text(bytes(raw), status), status=status, code=None)


def _text(body: bytes, status: int) -> str:
    text = body.decode("utf-8", "replace").strip()[:TEXT_CHARS_MAX]
    return text or f"the provider answered {status} without a word"


def error_of(found: object, status: int) -> Error:
    held = _object(found)
    message = _message(held) or _message(found)
    if not message and not (isinstance(held, dict) and held.get("message") == ""):
        message = _text(json.encode(found), status) if found else f"the provider answered {status}"
    native, kind, param = (_word(held, found, name) for name in ("code", "type", "param"))
    if not status:
        status = _status(held)
    return UpstreamError(
        message,
        status=status,
        kind=kind or "",
        param=param,
        code=native,
        retry_after_s=_retry_after(held),
    )


def _object(found: object) -> object:
    """The object that speaks: `error`, and inside it a `message` that is itself an error (Together)."""
    if not isinstance(found, dict):
        return found
    held = found.get("error") or found
    if isinstance(held, dict) and isinstance(held.get("message"), dict):
        return held["message"]
    return held


def _message(found: object) -> str:
    match found:
        case str():
            return found
        case {"message": str(message)} if message:
            return message
        case {"detail": detail} if detail:
            return _detail(detail)
        case {"errors": [*errors]} if errors:
            return "; ".join(filter(None, map(_message, errors)))
        case {"error": str(message)}:
            return message
        case {"msg": str(message)} | {"reason": str(message)}:
            return message
    return ""


def _detail(detail: object) -> str:
    """FastAPI: a sentence, or a list of {loc, msg, type}."""
    if not isinstance(detail, list):
        return _message(detail)
    said = []
    for entry in detail:
        match entry:
            case {"loc": [*where], "msg": str(message)}:
                said.append(f"{'.'.join(map(str, where))}: {message}")
            case _:
                said.append(_message(entry))
    return "; ".join(filter(None, said))


def _word(held: object, found: object, name: str) -> str | None:
    """A field of the error, or of the object around it. Numbers become text: `code` is often a status."""
    for place in (held, found):
        value = place.get(name) if isinstance(place, dict) else None
        if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
            return str(value)
    return None


def _status(held: object) -> int:
    if isinstance(held, dict):
        for name in ("status_code", "http_status_code", "status", "code"):
            value = held.get(name)
            if isinstance(value, str) and value.isdecimal():
                value = int(value)
            if isinstance(value, int) and 400 <= value <= 599:
                return value
    return 0


def _retry_after(held: object) -> float | None:
    match held:
        case {"metadata": {"retry_after_seconds": int() | float() as seconds}}:
            return float(seconds)
    return None


# ---------------------------------------------------------------- out


def type_of(error: Error) -> str:
    """OpenAI's word for a status, where the provider gave none."""
    if error.kind:
        return error.kind
    return TYPES.get(error.status) or ("invalid_request_error" if error.status < 500 else "server_error")


def render_error(error: Error, request_id: str = "") -> bytes:
    detail: dict[str, object] = {
        "message": error.message,
        "type": type_of(error),
        "param": error.param,
        "code": error.native_code,
    }
    if request_id:
        detail["request_id"] = request_id
    return json.encode({"error": detail})
