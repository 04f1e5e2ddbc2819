"""Origin to ready transport: a socket, a proxy's tunnel where one is configured, TLS where the origin wants it.

Nothing of a request is written here, so every failure is UpstreamUnreachable or UpstreamTlsError: safe to try
elsewhere. Certificates are always verified; there is no argument, and no context is accepted, that says otherwise.
"""

import asyncio
import os
import re
import socket
import ssl

from torana.errors import ConfigError, UpstreamTlsError, UpstreamUnreachable
from torana.net.origin import Origin
from torana.net.proxies import Proxies, Proxy
from torana.net.resolve import Resolver, connect

PROXY_HEAD_BYTES_MAX = 16 * 1024  # of a proxy's answer to CONNECT; a refusal of Squid's has about 400 bytes
_TUNNEL_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


class Dialer:
    """Opens connections. Holds the look-ups and the TLS context, which is loaded when first needed."""

    __slots__ = ("_context", "_proxies", "_resolver")

    def __init__(self, context: ssl.SSLContext | None, proxies: Proxies | None) -> None:
        if context is not None and (context.verify_mode != ssl.CERT_REQUIRED or not context.check_hostname):
            raise ConfigError("a TLS context that does not verify certificates and host names cannot be used")
        self._context = context
        self._proxies = proxies or Proxies()
        self._resolver = Resolver()

    def close(self) -> None:
        self._resolver.close()

    def proxy(self, origin: Origin) -> Proxy | None:
        return self._proxies.pick(origin)

    async def dial(self, origin: Origin, protocol: asyncio.Protocol, connect_s: float) -> socket.socket:
        """Connect `protocol`, within `connect_s` for all of it. Returns the socket, which the loop owns."""
        deadline = asyncio.get_running_loop().time() + connect_s
        try:
            async with asyncio.timeout_at(deadline):
                sock = await self._reach(origin)
        except TimeoutError:
            raise UpstreamUnreachable(f"{origin.name} took no connection within {connect_s:g} s") from None
        try:
            async with asyncio.timeout_at(deadline):
                await self._attach(origin, sock, protocol)
                return sock
        except TimeoutError:
            message = f"{origin.name} did not finish the TLS handshake within {connect_s:g} s"
            raise UpstreamTlsError(message) from None
        except ssl.SSLCertVerificationError as error:
            message = f"the certificate of {origin.name} was refused: {error.verify_message}"
            raise UpstreamTlsError(message) from None
        except OSError as error:  # ssl.SSLError is one
            message = f"the TLS handshake with {origin.name} failed: {_reason(error)}"
            raise UpstreamTlsError(message) from None

    async def _reach(self, origin: Origin) -> socket.socket:
        proxy = self._proxies.pick(origin)
        if proxy is None:
            return await self._connect(origin)
        sock = await self._connect(proxy.origin)
        if origin.scheme == "https":
            try:
                await open_tunnel(sock, origin, proxy)
            except BaseException:
                sock.close()
                raise
        return sock

    async def _connect(self, origin: Origin) -> socket.socket:
        targets = await self._resolver.resolve(origin)
        try:
            sock, target = await connect(list(targets))
        except OSError as error:
            self._resolver.forget(origin)
            raise UpstreamUnreachable(f"{origin.name} refused the connection: {_reason(error)}") from None
        except asyncio.CancelledError:  # too slow, or nobody waits any more: the addresses are in doubt
            self._resolver.forget(origin)
            raise
        self._resolver.prefer(origin, target)
        return sock

    async def _attach(self, origin: Origin, sock: socket.socket, protocol: asyncio.Protocol) -> None:
        # From here on the loop owns the socket and closes it, also when this fails or is cancelled.
        loop = asyncio.get_running_loop()
        if origin.scheme == "http":
            await loop.create_connection(lambda: protocol, sock=sock)
            return
        if self._context is None:
            self._context = verifying_context()
        await loop.create_connection(
            lambda: protocol, sock=sock, ssl=self._context, server_hostname=origin.host
        )


def verifying_context() -> ssl.SSLContext:
    """The system's trust store, or what SSL_CERT_FILE and SSL_CERT_DIR name, as OpenSSL reads them."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # https://www.rfc-editor.org/rfc/rfc8996
    context.set_alpn_protocols(["http/1.1"])
    return context


async def open_tunnel(sock: socket.socket, origin: Origin, proxy: Proxy) -> None:
    """Ask an HTTP proxy for a tunnel: https://www.rfc-editor.org/rfc/rfc9110#section-9.3.6"""
    loop = asyncio.get_running_loop()
    lines = f"CONNECT {origin.name} HTTP/1.1\r\nhost: {origin.name}\r\n"
    if proxy.authorization:
        lines += f"proxy-authorization: {proxy.authorization}\r\n"
    answer = b""
    try:
        await loop.sock_sendall(sock, f"{lines}\r\n".encode())
        while b"\r\n\r\n" not in answer and len(answer) <= PROXY_HEAD_BYTES_MAX:
            data = await loop.sock_recv(sock, PROXY_HEAD_BYTES_MAX)
            if not data:
                break
            answer += data
    except OSError as error:
        message = f"the proxy {proxy.origin.name} broke off while opening a tunnel: {_reason(error)}"
        raise UpstreamUnreachable(message) from None
    check_tunnel(answer, origin, proxy)


def check_tunnel(answer: bytes, origin: Origin, proxy: Proxy) -> None:
    """Raise UpstreamUnreachable unless `answer` is a 2xx head and nothing after it: TLS clients speak first."""
    status = _TUNNEL_STATUS.match(answer)
    if status is None:
        raise UpstreamUnreachable(f"the proxy {proxy.origin.name} does not answer CONNECT as HTTP does")
    if not status[1].startswith(b"2"):
        refusal = f"refused a tunnel to {origin.name} with status {status[1].decode()}"
        raise UpstreamUnreachable(f"the proxy {proxy.origin.name} {refusal}")
    if not answer.endswith(b"\r\n\r\n") or answer.index(b"\r\n\r\n") + 4 != len(answer):
        raise UpstreamUnreachable(f"the proxy {proxy.origin.name} sent an odd or too long answer to CONNECT")


def _reason(error: OSError) -> str:
    """Without the errno, the path in OpenSSL's source and our own address."""
    if isinstance(error, ssl.SSLError):
        return (error.reason or "TLS error").replace("_", " ").lower()
    return os.strerror(error.errno).lower() if error.errno else "the connection was closed"
