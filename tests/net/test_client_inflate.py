"""Answers that come compressed although identity was asked for."""

import gzip
import random
import zlib

import pytest

from torana.errors import UpstreamDisconnected, UpstreamInvalid, UpstreamTooLarge
from torana.net.client import Client
from torana.net.inflate import INFLATED_BYTES_MAX, RATIO_FREE_BYTES, Inflate
from upstream_raw import CHUNKED, END, chunk, failure, fetch, run, saying, send, upstream, whole

TEXT = b"data: \xc3\xa9 hello\n\n" * 500


def _raw_deflate(data):
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


CODED = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT),
    "GZIP": gzip.compress(TEXT),
    "gzip, identity": gzip.compress(TEXT),
    "deflate": zlib.compress(TEXT),
    "Deflate": _raw_deflate(TEXT),
    "identity": TEXT,
    "": TEXT,
}


@pytest.mark.parametrize("coding", CODED)
def test_a_coded_body_is_given_plain_and_the_headers_agree(coding):
    async def test():
        body, label = CODED[coding], b"content-encoding: " + coding.encode()
        async with upstream(saying(whole(body, label))) as there:
            client = Client()
            reply = await send(client, there.origin)
            names = {name for name, _ in reply.headers}
            assert await reply.read(1 << 20) == TEXT
            if body != TEXT:
                assert names.isdisjoint({b"content-encoding", b"content-length"})
            assert (client.open, client.idle) == (1, 1)
            await client.close()

    run(test())


@pytest.mark.parametrize("seed", range(5))
def test_how_the_network_cuts_a_coded_stream_does_not_matter(seed):
    chance = random.Random(seed)
    coded = gzip.compress(TEXT[:4000]) + gzip.compress(TEXT[4000:])
    pieces = []
    while coded:
        size = chance.randrange(1, 60)
        pieces.append(chunk(coded[:size]))
        coded = coded[size:]
    head = CHUNKED.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n")

    async def test():
        async with upstream(saying(head, *pieces, END)) as there:
            client, seen = Client(), []
            reply = await send(client, there.origin, stream=True)
            await reply.relay(seen.append)
            assert b"".join(seen) == TEXT
            assert client.idle == 1
            await client.close()

    run(test())


@pytest.mark.parametrize("late", [False, True])
def test_a_bomb_is_stopped_at_its_ratio(late):
    bomb = gzip.compress(b"\0" * (32 << 20), compresslevel=6)

    async def test():
        head = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb)
        writes = [head, bomb] if late else [head + bomb]
        async with upstream(saying(*writes)) as there:
            client = Client()
            given = 0

            def sink(data: bytes) -> None:
                nonlocal given
                given += len(data)

            reply = await send(client, there.origin, stream=True)
            error = await failure(reply.relay(sink))
            assert type(error) is UpstreamTooLarge
            assert "100 times" in str(error)
            assert given <= RATIO_FREE_BYTES
            assert client.open == client.idle  # kept only if all of it had come
            await client.close()

    run(test())


def test_a_body_is_stopped_at_the_size_it_inflates_to():
    stream = zlib.compressobj(9, wbits=31)
    inflate = Inflate("gzip")
    noise = random.Random(1).randbytes(64 << 10)
    plain = noise + b"\0" * (2 << 20)  # about 34:1

    def pour() -> None:
        for _ in range(INFLATED_BYTES_MAX // len(plain) + 1):
            for _ in inflate.feed(stream.compress(plain) + stream.flush(zlib.Z_SYNC_FLUSH)):
                pass

    with pytest.raises(UpstreamTooLarge, match=str(INFLATED_BYTES_MAX)):
        pour()


def test_the_reader_s_own_limit_counts_plain_bytes():
    async def test():
        async with upstream(saying(whole(gzip.compress(TEXT), b"content-encoding: gzip"))) as there:
            client = Client()
            reply = await send(client, there.origin)
            assert type(await failure(reply.read(len(TEXT) - 1))) is UpstreamTooLarge
            await client.close()

    run(test())


def test_a_sink_that_closes_its_reply_gets_no_more_of_a_coded_body():
    async def test():
        noise = random.Random(2).randbytes(40_000)  # several pieces of input, one read
        head = CHUNKED.replace(b"\r\n\r\n", b"\r\ncontent-encoding: gzip\r\n\r\n")
        async with upstream(saying(head, chunk(gzip.compress(noise)))) as there:
            client, seen = Client(), []
            reply = await send(client, there.origin, stream=True)

            def sink(data: bytes) -> None:
                seen.append(data)
                reply.close()

            assert type(await failure(reply.relay(sink))) is UpstreamDisconnected
            assert (len(seen), client.open) == (1, 0)
            await client.close()

    run(test())


WRONG = {
    "plain text called gzip": TEXT,
    "gzip cut short": gzip.compress(TEXT)[:-9],
    "garbage after gzip": gzip.compress(TEXT) + b"garbage",
    "a broken checksum": gzip.compress(TEXT)[:-8] + b"\0" * 8,
}


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("name", WRONG)
def test_a_coding_that_does_not_hold_is_an_invalid_answer(name, late):
    async def test():
        answer = whole(WRONG[name], b"content-encoding: gzip")
        writes = [answer[:-4], answer[-4:]] if late else [answer]
        async with upstream(saying(*writes)) as there:
            client = Client()
            assert type(await failure(fetch(client, there.origin))) is UpstreamInvalid
            assert client.open == client.idle
            await client.close()

    run(test())


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, br", "gzip, gzip"])
def test_a_coding_we_cannot_undo_is_refused_by_name(coding):
    async def test():
        async with upstream(saying(whole(b"x", b"content-encoding: " + coding.encode()))) as there:
            client = Client()
            error = await failure(fetch(client, there.origin))
            assert type(error) is UpstreamInvalid
            assert coding in str(error)
            await client.close()

    run(test())


def test_a_coded_answer_without_a_body_is_no_error():
    async def test():
        async with upstream(saying(whole(b"", b"content-encoding: gzip"))) as there:
            client = Client()
            assert await fetch(client, there.origin) == b""
            await client.close()

    run(test())
