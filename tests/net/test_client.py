"""The client against an upstream that says exactly these bytes: answers, framing, reuse and limits."""

import asyncio
import random

import pytest

from torana.errors import (
    InternalError,
    Overloaded,
    ShuttingDown,
    UpstreamDisconnected,
    UpstreamInvalid,
    UpstreamTooLarge,
)
from torana.net.client import Client, ClientLimits, render_head
from torana.net.upstream import HEAD_BYTES_MAX, HEADERS_MAX
from torana.records import Timeouts
from upstream_raw import CHUNKED, END, Peer, chunk, failure, fetch, run, saying, send, until, upstream, whole


async def _relay(reply):
    pieces = []
    await reply.relay(pieces.append)
    return b"".join(pieces)


def test_a_request_arrives_as_it_was_written_and_its_answer_comes_back():
    async def test():
        async with upstream(saying(whole(b"hello", b"X-Request-Id: r1"))) as there:
            client = Client()
            head = render_head("POST", there.origin, "/v1/chat?a=1", [("authorization", "Bearer k")])
            reply = await client.send(there.origin, head, b'{"a":1}', Timeouts(), stream=False)
            assert reply.status == 200
            assert reply.headers == [(b"x-request-id", b"r1"), (b"content-length", b"5")]
            assert await reply.read(100) == b"hello"
            assert there.requests == [head + b'content-length: 7\r\n\r\n{"a":1}']
            await client.close()

    run(test())


def test_a_get_has_no_body_and_no_content_length():
    async def test():
        async with upstream(saying(whole(b"[]"))) as there:
            client = Client()
            head = render_head("GET", there.origin, "/v1/models")
            reply = await client.send(there.origin, head, b"", Timeouts(), stream=False)
            assert await reply.read(100) == b"[]"
            assert there.requests == [head + b"\r\n"]
            await client.close()

    run(test())


def test_connections_are_used_again_last_in_first_out():
    async def test():
        async with upstream(saying(whole(b"ok"))) as there:
            client = Client()
            await asyncio.gather(*[fetch(client, there.origin) for _ in range(3)])
            assert (client.open, client.idle, len(there.peers)) == (3, 3, 3)
            for _ in range(5):
                assert await fetch(client, there.origin) == b"ok"
            assert sorted(len(peer.requests) for peer in there.peers) == [1, 1, 6]
            await client.close()
            assert (client.open, client.idle) == (0, 0)

    run(test())


def test_the_body_arrives_by_a_plain_call_with_each_read_joined():
    async def script(peer: Peer, request: bytes) -> None:
        peer.write(CHUNKED + chunk(b"a") + chunk(b"b"))
        await until(lambda: seen == [b"ab"])
        peer.write(chunk(b"c") + chunk(b"d") + chunk(b"e"))
        await until(lambda: seen == [b"ab", b"cde"])
        peer.write(END)

    seen: list[bytes] = []

    async def test():
        async with upstream(script) as there:
            client = Client()
            reply = await send(client, there.origin, stream=True)
            await reply.relay(seen.append)
            assert seen == [b"ab", b"cde"]
            assert (client.open, client.idle) == (1, 1)
            await client.close()

    run(test())


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_how_the_network_cuts_the_answer_does_not_matter(size):
    answer = CHUNKED + chunk(b"data: 1\n\n") + chunk(b"data: \xc3\xa9\n\n") + END

    async def script(peer: Peer, request: bytes) -> None:
        for start in range(0, len(answer), size):
            peer.write(answer[start : start + size])
            await asyncio.sleep(0)

    async def test():
        async with upstream(script) as there:
            client = Client()
            for _ in range(2):
                reply = await send(client, there.origin, stream=True)
                assert await _relay(reply) == b"data: 1\n\ndata: \xc3\xa9\n\n"
            assert len(there.peers) == 1
            await client.close()

    run(test())


