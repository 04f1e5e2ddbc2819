"""What one caller may cost us. Deadlines are scaled down by configuration; no test asserts how long one took."""

import asyncio
import resource

import pytest

from callers import GET, Caller, Seen, post, run, serving, until


def test_a_silent_connection_is_closed_without_a_word():
    async def main():
        seen = Seen()
        async with serving(seen.echo, headers_s=0.1) as server:
            callers = [await Caller.connect(server) for _ in range(100)]
            assert [await caller.closed() for caller in callers] == [b""] * 100
            assert server.connections == 0

    run(main())


@pytest.mark.parametrize("part", [GET[:5], GET[:-2], b"\r", b"\r\n", GET + GET[:9]])
def test_a_head_that_does_not_end_is_408(part):
    async def main():
        seen = Seen()
        async with serving(seen.echo, headers_s=0.1) as server:
            caller = await Caller.connect(server)
            await caller.send(part)
            raw = await caller.closed()
            if part == b"\r\n":  # nothing was begun
                assert raw == b""
            else:
                assert raw.count(b"HTTP/1.1 408 ") == 1
                assert b"connection: close" in raw

    run(main())


def test_a_head_that_drips_does_not_extend_its_deadline():
    async def main():
        seen = Seen()
        async with serving(seen.echo, headers_s=0.3) as server:
            caller = await Caller.connect(server)

            async def drip():
                await caller.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
                while server.connections:
                    caller.writer.write(b"x")
                    await asyncio.sleep(0.02)

            dripping = asyncio.create_task(drip())
            assert (await caller.answer()).status == 408
            dripping.cancel()
            assert seen.calls == []

    run(main())


def test_good_callers_are_served_while_many_slow_ones_hold_connections():
    async def main():
        seen = Seen()
        async with serving(seen.echo, headers_s=30) as server:
            slow = [await Caller.connect(server) for _ in range(400)]
            for caller in slow:
                await caller.send(GET[:10])
            good = await Caller.connect(server)
            for _ in range(200):
                assert (await good.ask(GET)).status == 200
            assert server.connections == 401
            for caller in slow:
                caller.close()
            await until(lambda: server.connections == 1)

    run(main())


def test_an_idle_connection_is_closed_between_requests_only():
    async def main():
        async def app(exchange):
            await asyncio.sleep(0.5)
            exchange.answer(200, [], b"late")

        async with serving(app, idle_s=0.1, headers_s=0.1) as server:
            caller = await Caller.connect(server)
            assert (await caller.ask(GET)).body == b"late"
            assert await caller.closed() == b""

    run(main())


@pytest.mark.parametrize("framing", [b"Content-Length: 100000", b"Transfer-Encoding: chunked"])
def test_a_body_slower_than_the_minimum_is_408(framing):
    async def main():
        seen = Seen()
        async with serving(seen.echo, body_grace_s=0.2) as server:
            caller = await Caller.connect(server)
            await caller.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n")

            async def drip():
                while server.active:
                    caller.writer.write(b"1\r\nx\r\n")
                    await asyncio.sleep(0.05)

            await until(lambda: server.active == 1)
            dripping = asyncio.create_task(drip())
            answer = await caller.answer("POST")
            assert (answer.status, answer.headers[b"connection"]) == (408, b"close")
            await dripping
            assert [body for _, _, body in seen.calls] == [b"unreadable"]

    run(main())


def test_a_body_that_keeps_the_minimum_is_read_however_long_it_takes():
    async def main():
        seen = Seen()
        async with serving(seen.echo, body_grace_s=0.1, body_bytes_per_s_min=1000) as server:
            caller = await Caller.connect(server)
            request = post(b"x" * 4000)
            await caller.send(request[:-4000])
            for _ in range(40):  # several graces
                await caller.send(b"x" * 100)
                await asyncio.sleep(0.015)
            assert len((await caller.answer("POST")).body) == 4000

    run(main())


def test_an_application_that_has_not_asked_for_the_body_makes_no_caller_late():
    async def main():
        async def app(exchange):
            await asyncio.sleep(0.4)
            exchange.answer(200, [], await exchange.read(100))

        async with serving(app, body_grace_s=0.1) as server:
            caller = await Caller.connect(server)
            request = post(b"hello")
            await caller.send(request[:-2])
            await asyncio.sleep(0.3)
            await caller.send(request[-2:])
            assert (await caller.answer("POST")).body == b"hello"

    run(main())


def test_a_body_that_nobody_asked_for_is_not_gathered():
    async def main():
        release = asyncio.Event()

        async def app(exchange):
            await release.wait()
            exchange.answer(200, [], b"%d" % len(await exchange.read(1 << 26)))

        async with serving(app, held_bytes_max=10_000) as server:
            caller = await Caller.connect(server)
            sending = asyncio.create_task(caller.send(post(b"x" * 30_000_000)))
            await until(lambda: server.active == 1)
            await asyncio.sleep(0.1)
            (exchange,) = server._shared.live
            assert exchange.got < 1_000_000
            release.set()
            assert (await caller.answer("POST")).body == b"30000000"
            await sending

    run(main())


