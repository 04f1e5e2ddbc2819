"""The command line's way to a running server: the admin API over loopback, found by the run file.

The server's address is checked to be a loopback one before the token is sent to it. Over TLS its certificate must be
the one the run file names; its names do not count, as nobody issues certificates for 127.0.0.1.
"""

import http.client
import ssl
from ipaddress import ip_address
from typing import Any
from urllib.parse import quote, urlsplit

from msgspec import Struct
from msgspec.json import Decoder

from torana.control.files import Running, token_of
from torana.errors import ConfigError, Error, StoreError
from torana.wire.json import encode, read

TIMEOUT_S = 10.0  # a server that is busy answers in milliseconds; one that hangs should not hang the terminal
ANSWER_BYTES_MAX = 64_000_000  # the list of all keys a store may hold

Object = dict[str, Any]  # JSON of the admin API, see control.api


class Gone(Error):
    """No server listens where the run file says: it was killed, or the file is a left-over."""


class _Told(Struct):
    message: str
    param: str | None = None
    code: str | None = None


class _Refused(Struct):
    error: _Told


_object = Decoder(dict[str, Any])
_refused = Decoder(_Refused)


class Remote:
    """A running server's keys. Raises Gone if none listens, else the Error that the server answered with."""

    def __init__(self, running: Running) -> None:
        self._running = running
        parts = urlsplit(running.address)
        self._secure = parts.scheme == "https"
        self._host, self._port = _loopback(parts.hostname or "", running.address), parts.port

    def all(self) -> list[Object]:
        rows: list[Object] = self._ask("GET", "/admin/v1/keys")["data"]
        return rows

    def create(self, name: str) -> Object:
        return self._ask("POST", "/admin/v1/keys", encode({"name": name}))

    def revoke(self, id: str) -> Object:
        return self._ask("DELETE", f"/admin/v1/keys/{quote(id, safe='')}")

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Object:
        token = token_of(self._running)
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        connection = self._connection()
        try:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            status, answer = reply.status, reply.read(ANSWER_BYTES_MAX)
        except ConnectionRefusedError:
            raise Gone(f"no server listens on {self._running.address}") from None
        except (OSError, http.client.HTTPException) as exc:
            why = f"the server on {self._running.address} (pid {self._running.pid}) does not answer: {exc}"
            raise StoreError(why) from None
        finally:
            connection.close()
        if status >= 400:
            raise _error(status, answer)
        return read(_object, answer, StoreError)

    def _connection(self) -> http.client.HTTPConnection:
        if not self._secure:
            return http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        context = ssl.create_default_context(cafile=self._running.cert)
        context.check_hostname = False
        context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN  # the leaf itself is what we trust
        return http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=context)


def _loopback(host: str, address: str) -> str:
    """Where on this machine a server that listens on `host` can be reached."""
    try:
        found = ip_address("127.0.0.1" if host == "localhost" else host)
    except ValueError:
        found = ip_address("192.0.2.0")  # a name may lead anywhere; this address leads nowhere (RFC 5737)
    if found.is_unspecified:
        return "127.0.0.1" if found.version == 4 else "::1"
    if not found.is_loopback:
        raise ConfigError(
            f"the server listens on {address} and not on this machine's own address, so its admin API cannot be "
            "reached; stop it to change keys, or let it listen on 0.0.0.0"
        )
    return str(found)


def _error(status: int, answer: bytes) -> Error:
    try:
        told = read(_refused, answer, StoreError).error
    except StoreError:
        return StoreError(f"the server answered {status}, and not as a Torana would")
    return Error(told.message, param=told.param, status=status, code=told.code)
