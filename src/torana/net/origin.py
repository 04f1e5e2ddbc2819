"""Where a request goes and how its head is spelled. Knows no socket.

Nothing that enters a head can end a line: CR, LF and NUL are refused in every piece, so that neither a model name
nor a configured header can add a header or a request of its own.
"""

import re
from collections.abc import Iterable
from typing import Literal
from urllib.parse import urlsplit

from msgspec import Struct

from torana import __version__
from torana.errors import ConfigError, InvalidRequest

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?\.?|\[[0-9a-f:.]+\]")
_PATH = re.compile(r"/[!-~]*")
# https://www.rfc-editor.org/rfc/rfc9110#section-5.6.2
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FORBIDDEN = re.compile(r"[\r\n\0]")
_OURS = frozenset(
    (
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "accept-encoding",
        "expect",
        "te",
        "upgrade",
    )
)
_AGENT = f"torana/{__version__}"


class Origin(Struct, frozen=True):
    """One address that answers: the key of a connection pool. `host` is lower case, IPv6 without brackets."""

    scheme: Literal["http", "https"]
    host: str
    port: int

    @property
    def name(self) -> str:
        """As messages and CONNECT write it: host:port."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """As a Host header writes it: without the port the scheme implies."""
        return self.name.rpartition(":")[0] if self.port == _DEFAULT_PORTS[self.scheme] else self.name


def parse_origin(url: str) -> tuple[Origin, str]:
    """Split a base URL into its origin and the path prefix, which has no trailing slash. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{url!r} is not a URL: {error}") from None
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    if parts.scheme not in _DEFAULT_PORTS:
        raise ConfigError(f"{url!r} must begin with http:// or https://")
    if "@" in parts.netloc:
        raise ConfigError("a base URL holds a user name or password; put the credential in api_key instead")
    if parts.query or parts.fragment:
        raise ConfigError(f"{url!r} has a query or a fragment; a base URL ends with its path")
    host = parts.netloc.lower().rpartition("]")[0] + "]" if "[" in parts.netloc else (parts.hostname or "")
    if not _HOST.fullmatch(host) or url != url.strip():
        raise ConfigError(
            f"{url!r} has no host that can be looked up (an international name goes in punycode)"
        )
    if parts.path and not _PATH.fullmatch(parts.path):
        raise ConfigError(f"{url!r} has a path with characters that must be percent-encoded")
    number = _DEFAULT_PORTS[scheme] if port is None else port
    if number == 0:
        raise ConfigError(f"{url!r} names port 0")
    return Origin(scheme, host.strip("[]"), number), parts.path.rstrip("/")


def render_head(method: str, origin: Origin, path: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    """Request line and headers, up to but without content-length and the blank line: what Client.send() completes.

    Adds host, `accept-encoding: identity` and, unless the headers have one, user-agent. A header that frames the
    message is ours to write and refused. Raises InvalidRequest.
    """
    # The answer to HEAD or CONNECT is framed by rules of its own, and no provider's API uses them.
    if not _TOKEN.fullmatch(method) or method in ("HEAD", "CONNECT"):
        raise InvalidRequest(f"{method!r} is not a method that can be sent to a provider")
    if not _PATH.fullmatch(path):
        raise InvalidRequest(
            f"{path!r} is not a path: it begins with / and has no spaces or control characters"
        )
    lines = [f"{method} {path} HTTP/1.1\r\nhost: {origin.authority}\r\naccept-encoding: identity\r\n"]
    agent = _AGENT
    for name, value in headers:
        if not _TOKEN.fullmatch(name):
            raise InvalidRequest(f"{name!r} is not a header name")
        if _FORBIDDEN.search(value):
            raise InvalidRequest(f"the value of header {name} has a line break or NUL in it", param=name)
        if name.lower() in _OURS:
            raise InvalidRequest(
                f"header {name} is written by the gateway itself and cannot be set", param=name
            )
        if name.lower() == "user-agent":
            agent = ""
        lines.append(f"{name}: {value}\r\n")
    if agent:
        lines.append(f"user-agent: {agent}\r\n")
    try:
        # Field values are octets; our server reads them as latin-1, so this gives back the octets that came.
        return "".join(lines).encode("latin-1")
    except UnicodeEncodeError:
        raise InvalidRequest("a header has characters outside latin-1, which HTTP cannot carry") from None