def test_a_declared_body_over_the_servers_limit_is_413_before_the_application_is_called():
    async def main():
        seen = Seen()
        async with serving(seen.echo, body_bytes_max=1000) as server:
            caller = await Caller.connect(server)
            await caller.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")
            assert (await caller.answer("POST")).status == 413
            assert seen.exchanges == []

    run(main())


def test_a_caller_that_sends_on_and_on_still_reads_why_it_was_refused():
    async def main():
        seen = Seen()
        async with serving(seen.echo, body_bytes_max=1000) as server:
            caller = await Caller.connect(server)
            caller.writer.write(
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n\r\n" + b"x" * 5_000_000
            )
            answer = await caller.answer("POST")
            assert (answer.status, answer.whole) == (413, True)

    run(main())


def test_a_refused_caller_that_never_stops_sending_is_dropped():
    async def main():
        seen = Seen()
        async with serving(seen.echo, linger_s=0.2) as server:
            caller = await Caller.connect(server)
            await caller.send(b"nonsense\r\n\r\n")
            assert (await caller.answer()).status == 400

            async def pour():
                while server.connections:
                    caller.writer.write(b"x" * 1000)
                    await asyncio.sleep(0.01)

            await asyncio.wait_for(pour(), 5)
            assert server.connections == 0

    run(main())


def test_lingering_does_not_cut_an_answer_that_is_still_on_its_way():
    async def app(exchange):
        exchange.answer(200, [], b"x" * 8_000_000)

    async def main():
        async with serving(app, linger_s=0.1) as server:
            caller = await Caller.connect(server)
            await caller.send(post(b"unread")[:-1])
            body = 0
            while body < 8_000_000:
                piece = await caller.reader.read(300_000)
                assert piece
                body += len(piece)
                await asyncio.sleep(0.03)
            assert body > 8_000_000

    run(main())


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /" + b"x" * 8192 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (b"GET /" + b"x" * 100_000, 414),
        (b"GET /" + b"x" * 8191 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 20_000, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 65_000 + b"\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 128 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 127 + b"\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X%d:\r\n" % n for n in range(128)) + b"\r\n", 431),
    ],
    ids=lambda value: value if isinstance(value, int) else f"{len(value)} bytes",
)
def test_heads_are_bounded_in_bytes_and_count(request_bytes, status):
    async def main():
        seen = Seen()
        async with serving(seen.echo) as server:
            for size in (len(request_bytes), 1000):
                caller = await Caller.connect(server)
                for at in range(0, len(request_bytes), size):
                    caller.writer.write(request_bytes[at : at + size])
                    await asyncio.sleep(0)
                assert (await caller.answer()).status == status

    run(main())


def test_a_header_of_200_megabytes_costs_no_memory():
    async def main():
        seen = Seen()
        async with serving(seen.echo) as server:
            caller = await Caller.connect(server)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            caller.writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
            block = b"x" * 200_000
            try:
                for _ in range(1000):
                    caller.writer.write(block)
                    await caller.writer.drain()
            except ConnectionError:
                pass
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 * 1024  # KiB
            assert seen.exchanges == []

    run(main())


@pytest.mark.parametrize(
    "body",
    [
        b"5;" + b"x" * 200_000,
        b"5;" + b"x=y;" * 50_000,
        b"1;" + b"x" * 500 + b"\r\nx\r\n",
        b"5\r\nhello\r\n0\r\nX: " + b"x" * 200_000,
        b"5\r\nhello\r\n0\r\n" + b"X: y\r\n" * 50_000,
        b"0" * 200_000,
    ],
    ids=["name", "names", "many", "trailer", "trailers", "zeros"],
)
def test_chunks_that_are_mostly_framing_are_refused(body):
    async def main():
        seen = Seen()
        async with serving(seen.echo) as server:
            caller = await Caller.connect(server)
            caller.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(1 if len(body) > 100_000 else 2000):
                caller.writer.write(body)
            assert (await caller.answer("POST")).status == 400

    run(main())


def test_chunks_of_one_byte_are_a_body_like_any_other():
    async def main():
        seen = Seen()
        async with serving(seen.echo) as server:
            caller = await Caller.connect(server)
            caller.writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            caller.writer.write(b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n")
            assert (await caller.answer("POST")).body == b"x" * 100_000

    run(main())


def test_a_connection_over_the_limit_is_told_503():
    async def main():
        seen = Seen()
        async with serving(seen.echo, connections_max=3, refused_connections_max=2) as server:
            callers = [await Caller.connect(server) for _ in range(3)]
            for caller in callers:
                assert (await caller.ask(GET)).status == 200
            for _ in range(2):
                late = await Caller.connect(server)
                answer = await late.ask(GET)
                assert (answer.status, answer.headers[b"connection"]) == (503, b"close")
                assert answer.body.startswith(b"overloaded")
                callers.append(late)
            dropped = await Caller.connect(server)
            assert await dropped.closed() == b""
            for caller in callers:
                caller.close()
            await until(lambda: server.connections == 0)
            assert (await (await Caller.connect(server)).ask(GET)).status == 200

    run(main())