def test_interim_responses_are_passed_over():
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"

    async def test():
        async with upstream(saying(interim, whole(b"final", b"a: b"))) as there:
            client = Client()
            for _ in range(2):
                reply = await send(client, there.origin)
                assert (reply.status, reply.headers) == (200, [(b"a", b"b"), (b"content-length", b"5")])
                assert await reply.read(10) == b"final"
            assert len(there.peers) == 1
            await client.close()

    run(test())


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_without_a_body_ends_at_its_head_and_a_body_sent_anyway_is_never_read_as_the_next(status):
    async def test():
        bare = b"HTTP/1.1 %b\r\ncontent-length: 5\r\n\r\n" % status
        async with upstream(saying(bare + b"stray")) as there:
            client = Client()
            for _ in range(3):
                assert await fetch(client, there.origin) == b""
            await until(lambda: client.open == 0)
            assert [len(peer.requests) for peer in there.peers] == [1, 1, 1]
            await client.close()

    run(test())


def test_trailers_are_ignored():
    async def test():
        trailers = b"0\r\nx-checksum: 1\r\nset-cookie: a\r\n\r\n"
        async with upstream(saying(CHUNKED + chunk(b"x") + trailers)) as there:
            client = Client()
            for _ in range(2):
                reply = await send(client, there.origin)
                assert dict(reply.headers).keys() == {b"content-type", b"transfer-encoding"}
                assert await reply.read(10) == b"x"
            assert len(there.peers) == 1
            await client.close()

    run(test())


def test_a_redirect_is_an_answer_and_is_not_followed():
    async def test():
        async with upstream(saying(whole(b"secret"))) as target:
            location = b"location: http://127.0.0.1:%d/" % target.port
            async with upstream(saying(whole(b"moved", location, status=b"302 Found"))) as there:
                client = Client()
                reply = await send(client, there.origin)
                assert (reply.status, await reply.read(10)) == (302, b"moved")
                assert (len(there.requests), target.requests, target.peers) == (1, [], [])
                await client.close()

    run(test())


def test_a_body_that_ends_with_the_connection_is_whole_after_a_fin():
    async def script(peer: Peer, request: bytes) -> None:
        peer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        peer.close()

    async def test():
        async with upstream(script) as there:
            client = Client()
            assert await fetch(client, there.origin) == b"all of it"
            assert client.open == 0
            await client.close()

    run(test())


def test_a_body_that_ends_with_the_connection_is_not_whole_after_a_reset():
    async def script(peer: Peer, request: bytes) -> None:
        peer.write(b"HTTP/1.1 200 OK\r\n\r\nhalf of")
        await until(lambda: bool(seen))
        peer.reset()

    seen: list[bytes] = []

    async def test():
        async with upstream(script) as there:
            client = Client()
            reply = await send(client, there.origin)
            assert type(await failure(reply.relay(seen.append))) is UpstreamDisconnected
            assert (seen, client.open) == ([b"half of"], 0)
            await client.close()

    run(test())


INVALID = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "HTTP/2 frames": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "two lengths": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    "a signed length": b"HTTP/1.1 200 OK\r\ncontent-length: +1\r\n\r\na",
    "length and chunked": b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "an unknown transfer coding": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
    "two transfer codings": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n\r\n",
    "a bad chunk size": CHUNKED + b"zz\r\n",
    "a chunk longer than its size": CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
    "a folded header": b"HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 0\r\n\r\n",
    "a bare LF": b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
    "a bare CR": b"HTTP/1.1 200 OK\r\na: b\rc\r\ncontent-length: 0\r\n\r\n",
    "a NUL": b"HTTP/1.1 200 OK\r\na: b\0c\r\ncontent-length: 0\r\n\r\n",
    "a space before a colon": b"HTTP/1.1 200 OK\r\na : b\r\ncontent-length: 0\r\n\r\n",
    "an upgrade": b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
    "an upgrade without a name": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "brotli": whole(b"x", b"content-encoding: br"),
    "gzip twice": whole(b"x", b"content-encoding: gzip, gzip"),
}


@pytest.mark.parametrize("name", INVALID)
def test_bytes_that_http_does_not_allow_are_refused_and_the_connection_closed(name):
    async def test():
        async with upstream(saying(INVALID[name])) as there:
            client = Client()
            assert type(await failure(fetch(client, there.origin))) is UpstreamInvalid
            assert (client.open, len(there.requests)) == (0, 1)
            await there.peers[0].lost.wait()
            await client.close()

    run(test())


