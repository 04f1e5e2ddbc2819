"""ASGI applications on our server, and our applications on somebody else's."""

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from callers import GET, Caller, Recorder, Seen, post, run, serving, until
from torana.errors import Error, InternalError
from torana.net import Exchange
from torana.net.asgi import AsgiHost, as_asgi


async def describe(request: Request) -> JSONResponse:
    return JSONResponse(
        {
            "method": request.method,
            "path": request.url.path,
            "query": dict(request.query_params),
            "x": request.headers.get("x"),
            "client": request.client.host,
            "scheme": request.url.scheme,
            "body": (await request.body()).decode(),
        },
        headers={"X-Mixed": "Case"},
    )


async def count(request: Request) -> StreamingResponse:
    async def numbers():
        for n in range(5):
            yield f"{n},"
            await asyncio.sleep(0)

    return StreamingResponse(numbers(), media_type="text/plain")


async def fail(request: Request) -> Response:
    raise ZeroDivisionError


async def nothing(request: Request) -> Response:
    return Response(status_code=204)


ROUTES = [
    Route("/describe/{name}", describe, methods=["GET", "POST"]),
    Route("/count", count),
    Route("/fail", fail),
    Route("/nothing", nothing),
    Route("/hello", lambda request: PlainTextResponse("hello")),
]
STARLETTE = AsgiHost(Starlette(routes=ROUTES), body_bytes_max=1000)


def get(path: bytes) -> bytes:
    return GET.replace(b"/ ", path + b" ", 1)


# ---------------------------------------------------------------- theirs on ours


def test_a_starlette_application_sees_the_request():
    async def main():
        async with serving(STARLETTE) as server:
            caller = await Caller.connect(server)
            answer = await caller.ask(post(b"body", b"X: y", path=b"/describe/a%20b?q=%C3%A9"), "POST")
            assert answer.body.decode() == (
                '{"method":"POST","path":"/describe/a b","query":{"q":"é"},"x":"y",'
                '"client":"127.0.0.1","scheme":"http","body":"body"}'
            )
            assert answer.headers[b"content-length"] == b"%d" % len(answer.body)
            assert (answer.headers[b"content-type"], answer.headers[b"x-mixed"]) == (
                b"application/json",
                b"Case",
            )

    run(main())


def test_a_starlette_stream_arrives_whole_and_the_connection_stays():
    async def main():
        async with serving(STARLETTE) as server:
            caller = await Caller.connect(server)
            for _ in range(3):
                answer = await caller.ask(get(b"/count"))
                assert (answer.body, answer.headers[b"transfer-encoding"]) == (b"0,1,2,3,4,", b"chunked")
            assert (await caller.ask(get(b"/hello"))).body == b"hello"
            assert (await caller.ask(get(b"/nothing"))).status == 204
            assert (await caller.ask(get(b"/missing"))).status == 404
            assert server.connections == 1

    run(main())


def test_head_of_a_starlette_route_has_the_headers_of_get():
    async def main():
        async with serving(STARLETTE) as server:
            caller = await Caller.connect(server)
            for _ in range(2):
                answer = await caller.ask(get(b"/hello").replace(b"GET", b"HEAD"), "HEAD")
                assert (answer.status, answer.body, answer.headers[b"content-length"]) == (200, b"", b"5")

    run(main())


def test_an_exception_in_starlette_is_500_and_logged_once(caplog):
    async def main():
        async with serving(STARLETTE) as server:
            answer = await (await Caller.connect(server)).ask(get(b"/fail"))
            assert (answer.status, answer.body) == (500, b"Internal Server Error")

    run(main())
    assert [record.name for record in caplog.records] == ["torana.net"]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_too_large_for_a_hosted_application_is_413(chunked, caplog):
    async def main():
        async with serving(STARLETTE) as server:
            caller = await Caller.connect(server)
            request = post(b"x" * 1001, path=b"/describe/a")
            if chunked:
                request = request.replace(b"Content-Length: 1001", b"Transfer-Encoding: chunked")
                request = request.replace(b"\r\n\r\n", b"\r\n\r\n3e9\r\n") + b"\r\n0\r\n\r\n"
            answer = await caller.ask(request, "POST")
            assert (answer.status, answer.body[:14]) == (413, b"body_too_large")

    run(main())
    assert caplog.records == []


def test_a_caller_that_leaves_cancels_a_hosted_application():
    async def main():
        ended = []

        async def app(scope, receive, send):
            await receive()
            try:
                await receive()
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        async with serving(AsgiHost(app)) as server:
            caller = await Caller.connect(server)
            await caller.send(GET)
            await until(lambda: server.active == 1)
            caller.close()
            await until(lambda: ended == ["cancelled"])

    run(main())


