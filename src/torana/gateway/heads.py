"""The heads of answers: what a caller is told beside the body, and what of a provider's head may reach it.

Headers cross by allow-list: of a provider's head only the advice on retrying does. Rate limits of the
operator's account, cookies and credentials stay here.
"""

import math
import re

from msgspec import MsgspecError

from torana.call import Call
from torana.errors import Error, MethodNotAllowed, public_status
from torana.gateway import account
from torana.net import Headers
from torana.providers import prices
from torana.records import Provider
from torana.wire import json

DROPPED_BYTES_MAX = 1024  # of torana-dropped; the whole list is in the call's entry
RETRY_AFTER_S_MAX = 86_400.0  # a day: longer advice is a provider's mistake
JSON = (b"content-type", b"application/json")
PRIVATE = [(b"cache-control", b"private, no-store"), (b"vary", b"authorization")]
# A shared cache must never give one caller another's answer (fault matrix V26).
_TOLD = (
    b"cache-control: private, no-store\r\nvary: authorization\r\nx-request-id: %b\r\nrequest-id: %b\r\n"
    b"torana-provider: %b\r\ntorana-model: %b\r\ntorana-attempts: %d\r\ntorana-overhead-ms: %.2f\r\n"
)
_ANSWER = b"content-type: application/json\r\n" + _TOLD
_STREAM = b"content-type: text/event-stream; charset=utf-8\r\nx-accel-buffering: no\r\n" + _TOLD
_KEYLIKE = re.compile(r"\b(?:sk|pk|gsk|xai|key|csk|nvapi|hf|r8|AIza|eyJ)[-_A-Za-z0-9*.]{8,}")


def answer(call: Call, now: float) -> bytes:
    """The head of a whole answer, with its cost."""
    account.count(call)
    head = _ANSWER % _told(call, now)
    if call.cost is not None:
        head += b"torana-cost: %b\r\n" % prices.decimal_usd(call.cost).encode()
    return head + b"torana-dropped: %b\r\n" % dropped(call) if call.losses else head


def stream(call: Call, now: float) -> bytes:
    """The head of a stream; its cost is not known yet. x-accel-buffering: a proxy in front must not hold it."""
    head = _STREAM % _told(call, now)
    return head + b"torana-dropped: %b\r\n" % dropped(call) if call.losses else head


def _told(call: Call, now: float) -> tuple[bytes, bytes, bytes, bytes, int, float]:
    target, id = call.target, call.id.encode()
    assert target is not None
    own_ms = (now - call.started - (call.heard - call.sent)) * 1e3
    return id, id, field(target.provider.name), field(target.model), call.attempts, own_ms


def dropped(call: Call) -> bytes:
    """The names of what was left out or changed, each once."""
    names = ", ".join(dict.fromkeys([loss.where for loss in call.losses]))
    return field(names)[:DROPPED_BYTES_MAX]


def refusal(error: Error, id: str) -> Headers:
    """The head of an error answer."""
    name = id.encode()
    headers = [JSON, *PRIVATE, (b"x-request-id", name), (b"request-id", name)]
    if error.retry is not None:
        headers.append((b"x-should-retry", b"true" if error.retry else b"false"))
    if error.retry_after_s is not None:
        wait_s = min(RETRY_AFTER_S_MAX, max(0.0, error.retry_after_s))
        headers.append((b"retry-after", b"%d" % math.ceil(wait_s)))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(error.allow).encode()))
    return headers


def refuse(call: Call, error: Error) -> None:
    """Answer with an error, in the caller's dialect."""
    anthropic = call.surface.dialect == "anthropic"
    headers = refusal(error, call.id)
    if call.target is not None:
        headers += [
            (b"torana-provider", field(call.target.provider.name)),
            (b"torana-model", field(call.target.model)),
            (b"torana-attempts", b"%d" % call.attempts),
        ]
    if call.losses:
        headers.append((b"torana-dropped", dropped(call)))
    body = error.body or call.dialect.render_error(error, call.id)
    call.entry.status = public_status(error, anthropic=anthropic)
    call.exchange.answer(call.entry.status, headers, body)


def field(text: str) -> bytes:
    """A header value of text that came from outside: printable ASCII, everything else escaped."""
    if text.isascii() and text.isprintable():
        return text.encode()
    return text.encode("unicode_escape")


def upstream_id(headers: Headers) -> str:
    """The provider's own request id, for the ledger."""
    for name, value in headers:
        if name in (b"x-request-id", b"request-id"):
            return value[:128].decode("latin-1")
    return ""


def retry_after_s(headers: Headers) -> float | None:
    """The provider's advice in seconds; a date is not read (no provider recorded sends one)."""
    found = None
    for name, value in headers:
        try:
            if name == b"retry-after-ms":
                return min(RETRY_AFTER_S_MAX, max(0.0, float(value) / 1000))
            if name == b"retry-after":
                found = min(RETRY_AFTER_S_MAX, max(0.0, float(value)))
        except ValueError:
            continue
    return found


def should_retry(headers: Headers) -> bool | None:
    for name, value in headers:
        if name == b"x-should-retry" and value in (b"true", b"false"):
            return value == b"true"
    return None


def faithful(status: int, body: bytes, provider: Provider) -> bool:
    """Whether a provider's error body is of its dialect's shape and may be passed on as it is. One that repeats
    the operator's credential, or a part of it as refusals of credentials do, may not."""
    if status in (401, 403) or (provider.api_key and provider.api_key.encode() in body):
        return False
    try:
        return bytes(json.fields(body).get("error", b"")).startswith(b"{")
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        return False


def redact(error: Error, provider: Provider) -> Error:
    """Providers repeat a part of a refused credential in the message. It is the operator's, not the caller's."""
    if provider.api_key and provider.api_key in error.message:
        error.message = error.message.replace(provider.api_key, "[redacted]")
    if error.status in (401, 403):
        error.message = _KEYLIKE.sub("[redacted]", error.message)
    return error