def test_what_came_before_a_framing_error_is_delivered_before_it():
    async def test():
        async with upstream(saying(CHUNKED + chunk(b"good") + b"zz\r\n")) as there:
            client, seen = Client(), []
            reply = await send(client, there.origin, stream=True)
            assert type(await failure(reply.relay(seen.append))) is UpstreamInvalid
            assert seen == [b"good"]
            await client.close()

    run(test())


@pytest.mark.parametrize("cut", range(0, 60, 3))
def test_a_truncated_answer_is_never_taken_for_a_whole_one(cut):
    answer = CHUNKED[: -len(b"\r\n")] + b"\r\n" + chunk(b"data: x\n\n") + chunk(b"data: y\n\n") + END

    async def script(peer: Peer, request: bytes) -> None:
        peer.write(answer[: len(answer) - 1 - cut])
        peer.close()

    async def test():
        async with upstream(script) as there:
            client = Client()
            assert type(await failure(fetch(client, there.origin))) is UpstreamDisconnected
            assert (client.open, len(there.requests)) == (0, 1)
            await client.close()

    run(test())


def test_a_length_longer_than_the_body_is_a_broken_answer():
    async def script(peer: Peer, request: bytes) -> None:
        peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!")
        peer.half_close()

    async def test():
        async with upstream(script) as there:
            client = Client()
            assert type(await failure(fetch(client, there.origin))) is UpstreamDisconnected
            assert client.open == 0
            await client.close()

    run(test())


def test_no_byte_of_one_answer_is_in_the_next():
    """U3 and U4: bodies longer than declared and second answers, in the same segment or after it."""
    chance = random.Random(7)
    strays = [b"", b"STRAY", whole(b"STRAY"), b"\r\n" + whole(b"STRAY"), b"HTTP/1.1 200 OK\r\n"]

    async def script(peer: Peer, request: bytes) -> None:
        body = request[-8:]
        stray = chance.choice(strays)
        if chance.random() < 0.5:
            peer.write(whole(body) + stray)
        else:
            peer.write(whole(body))
            peer.write(stray)

    async def test():
        async with upstream(script) as there:
            client = Client()
            for number in range(1_000):
                body = b"%08d" % number
                assert await fetch(client, there.origin, body) == body
            assert len(there.requests) == 1_000
            await client.close()

    run(test())


def test_bytes_on_an_idle_connection_end_it():
    async def test():
        async with upstream(saying(whole(b"ok"))) as there:
            client = Client()
            await fetch(client, there.origin)
            there.peers[0].write(whole(b"unasked"))
            await there.peers[0].lost.wait()
            assert (client.open, client.idle) == (0, 0)
            assert await fetch(client, there.origin) == b"ok"
            await client.close()

    run(test())


CLOSING = {
    "connection: close": whole(b"ok", b"connection: close"),
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    "keep-alive of one second": whole(b"ok", b"Keep-Alive: timeout=1, max=100"),
    "keep-alive of none": whole(b"ok", b"keep-alive: max=5,TIMEOUT=0"),
}


@pytest.mark.parametrize("name", CLOSING)
def test_a_connection_whose_peer_will_close_it_is_not_kept(name):
    async def test():
        async with upstream(saying(CLOSING[name])) as there:
            client = Client()
            for _ in range(2):
                assert await fetch(client, there.origin) == b"ok"
            assert (client.open, len(there.peers)) == (0, 2)
            await client.close()

    run(test())


def test_a_connection_is_kept_for_the_time_its_peer_promises_less_a_second():
    async def test():
        async with upstream(saying(whole(b"ok", b"keep-alive: timeout=5"))) as there:
            client = Client(ClientLimits(idle_s=55))
            before = asyncio.get_running_loop().time()
            await fetch(client, there.origin)
            after = asyncio.get_running_loop().time()
            [connection] = client._pools[there.origin].idle
            assert before + 4 <= connection.idle_until <= after + 4
            await client.close()

    run(test())


def test_idle_connections_are_closed_after_their_time():
    async def test():
        async with upstream(saying(whole(b"ok"))) as there:
            client = Client(ClientLimits(idle_s=0.05, sweep_s=0.01))
            await fetch(client, there.origin)
            await there.peers[0].lost.wait()
            assert (client.open, client.idle) == (0, 0)
            await client.close()

    run(test())


