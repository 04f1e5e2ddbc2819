"""The head of a request to a provider: its address, its credential, and what else stands above the body.

Nothing a caller sends can choose the address: of a request only the model's name enters the path, as one
percent-encoded segment. Knows nothing of sockets: `Origin` says where, `head` what, the transport does it.
"""

from urllib.parse import quote, urlsplit

from msgspec import Struct

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


class Origin(Struct, frozen=True, gc=False):
    """Where a connection leads: the key of a connection pool, with the fields and names of net.origin.Origin."""

    scheme: str
    host: str  # lower case, IPv6 without brackets
    port: int

    @property
    def name(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """As a Host header writes it: without the port the scheme implies."""
        return self.name.rpartition(":")[0] if self.port == DEFAULT_PORT[self.scheme] else self.name


def credential_headers(provider: Provider) -> tuple[tuple[str, str], ...]:
    """The header that proves who we are; none without a key."""
    key = provider.api_key
    if not key or provider.auth == "none":
        return ()
    if provider.auth == "bearer":
        return (("authorization", f"Bearer {key}"),)
    return ((provider.auth, key),)


def head(target: Target, path: str, headers: tuple[tuple[str, str], ...] = ()) -> tuple[Origin, bytes]:
    """Where to send a request, and its head up to, but without, content-length and the blank line.

    `path` is the dialect's. `headers` win over the provider's of the same name, but framing and credentials among
    them are left out. A value that could end a line raises InvalidRequest.
    """
    provider, where = target.provider, origin(target.provider)
    lines = [f"POST {request_target(provider, target.model, path)} HTTP/1.1", f"host: {where.authority}"]
    lines += [f"{name}: {value}" for name, value in _fields(provider, headers).items()]
    return where, "\r\n".join([*lines, ""]).encode("ascii")


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


def origin(provider: Provider) -> Origin:
    """Raises InternalError for a row that torana.providers.configured() never saw."""
    parts = urlsplit(provider.base_url)
    if parts.scheme not in DEFAULT_PORT or not parts.hostname:
        raise InternalError(f"the provider {provider.name} was not configured: it has no address")
    return Origin(parts.scheme, parts.hostname, parts.port or DEFAULT_PORT[parts.scheme])


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
