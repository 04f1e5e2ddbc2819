"""Everything that can go wrong, and whose fault it is.

Fault decides what happens next: a CALLER error is answered, an UPSTREAM error may be tried elsewhere, a
GATEWAY error is ours and pages someone. Nothing outside this module invents a status code. A message is a
sentence to the person who can fix it.
"""

from enum import Enum


class Fault(Enum):
    CALLER = "caller"
    UPSTREAM = "upstream"
    GATEWAY = "gateway"


class Error(Exception):
    """A failure with enough shape to answer a caller in any dialect.

    `kind` is the provider's own error type where one was sent ("invalid_request_error"); dialects that have
    such a word and get none derive it from the status. `retry` is what `x-should-retry` tells a client: False
    where trying again cannot help, None where the client's own rule may decide.
    """

    fault = Fault.GATEWAY
    status = 500
    code = "internal_error"
    retry: bool | None = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        kind: str = "",
        status: int = 0,
        code: str | None = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.kind = kind
        self.retry_after_s = retry_after_s
        if status:
            self.status = status
        self.native_code: str | None = code if code != "" else type(self).code
        self.body = b""  # the provider's own, to be passed on as it is where the caller speaks its dialect

    def __str__(self) -> str:
        return self.message


# ---------------------------------------------------------------- the caller's


class InvalidRequest(Error):
    """The body or a header is not what the API allows; `param` names the field."""

    fault, status, code, retry = Fault.CALLER, 400, "invalid_request", False


class InvalidJson(InvalidRequest):
    """The body is not JSON, or not JSON that two parsers would read alike."""

    code = "invalid_json"


class DuplicateKey(InvalidRequest):
    """A top-level key stands twice, so that two readers could see two requests."""

    code = "duplicate_key"


class UnsupportedContent(InvalidRequest):
    """A part of the conversation that the target has no way to carry."""

    code = "unsupported_content"


class ConflictingCredentials(InvalidRequest):
    """Two different credentials in one request."""

    code = "conflicting_credentials"


class BadFraming(InvalidRequest):
    """HTTP whose end is ambiguous; the connection is closed."""

    code = "bad_framing"


class Unauthorized(Error):
    """No key, or one that is not ours."""

    fault, status, code, retry = Fault.CALLER, 401, "invalid_api_key", False


class Forbidden(Error):
    """A valid key that may not do this."""

    fault, status, code, retry = Fault.CALLER, 403, "permission_denied", False


class NotFound(Error):
    """No such path or resource."""

    fault, status, code, retry = Fault.CALLER, 404, "not_found", False


class ModelNotFound(NotFound):
    """No configured provider serves the model."""

    code = "model_not_found"


class MethodNotAllowed(Error):
    """The path exists and does not take this method."""

    fault, status, code, retry = Fault.CALLER, 405, "method_not_allowed", False
    allow: tuple[str, ...] = ()  # those it does take


class RequestTimeout(Error):
    """The request did not arrive within its deadline."""

    fault, status, code, retry = Fault.CALLER, 408, "request_timeout", False


class BodyTooLarge(Error):
    """The body passes the limit the message names."""

    fault, status, code, retry = Fault.CALLER, 413, "body_too_large", False


class UriTooLong(Error):
    """The request line passes the limit."""

    fault, status, code, retry = Fault.CALLER, 414, "uri_too_long", False


class UnsupportedMediaType(Error):
    """A content type or content encoding that this path does not take."""

    fault, status, code, retry = Fault.CALLER, 415, "unsupported_media_type", False


class ExpectationFailed(Error):
    """An `Expect` header other than 100-continue."""

    fault, status, code, retry = Fault.CALLER, 417, "expectation_failed", False


class HeadersTooLarge(Error):
    """The headers pass a limit, in bytes or in number."""

    fault, status, code, retry = Fault.CALLER, 431, "headers_too_large", False


class CallerLeft(Error):
    """The caller closed the connection; nobody hears this, the ledger records it."""

    fault, status, code, retry = Fault.CALLER, 499, "caller_left", False


# ---------------------------------------------------------------- the provider's


class UpstreamError(Error):
    """The provider answered, and the answer was a refusal: its status, message, type, param and code."""

    fault, status, code = Fault.UPSTREAM, 502, "upstream_error"


class UpstreamUnreachable(UpstreamError):
    """No connection, so nothing was sent: safe to try again."""

    code = "upstream_unreachable"


class UpstreamTlsError(UpstreamUnreachable):
    """The provider's certificate or handshake was refused; nothing was sent."""

    code = "upstream_tls_error"


class UpstreamDisconnected(UpstreamError):
    """The connection ended before the answer did: the outcome is unknown, so it is not sent again."""

    code = "upstream_disconnected"
    retry = False


class UpstreamTimeout(UpstreamError):
    """The provider took longer than the limit the message names; the outcome is unknown."""

    status, code = 504, "upstream_timeout"
    retry = False


class UpstreamInvalid(UpstreamError):
    """The provider sent bytes that HTTP or its own dialect does not allow."""

    code = "upstream_invalid"
    retry = False


class UpstreamTooLarge(UpstreamInvalid):
    """The provider's answer passes a limit the message names."""

    code = "upstream_too_large"


class StreamIncomplete(UpstreamError):
    """A stream ended without its ending. What was received stands; it is not the whole answer."""

    code = "stream_incomplete"
    retry = False


# ---------------------------------------------------------------- ours


class InternalError(Error):
    """A bug of ours. The log has the traceback under the request id."""


class Overloaded(Error):
    """More work than a limit allows; the message names the limit."""

    status, code = 503, "overloaded"


class ShuttingDown(Error):
    """The gateway is being stopped; another node, or the next process, answers."""

    status, code = 503, "shutting_down"


class ConfigError(Error):
    """The configuration cannot be used; the message says where, why and how to mend it."""

    code = "config_error"


class StoreError(Error):
    """The database cannot be used; the message says why."""

    status, code = 503, "store_unavailable"


def public_status(error: Error, *, anthropic: bool) -> int:
    """529 is Anthropic's own "overloaded": its clients know it, nobody else's do."""
    if error.status == 529 and not anthropic:
        return 503
    return error.status