def test_idle_connections_above_their_limit_are_closed():
    async def test():
        async with upstream(saying(whole(b"ok"))) as there:
            client = Client(ClientLimits(idle_max=2))
            await asyncio.gather(*[fetch(client, there.origin) for _ in range(5)])
            assert (client.open, client.idle) == (2, 2)
            await client.close()

    run(test())


def test_connections_above_their_limit_are_refused_by_name():
    async def script(peer: Peer, request: bytes) -> None:
        await asyncio.sleep(TEST_FOR_EVER_S)

    async def test():
        async with upstream(script) as there:
            client = Client(ClientLimits(open_max=2))
            calls = [asyncio.create_task(fetch(client, there.origin)) for _ in range(2)]
            await until(lambda: len(there.requests) == 2)
            error = await failure(fetch(client, there.origin))
            assert type(error) is Overloaded
            assert "open_max" in str(error)
            await client.close()
            assert [type(await failure(call)) for call in calls] == [ShuttingDown, ShuttingDown]

    run(test())


TEST_FOR_EVER_S = 3_600


def test_a_closed_client_sends_nothing():
    async def test():
        async with upstream(saying(whole(b"ok"))) as there:
            client = Client()
            await client.close()
            assert type(await failure(fetch(client, there.origin))) is ShuttingDown
            assert there.peers == []

    run(test())


TOO_LARGE = {
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 100_000 + b"\r\n",
    "one too many": b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * (HEADERS_MAX + 1) + b"\r\n",
    "a large header": b"HTTP/1.1 200 OK\r\na: " + b"b" * 1_000_000 + b"\r\n\r\n",
    "a large header in one read": b"HTTP/1.1 200 OK\r\na: " + b"b" * HEAD_BYTES_MAX + b"\r\n\r\n",
    "a header without end": b"HTTP/1.1 200 OK\r\na: " + b"b" * 100_000,
    "interim responses without end": b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10_000,
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_a_head_above_its_limit_is_refused(name):
    async def test():
        async with upstream(saying(TOO_LARGE[name])) as there:
            client = Client()
            assert type(await failure(fetch(client, there.origin))) is UpstreamTooLarge
            assert client.open == 0
            await client.close()

    run(test())


def test_headers_up_to_their_limit_are_taken():
    async def test():
        lines = [b"h%d: v" % number for number in range(HEADERS_MAX - 1)]
        async with upstream(saying(whole(b"x" * 200_000, *lines))) as there:
            client = Client()
            assert len(await fetch(client, there.origin)) == 200_000
            await client.close()

    run(test())


BODIES = {
    "declared": whole(b"x" * 101),
    "chunked": CHUNKED + chunk(b"x" * 101) + END,
    "chunked and late": CHUNKED + chunk(b"x" * 100) + chunk(b"x"),
    "declared and late": b"HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n",
}


@pytest.mark.parametrize("name", BODIES)
def test_a_body_above_what_the_reader_takes_is_refused(name):
    async def test():
        async with upstream(saying(BODIES[name])) as there:
            client = Client()
            reply = await send(client, there.origin)
            assert type(await failure(reply.read(100))) is UpstreamTooLarge
            assert client.open == client.idle
            await client.close()

    run(test())


def test_a_body_of_just_the_limit_is_read():
    async def test():
        async with upstream(saying(CHUNKED, chunk(b"x" * 60), chunk(b"x" * 40), END)) as there:
            client = Client()
            reply = await send(client, there.origin)
            assert await reply.read(100) == b"x" * 100
            await client.close()

    run(test())


def test_a_large_body_that_nobody_reads_stops_the_upstream():
    """Backpressure reaches the peer's own socket: what it wrote stays with it."""
    total = 32 << 20

    async def script(peer: Peer, request: bytes) -> None:
        peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total)
        peer.write(b"x" * total)

    async def test():
        async with upstream(script) as there:
            client = Client()
            reply = await send(client, there.origin)
            await until(lambda: reply._line._paused)
            assert reply.held_bytes <= 1 << 20
            assert there.peers[0].transport.get_write_buffer_size() > total // 2
            assert len(await reply.read(total)) == total
            assert (client.open, client.idle) == (1, 1)
            await client.close()

    run(test())


