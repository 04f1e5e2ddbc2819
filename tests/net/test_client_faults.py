"""The client when things break: what is sent again, what is not, deadlines, and callers that leave."""

import asyncio
import random
import socket
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from torana.errors import UpstreamDisconnected, UpstreamTimeout, UpstreamUnreachable
from torana.net.client import Client, ClientLimits, Origin
from torana.net.upstream import Connection, bytes_acked
from torana.records import Timeouts
from upstream_raw import CHUNKED, END, Peer, chunk, failure, fetch, run, saying, send, until, upstream, whole

SWIFT = ClientLimits(sweep_s=0.01)


@contextmanager
def listening(backlog=16):
    """A plain socket that takes connections when told to, outside any loop."""
    with socket.create_server(("127.0.0.1", 0), backlog=backlog) as sock:
        yield sock, Origin("http", "127.0.0.1", sock.getsockname()[1])


# ---------------------------------------------------------------- what is sent again


@pytest.mark.parametrize("ending", ["close", "reset", "half_close"])
@pytest.mark.parametrize("exchanges", [1, 2])
def test_a_request_that_was_read_is_never_sent_again(ending, exchanges):
    """T1, on a new connection and on a reused one."""

    async def script(peer: Peer, request: bytes) -> None:
        if len(there.requests) < exchanges:
            peer.write(whole(b"ok"))
        else:
            getattr(peer, ending)()

    async def test():
        nonlocal there
        async with upstream(script) as there:
            client = Client()
            for _ in range(exchanges - 1):
                await fetch(client, there.origin)
            error = await failure(fetch(client, there.origin))
            assert type(error) is UpstreamDisconnected
            assert "unknown" in str(error)
            assert (len(there.requests), len(there.peers), client.open) == (exchanges, 1, 0)
            await client.close()

    there = None
    run(test())


@pytest.mark.parametrize("linger", [False, True])
def test_a_connection_closed_while_idle_is_noticed_before_it_is_used(linger):
    """The peer closes and the loop has had no turn to hear of it: only the kernel knows."""

    async def test():
        with listening() as (sock, origin):
            client = Client()
            loop = asyncio.get_running_loop()
            sock.setblocking(False)
            call = asyncio.create_task(fetch(client, origin))
            peer, _ = await loop.sock_accept(sock)
            await loop.sock_recv(peer, 65536)
            peer.send(whole(b"one"))
            assert await call == b"one"
            if linger:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            call = asyncio.create_task(fetch(client, origin))
            peer.close()  # before the task's first step
            peer, _ = await loop.sock_accept(sock)
            assert b"POST /v1/x" in await loop.sock_recv(peer, 65536)
            peer.send(whole(b"two"))
            assert await call == b"two"
            peer.close()
            await client.close()

    run(test())


def test_a_write_that_the_kernel_refused_proves_the_request_unread():
    async def test():
        with listening() as (sock, origin):
            client = Client()
            call = asyncio.create_task(fetch(client, origin))
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            peer, _ = await loop.sock_accept(sock)
            await loop.sock_recv(peer, 65536)
            peer.send(whole(b"one"))
            await call
            [connection] = client._pools[origin].idle
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            peer.close()
            answer = connection.ask(b"POST / HTTP/1.1\r\n\r\n", Timeouts(), False, 0.0, loop.time())
            assert connection.unread
            assert type(await failure(answer.waiter)) is UpstreamDisconnected
            await client.close()

    run(test())


@contextmanager
def _full_peer():
    """Two ends of a connection whose far end's kernel takes no more bytes: what is sent now stays here."""
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        server.bind(("127.0.0.1", 0))
        server.listen()
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        near.sendall(b"x" * 100_000)
        before = -1
        while before != (before := bytes_acked(near)):  # until the window is shut
            time.sleep(0.05)
        with near, far:
            yield near, far


