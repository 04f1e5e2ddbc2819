"""Requests whose end two readers could see in two places: refused with 4xx and closed, and nothing behind them
is ever executed."""

import asyncio
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from callers import GET, Caller, Seen, post, run, serving
from torana.net.server import Server

from corpus import require

CANARY = b"GET /canary HTTP/1.1\r\nHost: a\r\n\r\n"


async def talk(server: Server, data: bytes) -> list[int]:
    """Sends everything, closes its half, and returns the statuses of all answers before the server closed."""
    caller = await Caller.connect(server)
    caller.writer.write(data)
    caller.half_close()
    raw = await caller.closed()
    caller.close()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([2-5]\d\d) ", raw)]


def refused(lines: bytes, body: bytes = b"") -> None:
    """`lines` and `body` are one 400 and no call, and what follows is never read."""

    async def main():
        seen = Seen()
        async with serving(seen.echo) as server:
            assert await talk(server, lines + body + CANARY) == [400]
            # the same, arriving byte by byte
            caller = await Caller.connect(server)
            (connection,) = [c for c in server._members if c.peer]
            for n in range(len(lines + body + CANARY)):
                connection.data_received((lines + body + CANARY)[n : n + 1])
                await asyncio.sleep(0)
            assert (await caller.answer()).status == 400
            assert await caller.closed() == b""
            assert [path for _, path, _ in seen.calls if path == "/canary"] == []
            assert [call for call in seen.calls if call[2] != b"unreadable"] == []

    run(main())


POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"Content-Length: 5\r\nContent-Length: 5",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5\r\ncontent-length:",
        b"Content-Length: +5",
        b"Content-Length: -5",
        b"Content-Length: 5, 5",
        b"Content-Length: 5 5",
        b"Content-Length: 0x5",
        b"Content-Length: 5.0",
        b"Content-Length: 5e0",
        b"Content-Length: \xb2",
        b"Content-Length:",
        b"Content-Length: 99999999999999999999999",
        b"Transfer-Encoding: chunked, chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: chunked;q=1",
        b'Transfer-Encoding: "chunked"',
        b"Transfer-Encoding:\x0bchunked",
        b"Transfer-Encoding:",
        b"Transfer-Encoding : chunked",
        b"Transfer-Encoding\r\n : chunked",
        b"Transfer-Encoding:\r\n chunked",
        b"X: a\r\n Transfer-Encoding: chunked",
        b"X: a\rTransfer-Encoding: chunked",
        b"X: a\nTransfer-Encoding: chunked",
        b"X: a\x00b",
        b"X: a\x7fb",
        b"X\x00: a",
        b"X Y: a",
        b"X\t: a",
        b": a",
        b"X",
        b"(X): a",
        b"\xe9: a",
        b"Host: a",
        b"Host: b",
        b"Expect: 100-continue\r\nExpect: 100-continue",
    ],
)
def test_a_head_with_two_readings_is_refused(head):
    refused(POST + head + b"\r\n\r\n", b"0\r\n\r\n")


@pytest.mark.parametrize(
    "body",
    [
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"\r\n5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\rhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
        b"5;a=b\nhello\r\n0\r\n\r\n",
        b"5;a\x00\r\nhello\r\n0\r\n\r\n",
        b'5;a="x\ny"\r\nhello\r\n0\r\n\r\n',
        b";a\r\nhello\r\n0\r\n\r\n",
        b"FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\n\r\n",
        b"5\r\nhello\r\n0\r\n\n",
        b"5\r\nhello\r\n0\r\n\rX\r\n\r\n",
        b"5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n",
        b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"5\r\nhello\r\n0\r\nbad trailer: x\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: a\nGET /canary HTTP/1.1\r\n\r\n",
    ],
)
def test_chunks_with_two_readings_are_refused(body):
    refused(CHUNKED, body)


@pytest.mark.parametrize(
    "line",
    [
        b"GET http://a/ HTTP/1.1",
        b"GET https://user:pw@a/x HTTP/1.1",
        b"GET * HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"GET a HTTP/1.1",
        b"GET ?x HTTP/1.1",
        b"GET /a#b HTTP/1.1",
        b"GET /a\x01 HTTP/1.1",
        b"GET /a\tb HTTP/1.1",
        b"GET /a\x00 HTTP/1.1",
        b"GET /a\x7f HTTP/1.1",
        b"GET /\xc3\xa9 HTTP/1.1",
        b"GET /a b HTTP/1.1",
        b"GET  / HTTP/1.1",
        b"GET /  HTTP/1.1",
        b"GET\t/ HTTP/1.1",
        b" GET / HTTP/1.1",
        b"GET / HTTP/1.1 ",
        b"GET / HTTP/1.2",
        b"GET / HTTP/1.10",
        b"GET / HTTP/2.0",
        b"GET / HTTP/0.9",
        b"GET / http/1.1",
        b"GET / RTSP/1.0",
        b"GET / RTSP/1.1",
        b"SOURCE / ICE/1.0",
        b"GET /",
        b"get / HTTP/1.1",
        b"FOO / HTTP/1.1",
        b"G\x00T / HTTP/1.1",
        b"CONNECT a:80 HTTP/1.1",
        b"CONNECT / HTTP/1.1",
        b"PRI * HTTP/2.0",
        b"\nGET / HTTP/1.1",
        b"\rGET / HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r",
        b"GET / HTTP/1.1\nX: y",
    ],
)
def test_a_request_line_we_do_not_serve_is_refused(line):
    refused(line + b"\r\nHost: a\r\n\r\n")