def test_a_sink_may_pause_and_resume_the_upstream():
    async def script(peer: Peer, request: bytes) -> None:
        peer.write(CHUNKED)
        for number in range(100):
            peer.write(chunk(b"%04d" % number))
            await asyncio.sleep(0)
        peer.write(END)

    async def test():
        async with upstream(script) as there:
            client, seen = Client(), []
            reply = await send(client, there.origin, stream=True)

            def sink(data: bytes) -> None:
                seen.append(data)
                reply.pause()
                asyncio.get_running_loop().call_later(0.001, reply.resume)

            await reply.relay(sink)
            assert b"".join(seen) == b"".join(b"%04d" % number for number in range(100))
            assert await fetch(client, there.origin) == b"".join(seen)  # the connection reads again
            assert len(there.peers) == 1
            await client.close()

    run(test())


@pytest.mark.parametrize("delay_s", [0, 0.01])
def test_an_error_of_the_sink_is_raised_and_closes_the_connection(delay_s):
    class Full(Exception):
        pass

    def sink(data: bytes) -> None:
        raise Full

    async def script(peer: Peer, request: bytes) -> None:
        peer.write(CHUNKED)
        await asyncio.sleep(delay_s)
        peer.write(chunk(b"x"))

    async def test():
        async with upstream(script) as there:
            client = Client()
            reply = await send(client, there.origin, stream=True)
            assert type(await failure(reply.relay(sink))) is Full
            await there.peers[0].lost.wait()
            assert client.open == 0
            await client.close()

    run(test())


def test_a_sink_may_close_its_reply():
    async def test():
        async with upstream(saying(CHUNKED, chunk(b"x"), chunk(b"y"))) as there:
            client, seen = Client(), []
            reply = await send(client, there.origin, stream=True)

            def sink(data: bytes) -> None:
                seen.append(data)
                reply.close()

            assert type(await failure(reply.relay(sink))) is UpstreamDisconnected
            assert (len(seen), client.open) == (1, 0)
            await client.close()

    run(test())


def test_closing_a_reply_takes_its_connection_only_if_the_body_is_not_all_there():
    async def script(peer: Peer, request: bytes) -> None:
        peer.write(whole(b"ok") if len(there.requests) == 1 else CHUNKED)

    async def test():
        nonlocal there
        async with upstream(script) as there:
            client = Client()
            done = await send(client, there.origin)
            await until(lambda: client.idle == 1)
            done.close()
            done.close()
            assert (client.open, client.idle) == (1, 1)
            half = await send(client, there.origin)
            done.close()  # an old reply has no hold on a connection that went on
            assert (client.open, client.idle) == (1, 0)
            half.close()
            half.close()
            assert (client.open, client.idle) == (0, 0)
            await there.peers[0].lost.wait()
            await client.close()

    there = None
    run(test())


def test_a_body_is_read_once():
    async def test():
        async with upstream(saying(whole(b"ok"))) as there:
            client = Client()
            reply = await send(client, there.origin)
            assert await reply.read(10) == b"ok"
            assert type(await failure(reply.read(10))) is InternalError
            closed = await send(client, there.origin)
            closed.close()
            assert type(await failure(closed.read(10))) is InternalError
            await client.close()

    run(test())


def test_an_answer_before_the_request_was_all_written_is_given_and_its_connection_closed():
    async def test():
        loop = asyncio.get_running_loop()

        class Early(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

            def data_received(self, data):
                self.transport.pause_reading()
                self.transport.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")

        server = await loop.create_server(Early, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with upstream(saying(b"")) as there:
            origin = type(there.origin)("http", "127.0.0.1", port)
            client = Client()
            reply = await send(client, origin, b"x" * (64 << 20))
            assert (reply.status, await reply.read(10)) == (413, b"no")
            assert client.open == 0
            await client.close()
        server.close()

    run(test())


def test_one_timer_looks_after_all_origins():
    async def test():
        async with upstream(saying(whole(b"ok"))) as one, upstream(saying(whole(b"ok"))) as two:
            client = Client(ClientLimits(sweep_s=0.01))
            await fetch(client, one.origin)
            await fetch(client, two.origin)
            await asyncio.sleep(0.2)
            timers = [each for each in asyncio.get_running_loop()._scheduled if "_sweep" in repr(each)]
            assert len(timers) == 1
            await client.close()

    asyncio.run(test())