def test_the_kernel_tells_bytes_that_arrived_from_bytes_that_did_not():
    with _full_peer() as (near, far):
        before = bytes_acked(near)
        near.send(b"request")
        far.shutdown(socket.SHUT_WR)
        near.settimeout(5)
        assert near.recv(1) == b""
        assert bytes_acked(near) == before
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
        before = bytes_acked(near)
        near.send(b"request")
        assert far.recv(100) == b"request"
        far.shutdown(socket.SHUT_WR)
        near.settimeout(5)
        assert near.recv(1) == b""
        assert bytes_acked(near) == before + 7
        near.close()
        far.close()
    assert bytes_acked(near) == -1


class _Owner:
    def release(self, connection):
        self.kept = connection

    def forget(self, connection):
        pass


def test_a_fin_sent_before_any_byte_of_the_request_came_proves_it_unread():
    async def test():
        with _full_peer() as (near, far):
            loop = asyncio.get_running_loop()
            near.setblocking(False)
            connection = Connection(Origin("http", "127.0.0.1", 1), 55.0, _Owner())
            connection._secure = True  # as with TLS, the kernel is asked what was acknowledged before
            await loop.create_connection(lambda: connection, sock=near)
            connection.attach(near)
            connection._asked = 1
            answer = connection.ask(b"POST / HTTP/1.1\r\n\r\n", Timeouts(), False, 0.0, loop.time())
            far.shutdown(socket.SHUT_WR)
            assert type(await failure(answer.waiter)) is UpstreamDisconnected
            assert connection.unread

    run(test())


class _IdleCloser(threading.Thread):
    """An upstream with a kernel-level race in it: it closes a connection about when the next request comes."""

    def __init__(self, sock: socket.socket, seed: int) -> None:
        super().__init__(daemon=True)
        self.sock = sock
        self.chance = random.Random(seed)
        self.executed: list[bytes] = []

    def run(self) -> None:
        while True:
            try:
                peer, _ = self.sock.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer:
            peer.settimeout(5)
            while request := peer.recv(65536):
                self.executed.append(request[-8:])
                peer.sendall(whole(request[-8:]))
                peer.settimeout(0.0005 + self.chance.random() * 0.001)
                try:
                    peer.recv(1, socket.MSG_PEEK)
                except TimeoutError:
                    return


def test_no_request_runs_twice_when_idle_connections_are_closed_under_it():
    """T6: every call has an answer of its own or an error that says the outcome is unknown."""

    async def test():
        with listening() as (sock, origin):
            there = _IdleCloser(sock, seed=3)
            there.start()
            client, chance = Client(), random.Random(5)
            answered, unknown = [], []
            for number in range(1_000):
                body = b"%08d" % number
                try:
                    assert await fetch(client, origin, body) == body
                    answered.append(body)
                except UpstreamDisconnected:
                    unknown.append(body)
                await asyncio.sleep(0.0005 + chance.random() * 0.001)
            assert sorted(set(there.executed)) == sorted(there.executed)
            assert set(answered) <= set(there.executed)
            assert len(answered) + len(unknown) == 1_000
            assert len(answered) >= 900
            await client.close()
            sock.shutdown(socket.SHUT_RDWR)

    run(test())


# ---------------------------------------------------------------- no connection


def test_a_refused_connection_is_unreachable():
    async def test():
        with listening() as (_, origin):
            pass
        client = Client()
        error = await failure(fetch(client, origin))
        assert type(error) is UpstreamUnreachable
        assert origin.name in str(error)
        assert client.open == 0
        await client.close()

    run(test())


def test_a_name_that_does_not_exist_is_unreachable():
    async def test():
        client = Client()
        error = await failure(fetch(client, Origin("http", "nobody.invalid", 80)))
        assert type(error) is UpstreamUnreachable
        assert "nobody.invalid" in str(error)
        assert client.open == 0
        await client.close()

    run(test())


@contextmanager
def _blackhole():
    """A listener whose queue is full: the kernel drops the SYN of whoever comes next."""
    with listening(backlog=0) as (sock, origin):
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
        try:
            yield origin
        finally:
            for filler in fillers:
                filler.close()


def test_a_connection_that_nobody_takes_ends_at_its_deadline():
    """T13."""

    async def test():
        with _blackhole() as origin:
            client = Client()
            error = await failure(fetch(client, origin, connect_s=0.1))
            assert type(error) is UpstreamUnreachable
            assert "0.1 s" in str(error)
            assert client.open == 0
            await client.close()

    run(test())


