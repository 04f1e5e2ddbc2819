"""What a caller and an application see of each other through our server."""

import asyncio
import logging

import pytest

from callers import GET, Caller, Seen, post, run, serving
from torana.errors import BodyTooLarge, NotFound
from torana.net import Exchange


async def ok(exchange: Exchange) -> None:
    exchange.answer(200, [(b"content-type", b"text/plain")], b"hello")


async def stream(exchange: Exchange) -> None:
    exchange.start(200, [(b"content-type", b"text/event-stream")])
    for piece in (b"one", b"", b"two"):
        exchange.write(piece)
        await asyncio.sleep(0)
    exchange.finish()


def test_the_application_sees_the_request_as_it_was_sent():
    async def main():
        seen = Seen()
        async with serving(seen.echo) as server:
            caller = await Caller.connect(server)
            request = (
                b"POST /v1/%2e%2E/x?a=1&b=%20?c HTTP/1.1\r\nHost: a\r\nX-One:  \t first \t\r\nx-one: second\r\n"
                b"X-Empty:\r\nX-Latin: \xe9\r\nContent-Length: 4 \r\n\r\nbody"
            )
            answer = await caller.ask(request, "POST")
            assert (answer.status, answer.body) == (200, b"body")
            (exchange,) = seen.exchanges
            assert (exchange.method, exchange.path, exchange.query) == ("POST", "/v1/%2e%2E/x", "a=1&b=%20?c")
            assert exchange.headers == {
                b"host": b"a",
                b"x-one": b"first, second",
                b"x-empty": b"",
                b"x-latin": b"\xe9",
                b"content-length": b"4",
            }
            assert exchange.repeated == frozenset({b"x-one"})
            assert (exchange.peer, exchange.secure, exchange.left) == ("127.0.0.1", False, False)

    run(main())


def test_an_answer_carries_its_length_the_date_and_the_headers_given():
    async def main():
        async with serving(ok) as server:
            answer = await (await Caller.connect(server)).ask(GET)
            date = answer.headers.pop(b"date")
            assert date.endswith(b" GMT")
            assert answer.headers == {b"content-type": b"text/plain", b"content-length": b"5"}
            assert answer.body == b"hello"

    run(main())


