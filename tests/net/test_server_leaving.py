"""Callers that leave, callers that stop reading, and a server that goes away."""

import asyncio
import ssl

import pytest
import trustme

from callers import GET, Caller, Recorder, Seen, post, run, serving, until
from torana.net import Exchange

POST_IN_PART = post(b"hello")[:-1]


@pytest.mark.parametrize("request_bytes", [GET, post(b"hello"), b"GET / HTTP/1.0\r\n\r\n"])
def test_a_reset_cancels_the_request(request_bytes):
    async def main():
        seen = Seen()
        async with serving(seen.hang) as server:
            caller = await Caller.connect(server)
            await caller.send(request_bytes)
            await until(lambda: server.active == 1)
            caller.reset()
            await until(lambda: seen.ended != [])
            assert seen.ended == ["left"]
            await until(lambda: server.active == server.connections == 0)

    run(main())


def test_a_caller_that_closes_before_the_first_byte_cancels_its_request():
    async def main():
        seen = Seen()
        async with serving(seen.hang) as server:
            callers = [await Caller.connect(server) for _ in range(10)]
            for caller in callers:
                await caller.send(GET)
            await until(lambda: server.active == 10)
            for caller in callers:
                caller.close()
            await until(lambda: len(seen.ended) == 10)
            assert seen.ended == ["left"] * 10
            await until(lambda: server.active == server.connections == 0)

    run(main())


def test_a_caller_that_closes_with_more_requests_in_the_pipe_cancels_the_first():
    async def main():
        seen = Seen()
        async with serving(seen.hang) as server:
            caller = await Caller.connect(server)
            await caller.send(GET + GET)
            await until(lambda: server.active == 1)
            caller.close()
            await until(lambda: seen.ended != [])
            assert len(seen.exchanges) == 1

    run(main())


def test_a_caller_that_closes_in_the_middle_of_a_stream_cancels_it():
    async def main():
        ended = []

        async def app(exchange):
            exchange.start(200, [])
            try:
                while True:
                    exchange.write(b"data: tick\n\n")
                    await asyncio.sleep(0.02)
            except asyncio.CancelledError:
                ended.append(exchange.left)
                exchange.write(b"into the void")
                exchange.finish()
                raise

        async with serving(app) as server:
            caller = await Caller.connect(server)
            await caller.send(GET)
            await caller.some()
            caller.close()
            await until(lambda: ended != [])
            assert ended == [True]

    run(main())


async def _silent_stream(exchange, ended):
    """A stream that says one thing and then nothing for longer than a test lasts."""
    exchange.start(200, [])
    exchange.write(b"data: tick\n\n")
    try:
        await asyncio.sleep(30)
    finally:
        ended.append(exchange.left)


def test_a_caller_that_closes_while_its_stream_is_silent_cancels_it():
    async def main():
        ended = []
        async with serving(lambda exchange: _silent_stream(exchange, ended)) as server:
            caller = await Caller.connect(server)
            await caller.send(GET)
            await caller.some()
            caller.close()
            await until(lambda: ended != [])
            assert ended == [True]

    run(main())


def test_a_caller_that_closes_its_half_while_its_stream_is_silent_still_gets_the_rest():
    async def app(exchange: Exchange):
        exchange.start(200, [])
        exchange.write(b"one ")
        await asyncio.sleep(0.8)
        exchange.write(b"two")
        exchange.finish()

    async def main():
        async with serving(app) as server:
            caller = await Caller.connect(server)
            await caller.send(GET)
            caller.half_close()
            answer = await caller.answer("GET")
            assert (answer.body, answer.whole) == (b"one two", True)

    run(main())


def test_a_caller_that_leaves_while_its_body_is_awaited_ends_the_request():
    async def main():
        seen = Seen()
        async with serving(seen.echo) as server:
            caller = await Caller.connect(server)
            await caller.send(POST_IN_PART)
            await until(lambda: server.active == 1)
            caller.reset()
            await until(lambda: server.active == server.connections == 0)
            assert seen.exchanges[0].left

    run(main())


