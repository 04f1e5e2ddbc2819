"""The head of a request to a provider: its address, its credential, and what else stands above the body.

Nothing a caller sends can choose the address: of a request only the model's name enters the path, as one
percent-encoded segment. Knows nothing of sockets: the base URL says where, `head` what, the transport does it.
"""

from urllib.parse import quote, urlsplit

from torana import __version__
from torana.errors import InternalError, InvalidRequest
from torana.records import Provider, Target

FRAMING = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)  # the transport's own: no configuration and no caller may write them
CARRIERS = frozenset(
    {"api-key", "authorization", "cookie", "proxy-authorization", "x-api-key", "x-goog-api-key"}
)  # every place where a caller may have put its credential: none of it goes on

DEFAULT_PORT = {"http": 80, "https": 443}


def credential_headers(provider: Provider) -> tuple[tuple[str, str], ...]:
    """The header that proves who we are; none without a key."""
    key = provider.api_key
    if not key or provider.auth == "none":
        return ()
    if provider.auth == "bearer":
        return (("authorization", f"Bearer {key}"),)
    return ((provider.auth, key),)


def head(target: Target, path: str, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """The head of a request up to, but without, content-length and the blank line.

    `path` is the dialect's. `headers` win over the provider's of the same name, but framing and credentials among
    them are left out. A value that could end a line raises InvalidRequest.
    """
    provider = target.provider
    lines = [f"POST {request_target(provider, target.model, path)} HTTP/1.1", f"host: {_authority(provider)}"]
    lines += [f"{name}: {value}" for name, value in _fields(provider, headers).items()]
    return "\r\n".join([*lines, ""]).encode("ascii")


def _fields(provider: Provider, headers: tuple[tuple[str, str], ...]) -> dict[str, str]:
    fields = {"content-type": "application/json", "accept-encoding": "identity"}
    fields["user-agent"] = f"torana/{__version__}"
    fields |= provider.headers
    for name, value in headers:
        if name in FRAMING or name in CARRIERS:
            continue
        if not value.isprintable() or not value.isascii():
            raise InvalidRequest(f"the header {name} holds characters that a header cannot carry", param=name)
        fields[name] = value
    fields |= credential_headers(provider)
    return fields


def _authority(provider: Provider) -> str:
    """As a Host header has it: the port only where it is not the scheme's own."""
    parts = urlsplit(provider.base_url)
    if parts.scheme not in DEFAULT_PORT or not parts.hostname:
        raise InternalError(f"the provider {provider.name} was not configured: it has no address")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return host if parts.port in (None, DEFAULT_PORT[parts.scheme]) else f"{host}:{parts.port}"


def request_target(provider: Provider, model: str, path: str) -> str:
    """Path and query as they stand in the request line."""
    own = provider.path or path
    if "{model}" in own:
        own = own.replace("{model}", _segment(model))
    whole = urlsplit(provider.base_url).path.rstrip("/") + own
    if provider.query:
        whole += ("&" if "?" in whole else "?") + provider.query
    if not whole.isascii() or not whole.isprintable() or " " in whole:
        raise InvalidRequest("the model's name cannot stand in a URL", param="model")
    return whole


def _segment(model: str) -> str:
    """One path segment. Dot segments would be resolved away by the server (RFC 3986, 5.2.4)."""
    if model in ("", ".", ".."):
        raise InvalidRequest(
            f"{model!r} is not the name of a deployment", param="model", code="model_not_found"
        )
    return quote(model, safe="")