def test_a_connection_serves_many_requests_one_after_another():
    async def main():
        seen = Seen()
        async with serving(seen.echo) as server:
            caller = await Caller.connect(server)
            for n in range(20):
                answer = await caller.ask(post(b"%d" % n), "POST")
                assert answer.body == b"%d" % n
            assert server.connections == 1
            await caller.ask(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            assert await caller.closed() == b""

    run(main())


def test_pipelined_requests_are_answered_in_order_and_never_side_by_side():
    async def main():
        running = 0

        async def app(exchange):
            nonlocal running
            running += 1
            assert running == 1
            body = await exchange.read(100)
            await asyncio.sleep(0.02 if exchange.path == "/0" else 0)
            running -= 1
            exchange.answer(200, [], exchange.path.encode() + body)

        async with serving(app) as server:
            caller = await Caller.connect(server)
            chunked = b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nxy\r\n0\r\nT: t\r\n\r\n"
            requests = [post(b"b%d" % n, path=b"/%d" % n) for n in range(6)]
            requests[3] = chunked
            await caller.send(b"".join(requests))
            bodies = [(await caller.answer("POST")).body for _ in requests]
            assert bodies == [b"/0b0", b"/1b1", b"/2b2", b"/3xy", b"/4b4", b"/5b5"]

    run(main())


def test_many_pipelined_requests_are_held_back_without_being_lost():
    async def main():
        async def app(exchange):
            await asyncio.sleep(0)
            exchange.answer(200, [], exchange.path.encode())

        async with serving(app, held_bytes_max=1000) as server:
            caller = await Caller.connect(server)
            caller.writer.write(b"".join(GET.replace(b"/ ", b"/%d " % n, 1) for n in range(2000)))
            paths = [(await caller.answer()).body for _ in range(2000)]
            assert paths == [b"/%d" % n for n in range(2000)]

    run(main())


def test_a_request_pipelined_before_a_half_close_is_answered_too():
    async def main():
        async def app(exchange):
            await asyncio.sleep(0.01)
            exchange.answer(200, [], exchange.path.encode())

        async with serving(app) as server:
            caller = await Caller.connect(server)
            await caller.send(GET + GET.replace(b"/ ", b"/2 ", 1))
            caller.half_close()
            assert [(await caller.answer()).body, (await caller.answer()).body] == [b"/", b"/2"]
            assert await caller.closed() == b""

    run(main())


def test_a_streamed_answer_arrives_in_chunks():
    async def main():
        async with serving(stream) as server:
            caller = await Caller.connect(server)
            answer = await caller.ask(GET)
            assert (answer.body, answer.whole) == (b"onetwo", True)
            assert answer.headers[b"transfer-encoding"] == b"chunked"
            assert b"content-length" not in answer.headers
            assert (await caller.ask(GET)).body == b"onetwo"

    run(main())


@pytest.mark.parametrize("app", [ok, stream])
def test_head_gets_the_headers_of_get_and_no_body(app):
    async def main():
        async with serving(app) as server:
            caller = await Caller.connect(server)
            head = await caller.ask(GET.replace(b"GET", b"HEAD"), "HEAD")
            assert head.body == b""
            get = await caller.ask(GET)
            names = set(head.headers) - {b"transfer-encoding"}
            assert names == set(get.headers) - {b"transfer-encoding"}
            assert head.headers.get(b"content-length") == get.headers.get(b"content-length")

    run(main())


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_declares_no_length(status):
    async def app(exchange):
        exchange.answer(status, [], b"ignored")

    async def main():
        async with serving(app) as server:
            caller = await Caller.connect(server)
            answer = await caller.ask(GET)
            assert (answer.status, answer.body, answer.headers.keys()) == (status, b"", {b"date"})
            assert (await caller.ask(GET)).status == status

    run(main())


def test_http_1_0_is_answered_and_closed():
    async def main():
        async with serving(ok) as server:
            caller = await Caller.connect(server)
            await caller.send(b"GET / HTTP/1.0\r\n\r\n")
            raw = await caller.closed()
            assert raw.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"connection: close\r\n" in raw
            assert raw.endswith(b"\r\n\r\nhello")

    run(main())


def test_http_1_0_may_ask_to_stay():
    async def main():
        async with serving(ok) as server:
            caller = await Caller.connect(server)
            for _ in range(2):
                answer = await caller.ask(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
                assert answer.headers[b"connection"] == b"keep-alive"

    run(main())


def test_a_stream_to_http_1_0_ends_with_the_connection():
    async def main():
        async with serving(stream) as server:
            caller = await Caller.connect(server)
            await caller.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            head, _, body = (await caller.closed()).partition(b"\r\n\r\n")
            assert b"chunked" not in head
            assert b"connection: close" in head
            assert body == b"onetwo"

    run(main())


def test_an_aborted_stream_cannot_be_taken_for_a_whole_one():
    async def app(exchange):
        exchange.start(200, [])
        exchange.write(b"half")
        await asyncio.sleep(0.01)
        exchange.abort()
        exchange.write(b"never")
        exchange.finish()

    async def main():
        async with serving(app) as server:
            answer = await (await Caller.connect(server)).ask(GET)
            assert (answer.status, answer.body, answer.whole) == (200, b"half", False)
            caller = await Caller.connect(server)
            await caller.send(b"GET / HTTP/1.0\r\n\r\n")
            with pytest.raises(ConnectionResetError):
                await caller.reader.read(-1)

    run(main())


def test_an_exception_of_the_application_is_logged_and_answered_500(caplog):
    async def app(exchange):
        raise ZeroDivisionError(exchange.path)

    async def main():
        async with serving(app) as server:
            caller = await Caller.connect(server)
            for _ in range(2):
                answer = await caller.ask(GET)
                assert answer.status == 500
                assert answer.body.startswith(b"internal_error / ")
                assert b"ZeroDivision" not in answer.body

    with caplog.at_level(logging.ERROR, "torana.net"):
        run(main())
    assert [record.exc_info[0] for record in caplog.records] == [ZeroDivisionError, ZeroDivisionError]


def test_an_exception_after_the_first_byte_ends_the_connection(caplog):
    async def app(exchange):
        exchange.start(200, [])
        exchange.write(b"half")
        raise ZeroDivisionError

    async def main():
        async with serving(app) as server:
            answer = await (await Caller.connect(server)).ask(GET)
            assert (answer.body, answer.whole) == (b"half", False)

    run(main())
    assert len(caplog.records) == 1


def test_an_error_that_the_application_lets_through_is_answered_as_itself(caplog):
    async def app(exchange):
        raise NotFound("no such thing")

    async def main():
        async with serving(app) as server:
            answer = await (await Caller.connect(server)).ask(GET.replace(b"/ ", b"/x ", 1))
            assert (answer.status, answer.body) == (404, b"not_found /x no such thing")

    run(main())
    assert caplog.records == []


def test_an_application_that_gives_no_answer_is_a_bug_of_ours(caplog):
    async def app(exchange):
        pass

    async def main():
        async with serving(app) as server:
            assert (await (await Caller.connect(server)).ask(GET)).status == 500

    run(main())
    assert len(caplog.records) == 1


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: x", b"a\nb", b"a\rb", b"a\0b"])
def test_a_header_of_the_answer_cannot_carry_another_one(value, caplog):
    async def app(exchange):
        start = exchange.start if exchange.path == "/stream" else lambda s, h: exchange.answer(s, h, b"")
        start(200, [(b"x-model", value)])

    async def main():
        async with serving(app) as server:
            caller = await Caller.connect(server)
            for path in (b"/", b"/stream"):
                answer = await caller.ask(GET.replace(b"/ ", path + b" ", 1))
                assert (answer.status, b"x-model" in answer.headers) == (500, False)

    run(main())
    assert len(caplog.records) == 2


def test_headers_about_the_connection_are_the_servers_alone():
    async def app(exchange):
        ours = [
            (b"content-length", b"99"),
            (b"transfer-encoding", b"chunked"),
            (b"connection", b"x"),
            (b"date", b"d"),
        ]
        exchange.answer(200, [*ours, (b"x-mine", b"1")], b"hello")

    async def main():
        async with serving(app) as server:
            answer = await (await Caller.connect(server)).ask(GET)
            assert answer.headers.pop(b"date") != b"d"
            assert answer.headers == {b"x-mine": b"1", b"content-length": b"5"}

    run(main())


def test_a_chunked_body_is_read_whole_and_its_trailers_are_dropped():
    async def main():
        seen = Seen()
        async with serving(seen.echo) as server:
            caller = await Caller.connect(server)
            head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
            body = b"5\r\nhello\r\n6;ext=1\r\n world\r\n000\r\nX-Api-Key: k\r\n\r\n"
            assert (await caller.ask(head + body, "POST")).body == b"hello world"
            assert b"x-api-key" not in seen.exchanges[0].headers
            await caller.ask(GET)
            assert seen.exchanges[1].headers == {b"host": b"a"}

    run(main())


def test_a_caller_that_expects_100_is_told_to_go_on_when_the_body_is_asked_for():
    async def main():
        seen = Seen()
        async with serving(seen.echo) as server:
            caller = await Caller.connect(server)
            head, body = post(b"hello", b"Expect: 100-Continue").split(b"\r\n\r\n")
            await caller.send(head + b"\r\n\r\n")
            assert await caller.reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            answer = await caller.ask(body, "POST")
            assert (answer.body, answer.interim) == (b"hello", [])

    run(main())


def test_a_caller_that_expects_100_and_is_refused_sends_no_body():
    async def main():
        async def app(exchange):
            if exchange.path == "/small":
                await exchange.read(3)
            raise NotFound("no")

        async with serving(app) as server:
            for path, status in ((b"/", 404), (b"/small", 413)):
                caller = await Caller.connect(server)
                head = post(b"hello", b"Expect: 100-continue", path=path)[:-5]
                answer = await caller.ask(head, "POST")
                assert (answer.status, answer.interim) == (status, [])
                assert answer.headers[b"connection"] == b"close"

    run(main())


def test_a_body_nobody_read_does_not_become_the_next_request():
    async def main():
        calls = []

        async def app(exchange):
            calls.append(exchange.path)
            exchange.answer(404, [], b"")

        async with serving(app) as server:
            caller = await Caller.connect(server)
            smuggled = GET.replace(b"/ ", b"/smuggled ", 1)
            first = await caller.ask(post(smuggled), "POST")
            assert (first.status, b"connection" in first.headers) == (
                404,
                False,
            )  # it was all there: read past it
            second = await caller.ask(post(smuggled)[:-5], "POST")
            assert second.headers[b"connection"] == b"close"
            await caller.send(smuggled)
            assert await caller.closed() == b""
            assert calls == ["/", "/"]

    run(main())


def test_read_gives_the_body_again_and_again_and_b_nothing_without_one():
    async def main():
        async def app(exchange):
            first = await exchange.read(100)
            exchange.answer(200, [], first + await exchange.read(100))

        async with serving(app) as server:
            caller = await Caller.connect(server)
            assert (await caller.ask(post(b"ab"), "POST")).body == b"abab"
            assert (await caller.ask(GET)).body == b""

    run(main())


@pytest.mark.parametrize("framing", ["declared", "chunked"])
def test_a_body_over_the_applications_limit_is_413(framing):
    async def main():
        caught = []

        async def app(exchange):
            try:
                await exchange.read(1000)
            except BodyTooLarge as error:
                caught.append(error)
                raise

        async with serving(app) as server:
            caller = await Caller.connect(server)
            if framing == "declared":
                await caller.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n")
            else:
                await caller.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
                await caller.send(b"1f4\r\n%b\r\n" % (b"x" * 500) * 3)
            answer = await caller.answer("POST")
            assert (answer.status, len(caught)) == (413, 1)
            assert answer.headers[b"connection"] == b"close"

    run(main())


@pytest.mark.parametrize("size", [0, 1, 32_767, 32_768, 32_769, 1 << 20, 20_000_000])
def test_bodies_of_all_sizes_arrive_byte_exact(size):
    async def main():
        seen = Seen()
        async with serving(seen.echo) as server:
            caller = await Caller.connect(server)
            body = bytes(range(256)) * (size // 256 + 1)
            body = body[:size]
            sending = asyncio.create_task(caller.send(post(body)))
            answer = await caller.answer("POST")
            await sending
            assert seen.calls[0][2] == body
            assert answer.body == (body or b"ok")

    run(main())


def test_bytes_written_after_the_answer_ended_are_nowhere():
    async def app(exchange):
        exchange.start(200, [])
        exchange.finish()
        exchange.write(b"late")
        exchange.finish()
        exchange.abort()

    async def main():
        async with serving(app) as server:
            caller = await Caller.connect(server)
            for _ in range(2):
                answer = await caller.ask(GET)
                assert (answer.body, answer.whole) == (b"", True)

    run(main())


def test_an_application_may_go_on_after_its_answer_and_is_counted_until_it_ends():
    async def main():
        release = asyncio.Event()
        done = []

        async def app(exchange):
            exchange.answer(200, [], b"")
            await release.wait()
            done.append(exchange.left)

        async with serving(app) as server:
            caller = await Caller.connect(server)
            await caller.ask(GET)
            await caller.ask(GET)
            assert server.active == 2
            caller.reset()
            while server.connections:
                await asyncio.sleep(0.005)
            release.set()
            while server.active:
                await asyncio.sleep(0.005)
            assert done == [False, False]  # they were answered: nobody left them

    run(main())