@pytest.mark.parametrize(
    "host",
    [
        *(b"", b"a b", b"a/", b"/a", b"a?b", b"foo?", b"foo#", b"foo/", b"u@a", b"a\\b", b"a:x", b"a:1:2"),
        *(
            b"a:123456",
            b"[::1",
            b"::1",
            b"[a",
            b"[z::]",
            b"a%zz",
            b"a%",
            b"\xe9",
            b'"a"',
            b"<a>",
            b"a|b",
            b"//a",
        ),
    ],
)
def test_a_host_that_names_no_host_is_refused(host):
    refused(b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host)


def test_http_1_1_without_host_is_refused():
    refused(b"GET / HTTP/1.1\r\nX: y\r\n\r\n")


def test_chunks_in_http_1_0_are_refused():
    refused(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n")


@pytest.mark.parametrize(
    "host", [b"a", b"A.b-c_d~.", b"127.0.0.1:8080", b"[::1]", b"[fe80::1]:80", b"a:", b"%41", b"a,b"]
)
def test_every_host_of_the_grammar_is_served(host):
    async def main():
        seen = Seen()
        async with serving(seen.echo) as server:
            assert await talk(server, b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host) == [200]

    run(main())


def test_an_unknown_expectation_is_417():
    async def main():
        seen = Seen()
        async with serving(seen.echo) as server:
            assert await talk(server, post(b"hello", b"Expect: 200-ok") + CANARY) == [417]
            assert seen.calls == []

    run(main())


def test_an_upgrade_is_not_made_and_what_follows_is_a_request_of_its_own():
    async def main():
        seen = Seen()
        async with serving(seen.echo) as server:
            upgrade = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk")
            websocket = GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            chunked = CHUNKED[:-2] + b"\r\n".join(upgrade[:2]) + b"\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
            statuses = await talk(server, websocket + post(CANARY, *upgrade) + chunked + GET)
            assert statuses == [200, 200, 200, 200]
            assert [body for _, _, body in seen.calls] == [b"", CANARY, b"abc", b""]

    run(main())


def test_what_follows_connection_close_is_not_read():
    async def main():
        seen = Seen()
        async with serving(seen.echo) as server:
            assert await talk(server, GET[:-2] + b"Connection: close\r\n\r\n" + CANARY) == [200]
            assert len(seen.calls) == 1

    run(main())


def test_empty_lines_before_a_request_are_skipped():
    async def main():
        seen = Seen()
        async with serving(seen.echo) as server:
            assert await talk(server, b"\r\n\r\n" + GET + b"\r\n" + GET) == [200, 200]
            assert await talk(server, b"\r\n" * 100_000 + GET) == [200]

    run(main())


def test_a_body_that_ends_early_is_refused():
    async def main():
        seen = Seen()
        async with serving(seen.echo) as server:
            assert await talk(server, post(b"hello")[:-1]) == [400]
            assert await talk(server, CHUNKED + b"5\r\nhello\r\n0\r\n") == [400]
            assert await talk(server, GET + post(b"hello")[:-1]) == [200, 400]
            assert [body for _, _, body in seen.calls] == [b"unreadable", b"unreadable", b"", b"unreadable"]

    run(main())


def test_mutations_of_transfer_encoding_never_release_a_hidden_request():
    inner = b"0\r\n\r\n" + CANARY
    mutations = []
    for byte in range(256):
        b = bytes([byte])
        for line in (
            b + b"Transfer-Encoding: chunked",
            b"Transfer-Encoding" + b + b": chunked",
            b"Transfer-Encoding:" + b + b"chunked",
            b"Transfer-Encoding: chunked" + b,
            b"Transfer" + b + b"Encoding: chunked",
        ):
            mutations.append(post(inner, line))
            mutations.append(post(inner).replace(b"Content-Length", line + b"\r\nContent-Length"))

    async def main():
        seen = Seen()
        async with serving(seen.echo) as server:
            for start in range(0, len(mutations), 64):
                batch = mutations[start : start + 64]
                before = len(seen.calls)
                answers = await asyncio.gather(*(talk(server, data) for data in batch))
                assert [a for a in answers if a not in ([200], [400])] == []
                assert sum(a == [200] for a in answers) == len(seen.calls) - before
            assert {call[:2] for call in seen.calls} == {("POST", "/")}
            assert {call[2] for call in seen.calls} == {inner}

    run(main(), 60)


# ---------------------------------------------------------------- the cases of the llhttp documents


def corpus_cases() -> list:
    cases = []
    for path in sorted((require() / "hostile" / "http1" / "request").glob("*.md")):
        meta, code = "", ""
        for found in re.finditer(r"<!-- meta=(.*?) -->|```(http|log)\n(.*?)```", path.read_text(), re.DOTALL):
            if found[1]:
                meta = found[1]
            elif found[2] == "http":
                code = found[3]
            else:
                name = f"{path.stem}-{len(cases)}"
                cases.append(pytest.param(_bytes(code), found[3], "lenient" in meta, id=name))
    return cases


def _bytes(code: str) -> bytes:
    """The documents' notation: a line ends in CRLF, a backslash at its end joins it to the next."""
    raw = re.sub(r"\\\n", "", code.removesuffix("\n")).replace("\n", "\r\n").encode()
    for escape, char in ((rb"\r", b"\r"), (rb"\n", b"\n"), (rb"\t", b"\t"), (rb"\f", b"\f")):
        raw = raw.replace(escape, char)
    return re.sub(rb"\\x([0-9a-fA-F]{2})", lambda match: bytes.fromhex(match[1].decode()), raw)


def with_host(data: bytes) -> bytes:
    """Most of the documents' requests have no Host; with one they are refused for their own sake."""
    return re.sub(
        rb"( HTTP/1\.1\r\n)(?!.*^Host:)",
        rb"\1Host: a\r\n",
        data,
        flags=re.DOTALL | re.MULTILINE | re.IGNORECASE,
    )


@pytest.mark.parametrize(("data", "log", "lenient"), corpus_cases())
def test_the_llhttp_documents_hold_nothing_that_hurts(data, log, lenient, caplog):
    async def main():
        seen = Seen()
        async with serving(seen.echo, headers_s=0.4) as server:
            for request in (data, with_host(data)):
                seen.calls.clear()
                statuses = await talk(server, request)
                assert [status for status in statuses if status >= 500] == []
                assert all(status == 200 for status in statuses[:-1])  # a refusal is the last word
                assert len(seen.calls) <= log.count("message begin")
                good = [call for call in seen.calls if call[2] != b"unreadable"]
                assert statuses.count(200) == len(good) <= log.count("message complete")
                if re.search(r"error code=(?!2[12] )", log) and not lenient:
                    seen.calls.clear()
                    await talk(server, request + CANARY)
                    assert "/canary" not in [path for _, path, _ in seen.calls]

    run(main())
    assert caplog.records == []


# ---------------------------------------------------------------- the network may cut where it likes

REQUESTS = [
    GET,
    post(b"hello", b"X-One: 1", b"x-one: 2", path=b"/a?b=c"),
    CHUNKED + b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nTrailer: x\r\n\r\n",
    b"\r\n" + post(b"\r\n\r\n" * 3, b"Connection: Upgrade", b"Upgrade: h2c"),
    post(b"", path=b"/empty"),
    CHUNKED + b"0\r\n\r\n",
]


@settings(max_examples=60)
@given(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=4), st.data())
def test_where_the_network_cuts_changes_nothing_the_application_sees(requests, data):
    whole = b"".join(requests)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=12), label="cuts"))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    async def calls(pieces: list[bytes]) -> list:
        seen = Seen()
        async with serving(seen.echo) as server:
            caller = await Caller.connect(server)
            while not server._members:
                await asyncio.sleep(0)
            (connection,) = server._members
            for piece in pieces:
                if piece:
                    connection.data_received(piece)
                await asyncio.sleep(0)
            statuses = [(await caller.answer("POST")).status for _ in requests]
            assert statuses == [200] * len(requests)
            caller.close()
            return [
                (*call, exchange.headers) for call, exchange in zip(seen.calls, seen.exchanges, strict=True)
            ]

    async def main():
        assert await calls(pieces) == await calls([whole])

    run(main())


def test_one_byte_at_a_time_is_a_request_too():
    async def main():
        seen = Seen()
        async with serving(seen.echo) as server:
            caller = await Caller.connect(server)
            while not server._members:
                await asyncio.sleep(0)
            (connection,) = server._members
            for byte in b"".join(REQUESTS):
                connection.data_received(bytes([byte]))
                await asyncio.sleep(0)
            bodies = [(await caller.answer("POST")).body for _ in REQUESTS]
            assert bodies == [b"ok", b"hello", b"hello world", b"\r\n\r\n" * 3, b"ok", b"ok"]

    run(main())