def test_receive_tells_of_the_end_after_the_answer():
    async def main():
        told = []

        async def app(scope, receive, send):
            told.append(await receive())
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"x"})
            told.append(await receive())

        async with serving(AsgiHost(app)) as server:
            caller = await Caller.connect(server)
            assert (await caller.ask(GET)).body == b"x"
            await until(lambda: len(told) == 2)
            assert told == [
                {"type": "http.request", "body": b"", "more_body": False},
                {"type": "http.disconnect"},
            ]

    run(main())


def test_a_hosted_application_waits_while_its_caller_does_not_read():
    async def main():
        sent = 0

        async def app(scope, receive, send):
            nonlocal sent
            await send({"type": "http.response.start", "status": 200})
            for n in range(300):
                await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": n < 299})
                sent += 1

        async with serving(AsgiHost(app)) as server:
            caller = await Caller.connect(server)
            caller.writer.transport.pause_reading()
            caller.writer.write(GET)
            await until(lambda: sent > 0)
            await asyncio.sleep(0.3)
            assert sent < 200
            caller.writer.transport.resume_reading()
            assert len((await caller.answer()).body) == 30_000_000

    run(main())


@pytest.mark.parametrize(
    "messages",
    [
        [{"type": "http.response.body", "body": b"x"}],
        [{"type": "http.response.start", "status": 200}, {"type": "http.response.start", "status": 200}],
        [{"type": "websocket.accept"}],
        [{"type": "http.response.start", "status": 200}],
        [],
    ],
)
def test_an_asgi_application_that_breaks_the_rules_is_500(messages, caplog):
    async def app(scope, receive, send):
        for message in messages:
            await send(message)

    async def main():
        async with serving(AsgiHost(app)) as server:
            assert (await (await Caller.connect(server)).ask(GET)).status == 500

    run(main())
    assert len(caplog.records) == 1


# ---------------------------------------------------------------- ours on theirs


def test_our_application_mounted_in_starlette_answers_as_on_our_own_server():
    async def main():
        seen = Seen()
        hosted = AsgiHost(Starlette(routes=[*ROUTES, Mount("/", as_asgi(seen.echo))]), body_bytes_max=1 << 22)
        async with serving(hosted) as server:
            caller = await Caller.connect(server)
            assert (await caller.ask(get(b"/hello"))).body == b"hello"
            request = post(b"body", b"X-One: 1", b"x-one: 2", path=b"/v1/%2e?a=b%20c")
            answer = await caller.ask(request, "POST")
            assert (answer.status, answer.body) == (200, b"body")
            (exchange,) = seen.exchanges
            assert (exchange.method, exchange.path, exchange.query) == ("POST", "/v1/%2e", "a=b%20c")
            assert exchange.headers == {b"host": b"a", b"content-length": b"4", b"x-one": b"1, 2"}
            assert (exchange.peer, exchange.secure) == ("127.0.0.1", False)
            assert len((await caller.ask(post(b"x" * 3_000_000), "POST")).body) == 3_000_000

    run(main())


def test_our_streams_cross_asgi_whole_or_visibly_cut():
    async def app(exchange):
        exchange.start(200, [(b"content-type", b"text/event-stream")])
        for piece in (b"one", b"", b"two"):
            exchange.write(piece)
            await asyncio.sleep(0)
        exchange.abort() if exchange.path == "/abort" else exchange.finish()

    async def main():
        async with serving(AsgiHost(as_asgi(app))) as server:
            caller = await Caller.connect(server)
            answer = await caller.ask(GET)
            assert (answer.body, answer.whole) == (b"onetwo", True)
            assert (await caller.ask(GET.replace(b"GET", b"HEAD"), "HEAD")).body == b""
            answer = await caller.ask(get(b"/abort"))
            assert (answer.body, answer.whole) == (b"onetwo", False)

    run(main())


def test_a_caller_that_leaves_another_server_cancels_our_application():
    async def main():
        seen = Seen()
        async with serving(AsgiHost(as_asgi(seen.hang))) as server:
            caller = await Caller.connect(server)
            await caller.send(GET)
            await until(lambda: seen.exchanges != [])
            caller.close()
            await until(lambda: seen.ended == ["left"])

    run(main())


class Wire:
    """The other side of an ASGI call, message by message."""

    def __init__(self, *messages: dict) -> None:
        self.to_come: asyncio.Queue[dict] = asyncio.Queue()
        for message in messages:
            self.to_come.put_nowait(message)
        self.sent: list[dict] = []
        self.open = asyncio.Event()
        self.open.set()

    async def send(self, message: dict) -> None:
        await self.open.wait()
        self.sent.append(message)


