"""The downstream end: an HTTP/1.1 server that runs one async function per request.

It frames, bounds and refuses; it does not know what a path means, who calls, or what an answer says. Errors it
finds itself are put into words by `refuse`, which knows the caller's dialect by the path.

A caller that leaves cancels the task of its request. A caller that closes only its sending half is served to
the end: https://www.rfc-editor.org/rfc/rfc9112#section-9.6
"""

import asyncio
import socket
import ssl as tls
from collections.abc import Callable
from email.utils import formatdate

from torana.net.connection import Connection
from torana.net.exchange import App, Refuse, Shared
from torana.net.limits import ServerLimits

__all__ = ["App", "Refuse", "Server", "ServerLimits"]


class Server:
    """Listens, bounds what callers may cost, and runs `app` in one task per request.

    `refuse(error, path)` gives headers and body for an error the server found itself; the status is the error's
    own, the path "" if no head was understood. The same happens to an Error that `app` lets through before its
    answer began; any other exception is logged and becomes InternalError. Later both abort the connection.
    """

    def __init__(self, app: App, limits: ServerLimits, refuse: Refuse) -> None:
        self._shared = Shared(app, limits, refuse)
        self._members: set[Connection] = set()
        self._listener: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self.port = 0  # where it listens, from start() on

    @property
    def connections(self) -> int:
        return len(self._members)

    @property
    def active(self) -> int:
        """Requests whose task still runs, answered or not."""
        return len(self._shared.live)

    async def start(
        self, host: str, port: int, *, ssl: tls.SSLContext | None = None, backlog: int = 2048
    ) -> None:
        loop, shared = asyncio.get_running_loop(), self._shared
        shared.secure = ssl is not None
        self._listener = await loop.create_server(
            lambda: Connection(shared, self._members, loop),
            host,
            port,
            ssl=ssl,
            backlog=backlog,
            ssl_handshake_timeout=shared.limits.headers_s if ssl else None,
            ssl_shutdown_timeout=shared.limits.linger_s if ssl else None,
        )
        for listening in self._listener.sockets:  # accepted sockets inherit it
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, shared.limits.send_buffer_bytes)
        self.port = int(self._listener.sockets[0].getsockname()[1])
        self._sweep(loop)

    async def drain(self, deadline_s: float, grace_s: float = 5.0) -> int:
        """Let what is running finish; returns how many exchanges are left at the deadline.

        For `grace_s` the listener still accepts, to say 503 to those who have not heard yet. Idle connections
        close at once, busy ones with their answer. Returns early when nothing is left after the grace.
        """
        loop, live = asyncio.get_running_loop(), self._shared.live
        started = loop.time()
        self._shared.draining = True
        for connection in tuple(self._members):
            connection.close_if_idle()
        await asyncio.sleep(min(grace_s, deadline_s))
        self._stop_listening()
        await self._until(lambda: not live, started + deadline_s - loop.time())
        return len(live)

    async def close(self) -> None:
        """Stop now. Live tasks are cancelled with `left` False, so they may give a stream its last word; what
        is not written within `linger_s` is lost."""
        shared, members = self._shared, self._members
        shared.draining = True
        self._stop_listening()
        for exchange in tuple(shared.live):
            exchange.cancel()
        await self._until(lambda: not shared.live, shared.limits.linger_s)
        for connection in tuple(members):
            connection.part()
        await self._until(lambda: not members, shared.limits.linger_s)
        for connection in tuple(members):
            connection.drop()
        await self._until(lambda: not members, shared.limits.linger_s)
        if self._sweeper is not None:
            self._sweeper.cancel()

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._listener.close()

    async def _until(self, done: Callable[[], bool], timeout_s: float) -> None:
        ended = self._shared.ended
        try:
            async with asyncio.timeout(max(timeout_s, 0)):
                while not done():
                    ended.clear()
                    await ended.wait()
        except TimeoutError:
            pass

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        """One look at every deadline of every connection: no timer per request."""
        now = loop.time()
        self._shared.date = b"date: %b\r\n" % formatdate(usegmt=True).encode()
        for connection in tuple(self._members):
            connection.check(now)
        self._sweeper = loop.call_later(self._shared.limits.sweep_s, self._sweep, loop)