def test_a_connection_that_speaks_before_it_is_asked_takes_no_request():
    async def test():
        with listening() as (sock, origin):
            loop = asyncio.get_running_loop()
            near = socket.create_connection(sock.getsockname())
            far, _ = sock.accept()
            with far:
                far.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                near.setblocking(False)
                connection = Connection(origin, 55.0, _Owner())
                await loop.create_connection(lambda: connection, sock=near)
                await until(lambda: connection.closing)

    run(test())


# ---------------------------------------------------------------- deadlines


def _late(*writes):
    """A script that writes, then says nothing more."""

    async def script(peer: Peer, request: bytes) -> None:
        for data in writes:
            peer.write(data)
            await asyncio.sleep(0)

    return script


DEADLINES = {
    "no head, streamed": ((), True, {"first_byte_s": 0.05}, "first_byte_s"),
    "half a head, streamed": ((b"HTTP/1.1 200 OK\r\n",), True, {"first_byte_s": 0.05}, "first_byte_s"),
    "interim only, streamed": (
        (b"HTTP/1.1 100 Continue\r\n\r\n",),
        True,
        {"first_byte_s": 0.05},
        "first_byte_s",
    ),
    "no head, whole": ((), False, {"first_byte_s": 0.01, "between_s": 0.01, "total_s": 0.1}, "total_s"),
    "stall after the head": ((CHUNKED,), True, {"between_s": 0.05}, "between_s"),
    "stall between chunks": ((CHUNKED, chunk(b"x")), True, {"between_s": 0.05}, "between_s"),
    "stall of a whole answer": ((CHUNKED,), False, {"between_s": 0.01, "total_s": 0.1}, "total_s"),
}


@pytest.mark.parametrize("name", DEADLINES)
def test_a_silent_upstream_ends_at_the_deadline_that_the_message_names(name):
    """U1 and U10."""
    writes, stream, limits, word = DEADLINES[name]

    async def test():
        async with upstream(_late(*writes)) as there:
            client = Client(SWIFT)

            async def call():
                reply = await send(client, there.origin, stream=stream, **limits)
                await reply.relay(lambda data: None)

            error = await failure(call())
            assert type(error) is UpstreamTimeout
            assert word in str(error)
            assert f"{limits[word]:g} s" in str(error)
            await there.peers[0].lost.wait()
            assert (client.open, len(there.requests)) == (0, 1)
            await client.close()

    run(test())


def test_a_drip_of_bytes_ends_at_the_total_deadline():
    """U11."""

    async def script(peer: Peer, request: bytes) -> None:
        peer.write(CHUNKED)
        while True:
            peer.write(chunk(b"x"))
            await asyncio.sleep(0.005)

    async def test():
        async with upstream(script) as there:
            client, seen = Client(SWIFT), []
            reply = await send(client, there.origin, stream=True, between_s=5, total_s=0.2)
            error = await failure(reply.relay(seen.append))
            assert type(error) is UpstreamTimeout
            assert "total_s" in str(error)
            assert set(b"".join(seen)) == set(b"x")
            await client.close()

    run(test())


def test_a_stream_that_its_caller_paused_is_not_blamed_for_silence():
    async def script(peer: Peer, request: bytes) -> None:
        peer.write(CHUNKED + chunk(b"x"))
        await resumed.wait()
        await asyncio.sleep(0.1)  # the time counts anew from the moment we listen again
        peer.write(chunk(b"y") + END)

    async def test():
        async with upstream(script) as there:
            client, seen = Client(SWIFT), []
            reply = await send(client, there.origin, stream=True, between_s=0.6)

            def sink(data: bytes) -> None:
                seen.append(data)
                if len(seen) == 1:
                    reply.pause()
                    asyncio.get_running_loop().call_later(0.9, reply.resume)
                    asyncio.get_running_loop().call_later(0.9, resumed.set)

            await reply.relay(sink)
            assert seen == [b"x", b"y"]
            await client.close()

    resumed = asyncio.Event()
    run(test())


