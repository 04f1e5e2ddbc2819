"""Which proxy stands between us and an origin, as the environment says. Knows no socket.

The names and their grammar are curl's: https_proxy, http_proxy, all_proxy, no_proxy, lower case before upper case.
Beyond curl: no_proxy takes CIDR blocks, and localhost, 127.0.0.0/8 and ::1 never go through a proxy, because a
model served on this machine is not what a proxy is configured for.
"""

import base64
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from torana.errors import ConfigError
from torana.net.origin import Origin

Address = IPv4Address | IPv6Address


class Proxy(Struct, frozen=True):
    """An HTTP proxy. `authorization` is the value of Proxy-Authorization, "" if it wants none; never printed."""

    origin: Origin
    authorization: str = ""

    def __repr__(self) -> str:
        return f"Proxy({self.origin.name})"


class Proxies(Struct, frozen=True):
    """The proxies of a process. `bypass` holds the entries of no_proxy in lower case."""

    http: Proxy | None = None
    https: Proxy | None = None
    bypass: tuple[str, ...] = ()

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Proxies":
        """Read the variables of a process environment. Raises ConfigError, which names the variable."""
        bypass = _first(env, "no_proxy")[1].lower().replace(",", " ").split()
        return cls(http=_proxy(env, "http_proxy"), https=_proxy(env, "https_proxy"), bypass=tuple(bypass))

    def pick(self, origin: Origin) -> Proxy | None:
        """The proxy to use, or None to connect directly."""
        proxy = self.https if origin.scheme == "https" else self.http
        if proxy is None:
            return None
        address = _address(origin.host)
        if origin.host == "localhost" or (address is not None and address.is_loopback):
            return None
        if any(_covers(entry, origin, address) for entry in self.bypass):
            return None
        return proxy


def _first(env: Mapping[str, str], *names: str) -> tuple[str, str]:
    for name in names:
        for spelling in (name, name.upper()):
            # A CGI server copies a caller's Proxy header into HTTP_PROXY (https://httpoxy.org).
            if spelling == "HTTP_PROXY" and "REQUEST_METHOD" in env:
                continue
            if value := env.get(spelling, "").strip():
                return spelling, value
    return "", ""


def _proxy(env: Mapping[str, str], name: str) -> Proxy | None:
    spelling, value = _first(env, name, "all_proxy")
    if not value:
        return None
    try:
        parts = urlsplit(value if "://" in value else f"http://{value}")
        host, port = parts.hostname, parts.port
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
    except ValueError:
        raise ConfigError(f"{spelling} is not a URL such as http://proxy.example:3128") from None
    if parts.scheme != "http":
        raise ConfigError(f"{spelling} names a {parts.scheme} proxy; only http:// proxies are supported")
    if not host:
        raise ConfigError(f"{spelling} names no host")
    authorization = ""
    if user or password:
        authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    # curl's default: https://curl.se/docs/manpage.html#-x
    return Proxy(Origin("http", host, 1080 if port is None else port), authorization)


def _covers(entry: str, origin: Origin, address: Address | None) -> bool:
    """Whether one entry of no_proxy names the origin: *, host, .suffix, *.suffix, host:port, address or block."""
    if entry == "*":
        return True
    if "/" in entry:
        return address is not None and _in_block(entry, address)
    host, port = _split_port(entry)
    if port and port != str(origin.port):
        return False
    if address is not None:
        return _address(host) == address
    domain = host.removeprefix("*").strip(".")
    name = origin.host.rstrip(".")
    return bool(domain) and (name == domain or name.endswith(f".{domain}"))


def _split_port(entry: str) -> tuple[str, str]:
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return host, rest.removeprefix(":")
    if entry.count(":") == 1:
        host, _, port = entry.partition(":")
        return host, port
    return entry, ""


def _address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _in_block(entry: str, address: Address) -> bool:
    try:
        return address in ip_network(entry, strict=False)
    except ValueError:
        return False