@pytest.mark.parametrize("streamed", [False, True])
def test_a_caller_that_closes_only_its_half_gets_the_whole_answer(streamed):
    async def app(exchange: Exchange):
        await exchange.read(100)
        if streamed:
            exchange.start(200, [])
            for _ in range(20):
                exchange.write(b"x" * 100)
                await asyncio.sleep(0.04)
            exchange.finish()
        else:
            await asyncio.sleep(0.8)
            exchange.answer(200, [], b"x" * 2000)

    async def main():
        async with serving(app) as server:
            for request in (post(b"hello"), b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"):
                caller = await Caller.connect(server)
                await caller.send(request)
                caller.half_close()
                answer = await caller.answer("POST")
                assert (answer.status, answer.body, answer.whole) == (200, b"x" * 2000, True)
                assert set(answer.interim) <= {100}
                assert await caller.closed() == b""

    run(main())


def test_http_1_0_is_never_sent_an_interim_answer():
    async def app(exchange):
        await asyncio.sleep(0.1)
        exchange.answer(200, [], b"hello")

    async def main():
        async with serving(app) as server:
            caller = await Caller.connect(server)
            await caller.send(b"GET / HTTP/1.0\r\n\r\n")
            caller.half_close()
            raw = await caller.closed()
            assert (raw.count(b"HTTP/1.1"), raw[-5:]) == (1, b"hello")

    run(main())


def test_a_thousand_callers_that_come_and_vanish_leave_nothing_behind():
    async def main():
        seen = Seen()
        async with serving(seen.hang) as server:
            for _ in range(20):
                callers = await asyncio.gather(*(Caller.connect(server) for _ in range(50)))
                for n, caller in enumerate(callers):
                    caller.writer.write([b"", GET[:9], GET, POST_IN_PART, GET * 3][n % 5])
                await asyncio.sleep(0)
                for n, caller in enumerate(callers):
                    caller.reset() if n % 2 else caller.close()
            await until(lambda: server.active == server.connections == 0)
            assert set(seen.ended) <= {"left"}
            assert len(asyncio.all_tasks()) == 1

    run(main())


# ---------------------------------------------------------------- callers that do not read


def test_the_source_of_a_stream_is_paused_while_its_caller_does_not_read():
    async def main():
        source = Recorder()
        written = asyncio.Event()

        async def app(exchange):
            exchange.source = source
            exchange.start(200, [])
            while not source.told:
                exchange.write(b"x" * 10_000)
                await asyncio.sleep(0)
            written.set()
            while source.told != ["pause", "resume"]:
                await asyncio.sleep(0.005)
            exchange.finish()

        async with serving(app) as server:
            caller = await Caller.connect(server)
            await caller.send(GET)
            await written.wait()
            assert source.told == ["pause"]
            answer = await caller.answer()
            assert answer.whole
            assert source.told == ["pause", "resume"]

    run(main())


def test_a_source_that_comes_late_to_a_full_connection_is_paused_at_once():
    async def main():
        source = Recorder()

        async def app(exchange):
            exchange.start(200, [])
            exchange.write(b"x" * 20_000_000)
            exchange.source = source
            exchange.source = None
            exchange.finish()

        async with serving(app) as server:
            assert len((await (await Caller.connect(server)).ask(GET)).body) == 20_000_000
            assert source.told == ["pause"]

    run(main())


def test_a_stalled_caller_costs_a_bounded_amount_of_memory():
    async def main():
        written = 0

        async def app(exchange):
            nonlocal written
            source = exchange.source = Recorder()
            exchange.start(200, [])
            while not source.told:
                exchange.write(b"x" * 1000)
                written += 1000
                await asyncio.sleep(0)
            await asyncio.get_running_loop().create_future()

        async with serving(app, write_stall_s=0.4) as server:
            caller = await Caller.connect(server)
            caller.writer.transport.pause_reading()
            caller.writer.write(GET)
            await until(lambda: server.active == 1)
            await until(lambda: server.active == 0)
            assert written < 5_000_000  # mostly the receive buffer of the caller's own kernel

    run(main())


@pytest.mark.parametrize("streamed", [False, True])
def test_a_caller_that_takes_nothing_for_too_long_is_dropped(streamed):
    async def main():
        ended = []

        async def app(exchange):
            try:
                if streamed:
                    exchange.start(200, [])
                    while True:
                        exchange.write(b"x" * 100_000)
                        await asyncio.sleep(0.01)
                exchange.answer(200, [], b"x" * 50_000_000)
                ended.append(False)
            except asyncio.CancelledError:
                ended.append(exchange.left)
                raise

        async with serving(app, write_stall_s=0.2) as server:
            caller = await Caller.connect(server)
            caller.writer.transport.pause_reading()
            caller.writer.write(GET)
            await until(lambda: ended != [])
            await until(lambda: server.connections == 0)
            assert ended == [streamed]

    run(main())


def test_a_slow_caller_that_does_take_bytes_is_served_to_the_end():
    async def app(exchange):
        exchange.answer(200, [], b"x" * 12_000_000)

    async def main():
        async with serving(app, write_stall_s=0.3, idle_s=0.3) as server:
            caller = await Caller.connect(server)
            await caller.send(GET)
            body = 0
            while body < 12_000_000:  # some 2 s
                body += len(await caller.reader.read(300_000))
                await asyncio.sleep(0.05)
            assert body >= 12_000_000

    run(main())


# ---------------------------------------------------------------- a server that goes away


def test_draining_finishes_what_runs_and_refuses_what_comes():
    async def main():
        release = asyncio.Event()

        async def app(exchange):
            exchange.start(200, [])
            exchange.write(b"one")
            await release.wait()
            exchange.write(b"two")
            exchange.finish()

        async with serving(app) as server:
            busy, idle = await Caller.connect(server), await Caller.connect(server)
            release.set()
            assert (await idle.ask(GET)).body == b"onetwo"
            release.clear()
            await busy.send(GET)
            await until(lambda: server.active == 1)
            draining = asyncio.create_task(server.drain(10, grace_s=0.2))
            assert await idle.closed() == b""
            late = await (await Caller.connect(server)).ask(GET)
            assert (late.status, late.headers[b"connection"]) == (503, b"close")
            assert late.body.startswith(b"shutting_down")
            await asyncio.sleep(0.3)
            with pytest.raises(ConnectionRefusedError):
                await Caller.connect(server)
            assert not draining.done()
            release.set()
            assert await draining == 0
            assert (await busy.answer()).body == b"onetwo"
            assert await busy.closed() == b""

    run(main())


def test_answers_given_while_draining_close_their_connection():
    async def main():
        release = asyncio.Event()

        async def app(exchange):
            await release.wait()
            exchange.answer(200, [], b"hello")

        async with serving(app) as server:
            caller = await Caller.connect(server)
            await caller.send(GET + GET)
            await until(lambda: server.active == 1)
            draining = asyncio.create_task(server.drain(10, grace_s=0))
            await asyncio.sleep(0.01)
            release.set()
            answer = await caller.answer()
            assert (answer.body, answer.headers[b"connection"]) == (b"hello", b"close")
            assert await caller.closed() == b""
            assert await draining == 0

    run(main())


def test_draining_ends_at_its_deadline_and_tells_how_many_are_left():
    async def main():
        seen = Seen()
        async with serving(seen.hang) as server:
            callers = [await Caller.connect(server) for _ in range(3)]
            for caller in callers:
                await caller.send(GET)
            await until(lambda: server.active == 3)
            assert await server.drain(0.1, grace_s=0.05) == 3
            await server.close()
            assert (server.active, server.connections) == (0, 0)
            assert seen.ended == ["cancelled"] * 3
            for caller in callers:
                assert await caller.closed() == b""

    run(main())


def test_a_stream_may_say_a_last_word_when_the_server_closes():
    async def app(exchange):
        exchange.start(200, [])
        exchange.write(b"one")
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            assert not exchange.left
            exchange.write(b"event: error")
            exchange.finish()
            raise

    async def main():
        async with serving(app) as server:
            caller = await Caller.connect(server)
            await caller.send(GET)
            await until(lambda: server.active == 1)
            await server.close()
            answer = await caller.answer()
            assert (answer.body, answer.whole) == (b"oneevent: error", True)

    run(main())


# ---------------------------------------------------------------- TLS


def _contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(ours)
    theirs = ssl.create_default_context()
    authority.configure_trust(theirs)
    return ours, theirs


def test_tls_serves_the_same_and_says_so():
    async def main():
        ours, theirs = _contexts()
        seen = Seen()
        async with serving(seen.echo, ssl=ours) as server:
            caller = await Caller.connect(server, ssl=theirs, server_hostname="localhost")
            for size in (5, 3_000_000):
                sending = asyncio.create_task(caller.send(post(b"x" * size)))
                assert len((await caller.answer("POST")).body) == size
                await sending
            assert seen.exchanges[0].secure
            refused = await caller.ask(b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")
            assert refused.status == 400
            assert await caller.closed() == b""

    run(main())


def test_over_tls_a_caller_that_closes_cancels_its_request():
    async def main():
        ours, theirs = _contexts()
        seen = Seen()
        async with serving(seen.hang, ssl=ours) as server:
            caller = await Caller.connect(server, ssl=theirs, server_hostname="localhost")
            await caller.send(GET)
            await until(lambda: server.active == 1)
            caller.close()
            await until(lambda: seen.ended != [])
            assert seen.ended == ["left"]

    run(main())


def test_a_handshake_that_never_comes_is_not_waited_for():
    async def main():
        ours, _ = _contexts()
        seen = Seen()
        async with serving(seen.echo, ssl=ours, headers_s=0.2) as server:
            caller = await Caller.connect(server)
            assert await caller.closed() == b""

    run(main())