def test_a_stream_that_speaks_in_time_is_left_alone():
    async def script(peer: Peer, request: bytes) -> None:
        peer.write(CHUNKED)
        for _ in range(30):
            await asyncio.sleep(0.04)
            peer.write(chunk(b"x"))
        peer.write(END)

    async def test():
        async with upstream(script) as there:
            client = Client(SWIFT)
            reply = await send(client, there.origin, stream=True, first_byte_s=1, between_s=1)
            assert await reply.read(100) == b"x" * 30
            await client.close()

    run(test())


# ---------------------------------------------------------------- callers that leave


@pytest.mark.parametrize("writes", [(), (CHUNKED,), (CHUNKED, chunk(b"x"))])
def test_a_cancelled_call_closes_its_connection_at_once(writes):
    """C1 and C2, before and after the first byte."""

    async def test():
        async with upstream(_late(*writes)) as there:
            client, seen = Client(), []

            async def call():
                reply = await send(client, there.origin, stream=True)
                await reply.relay(seen.append)

            task = asyncio.create_task(call())
            await until(lambda: len(there.requests) == 1 and len(seen) == max(0, len(writes) - 1))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert client.open == 0
            await there.peers[0].lost.wait()
            await client.close()

    run(test())


def test_a_call_cancelled_while_it_connects_leaves_nothing_behind():
    async def test():
        with _blackhole() as origin:
            client = Client()
            task = asyncio.create_task(fetch(client, origin))
            await asyncio.sleep(0.02)
            assert client.open == 1
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert client.open == 0
            await client.close()

    run(test())


def test_no_place_is_lost_to_ten_thousand_cancelled_calls():
    """C5."""
    chance = random.Random(11)

    async def script(peer: Peer, request: bytes) -> None:
        if chance.random() < 0.5:
            peer.write(CHUNKED + chunk(b"x"))
            await asyncio.sleep(chance.random() * 0.002)
            peer.write(END)
        else:
            peer.write(whole(b"ok"))

    async def worker(client, origin, calls):
        for _ in range(calls):
            task = asyncio.create_task(fetch(client, origin))
            for _ in range(chance.randrange(12)):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                assert task.exception() is None

    async def test():
        async with upstream(script) as there:
            client = Client(ClientLimits(open_max=50))
            await asyncio.gather(*[worker(client, there.origin, 200) for _ in range(50)])
            assert client.open == client.idle
            bodies = [await fetch(client, there.origin) for _ in range(100)]
            assert set(bodies) <= {b"x", b"ok"}
            await until(lambda: sum(not peer.lost.is_set() for peer in there.peers) == client.open)
            await client.close()

    run(test())


def test_saying_nothing_is_what_the_last_answer_leaves_on_a_kept_connection():
    """A kept connection has no deadline of the exchange that ended."""

    async def test():
        async with upstream(saying(whole(b"ok"))) as there:
            client = Client(SWIFT)
            await fetch(client, there.origin, total_s=0.03)
            await asyncio.sleep(0.1)
            assert (client.open, client.idle) == (1, 1)
            await client.close()

    run(test())


def test_a_second_answer_nobody_asked_for_never_reaches_the_next_caller():
    """Not even when it comes right behind the first, before the loop has had a turn to see it."""

    async def answer(peer, loop):
        with suppress(ConnectionError):
            while await loop.sock_recv(peer, 65536):
                peer.send(whole(b"own answer"))

    async def accept(there, loop):
        while True:
            peer, _ = await loop.sock_accept(there)
            peers.append(peer)
            tasks.append(asyncio.create_task(answer(peer, loop)))

    async def test():
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as there:
            there.setblocking(False)
            origin = Origin("http", "127.0.0.1", there.getsockname()[1])
            tasks.append(asyncio.create_task(accept(there, loop)))
            client = Client()
            assert await fetch(client, origin) == b"own answer"
            peers[0].send(whole(b"a stray answer to the first caller"))
            assert await fetch(client, origin) == b"own answer"
            await client.close()
            for task in tasks:
                task.cancel()

    tasks = []
    peers = []
    run(test())
