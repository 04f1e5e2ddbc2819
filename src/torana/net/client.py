"""The upstream HTTP/1.1 client: a pool of connections per origin, and one rule for sending again.

A request is sent a second time only if it is proven that no byte of the first was read: the connection was a
reused one that its peer had ended while it was idle. Everything else is UpstreamDisconnected, outcome unknown.
Redirects are answers like any other and never followed. Nothing here knows what the bytes say.
"""

import asyncio
import ssl as tls

from torana.errors import Overloaded, ShuttingDown, UpstreamDisconnected, UpstreamUnreachable
from torana.net import Reply
from torana.net.answer import Answer
from torana.net.dial import Dialer
from torana.net.origin import Origin, parse_origin, render_head
from torana.net.proxies import Proxies, Proxy
from torana.net.upstream import ClientLimits, Connection
from torana.records import Timeouts

__all__ = ["Client", "ClientLimits", "Origin", "Proxies", "parse_origin", "render_head"]


class Pool:
    """The connections of one origin. `idle` is last in, first out, so that the surplus of a peak grows old."""

    __slots__ = ("_idle_max", "dialing", "idle", "open", "proxy")

    def __init__(self, idle_max: int, proxy: Proxy | None) -> None:
        self.proxy = proxy
        self.idle: list[Connection] = []
        self.open: set[Connection] = set()
        self.dialing = 0
        self._idle_max = idle_max

    def take(self, now: float) -> Connection | None:
        """An idle connection that is alive and silent. The others found on the way are closed."""
        while self.idle:
            connection = self.idle.pop()
            if connection.usable(now):
                return connection
            connection.close()
        return None

    def release(self, connection: Connection) -> None:
        if len(self.idle) < self._idle_max:
            self.idle.append(connection)
        else:
            connection.close()

    def forget(self, connection: Connection) -> None:
        self.open.discard(connection)
        if connection in self.idle:
            self.idle.remove(connection)


class Client:
    """Sends requests and returns answers at their heads. Belongs to the loop it is first used in."""

    __slots__ = ("_closed", "_dialer", "_limits", "_loop", "_pools", "_timer")

    def __init__(
        self,
        limits: ClientLimits | None = None,
        ssl: tls.SSLContext | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        """`ssl` must verify certificates and names. `proxies`: none unless given, as by Proxies.from_env()."""
        self._limits = limits or ClientLimits()
        self._dialer = Dialer(ssl, proxies)
        self._pools: dict[Origin, Pool] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def idle(self) -> int:
        return sum(len(pool.idle) for pool in self._pools.values())

    @property
    def open(self) -> int:
        """Connections that exist or are being made, idle ones included."""
        return sum(len(pool.open) + pool.dialing for pool in self._pools.values())

    async def send(
        self, origin: Origin, head: bytes, body: bytes, timeouts: Timeouts, *, stream: bool
    ) -> Reply:
        """Send `head` (of render_head) and `body`; return when the head of the final response is here.

        `stream` says which limits apply: first_byte_s and between_s to a streamed call, total_s to every one.
        Raises UpstreamUnreachable, UpstreamTlsError, UpstreamDisconnected, UpstreamTimeout, UpstreamInvalid,
        UpstreamTooLarge, Overloaded or ShuttingDown. Cancelled, it closes the connection at once.
        """
        if self._closed:
            raise ShuttingDown("the gateway is shutting down and sends nothing more to providers")
        loop = self._loop
        if loop is None:  # remembered, as asking costs a system call before Python 3.12
            loop = self._loop = asyncio.get_running_loop()
        started = loop.time()
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = Pool(self._limits.idle_max, self._dialer.proxy(origin))
        if pool.proxy is not None:
            head = _through(pool.proxy, origin, head)
        if body or not head.startswith(b"GET "):
            request = b"%bcontent-length: %d\r\n\r\n%b" % (head, len(body), body)
        else:
            request = head + b"\r\n"
        connection = pool.take(started)
        if connection is not None:
            try:
                return await _begun(connection.ask(request, timeouts, stream, started, started))
            except UpstreamDisconnected:
                if not connection.unread:
                    raise
        connection = await self._dial(pool, origin, min(timeouts.connect_s, timeouts.total_s))
        return await _begun(connection.ask(request, timeouts, stream, started, loop.time()))

    async def close(self) -> None:
        """Close every connection; exchanges that are under way fail with ShuttingDown."""
        self._closed = True
        self._dialer.close()
        if self._timer is not None:
            self._timer.cancel()
        for pool in self._pools.values():
            for connection in list(pool.open):
                connection.fail(ShuttingDown("the gateway shut down before the provider had answered"))
        await asyncio.sleep(0)  # the loop closes descriptors in its next turn

    # ------------------------------------------------------------ inside

    async def _dial(self, pool: Pool, origin: Origin, connect_s: float) -> Connection:
        limit = self._limits.open_max
        if len(pool.open) + pool.dialing >= limit:
            raise Overloaded(f"{limit} connections to {origin.name} are open, which is the limit (open_max)")
        connection = Connection(origin, self._limits.idle_s, pool)
        pool.dialing += 1
        try:
            sock = await self._dialer.dial(origin, connection, connect_s)
        finally:
            pool.dialing -= 1
        if self._closed:
            connection.close()
            raise ShuttingDown("the gateway is shutting down and sends nothing more to providers")
        if connection.closing:
            raise UpstreamUnreachable(f"{origin.name} ended the connection as soon as it was made")
        connection.attach(sock)
        pool.open.add(connection)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._limits.sweep_s, self._sweep)
        return connection

    def _sweep(self) -> None:
        """One coarse timer looks after every deadline, so that an exchange sets and cancels none."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = None
        for pool in self._pools.values():
            for connection in list(pool.open):
                connection.check(now)
            for connection in [each for each in pool.idle if now >= each.idle_until]:
                connection.close()
        if any(pool.open for pool in self._pools.values()):  # one timer, however many pools
            self._timer = loop.call_later(self._limits.sweep_s, self._sweep)


def _through(proxy: Proxy, origin: Origin, head: bytes) -> bytes:
    """The head as a proxy wants it. Inside a tunnel it stays as it is: the proxy does not see it."""
    if origin.scheme == "https":
        return head
    # https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2
    head = head.replace(b" /", f" http://{origin.authority}/".encode(), 1)
    if proxy.authorization:
        head += f"proxy-authorization: {proxy.authorization}\r\n".encode()
    return head


async def _begun(answer: Answer) -> Answer:
    try:
        await answer.waiter
    except BaseException:
        answer.close()
        raise
    return answer