def http(method: str = "GET", path: str = "/", *headers: tuple[bytes, bytes]) -> dict:
    return {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}


REQUEST = {"type": "http.request", "body": b"", "more_body": False}


def test_a_disconnect_message_cancels_our_application():
    async def main():
        seen = Seen()
        wire = Wire(REQUEST, {"type": "http.disconnect"})
        await as_asgi(seen.hang)(http(), wire.to_come.get, wire.send)
        assert (seen.ended, wire.sent) == (["left"], [])

    run(main())


def test_a_send_that_fails_is_a_caller_that_left():
    async def main():
        ended = []

        async def app(exchange):
            exchange.start(200, [])
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                ended.append(exchange.left)
                raise

        async def send(message):
            raise OSError("gone")

        await as_asgi(app)(http(), Wire(REQUEST).to_come.get, send)
        assert ended == [True]

    run(main())


def test_an_application_that_goes_on_after_its_answer_is_not_cancelled_by_the_disconnect():
    async def main():
        done = []

        async def app(exchange):
            exchange.answer(200, [(b"content-length", b"99")], b"hello")
            await asyncio.sleep(0.05)
            done.append(exchange.left)

        wire = Wire(REQUEST)

        async def send(message):
            wire.sent.append(message)
            if message["type"] == "http.response.body":
                wire.to_come.put_nowait({"type": "http.disconnect"})

        await as_asgi(app)(http(), wire.to_come.get, send)
        assert done == [False]
        assert wire.sent == [
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]},
            {"type": "http.response.body", "body": b"hello"},
        ]

    run(main())


def test_the_source_is_paused_while_the_other_server_takes_nothing():
    async def main():
        source = Recorder()

        async def app(exchange: Exchange):
            exchange.source = source
            exchange.start(200, [])
            while not source.told:
                exchange.write(b"x" * 10_000)
                await asyncio.sleep(0)
            wire.open.set()
            await until(lambda: source.told == ["pause", "resume"])
            exchange.finish()

        wire = Wire(REQUEST)
        wire.open.clear()
        await as_asgi(app)(http(), wire.to_come.get, wire.send)
        assert wire.sent[-1] == {"type": "http.response.body", "body": b""}

    run(main())


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_over_the_limit_is_refused_across_asgi(declared):
    async def main():
        seen = []

        async def app(exchange):
            try:
                await exchange.read(1000)
            except Error as error:
                seen.append(error.status)
                exchange.answer(error.status, [], b"")

        headers = [(b"content-length", b"1001")] if declared else []
        pieces = [{"type": "http.request", "body": b"x" * 600, "more_body": True} for _ in range(3)]
        wire = Wire(*pieces)
        await as_asgi(app)(http("POST", "/", *headers), wire.to_come.get, wire.send)
        assert seen == [413]
        assert wire.sent[0]["status"] == 413

    run(main())


def test_a_body_in_pieces_is_joined_and_no_more_is_taken_than_is_asked_for():
    async def main():
        bodies = []

        async def app(exchange):
            await asyncio.sleep(0.05)
            assert wire.to_come.qsize() > 90
            bodies.append(await exchange.read(1 << 24))
            exchange.answer(200, [], b"")

        pieces = [{"type": "http.request", "body": b"x" * 20_000, "more_body": n < 99} for n in range(100)]
        wire = Wire(*pieces)
        await as_asgi(app)(http("POST"), wire.to_come.get, wire.send)
        assert [len(body) for body in bodies] == [2_000_000]

    run(main())


def test_an_exception_of_our_application_reaches_the_other_server():
    async def main():
        async def fails(exchange):
            raise ZeroDivisionError

        async def smuggles(exchange):
            exchange.answer(200, [(b"x", b"a\r\nb: c")], b"")

        async def forgets(exchange):
            pass

        for app, error in ((fails, ZeroDivisionError), (smuggles, InternalError), (forgets, RuntimeError)):
            wire = Wire(REQUEST)
            with pytest.raises(error):
                await as_asgi(app)(http(), wire.to_come.get, wire.send)
            assert wire.sent == []

    run(main())


def test_lifespan_is_answered_and_websockets_are_closed():
    async def main():
        app = as_asgi(Seen().echo)
        wire = Wire({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})
        await app({"type": "lifespan"}, wire.to_come.get, wire.send)
        assert wire.sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]
        wire = Wire({"type": "websocket.connect"})
        await app({"type": "websocket"}, wire.to_come.get, wire.send)
        assert wire.sent == [{"type": "websocket.close", "code": 1008}]
        with pytest.raises(RuntimeError):
            await app({"type": "carrier-pigeon"}, wire.to_come.get, wire.send)

    run(main())
