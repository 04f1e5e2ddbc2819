"""TLS: certificates are verified, always; what fails is UpstreamTlsError and no request was sent."""

import asyncio
import datetime as dt
import os
import socket
import ssl

import pytest
import trustme

from torana.errors import ConfigError, UpstreamDisconnected, UpstreamInvalid, UpstreamTlsError
from torana.net.client import Client, Origin
from torana.net.dial import verifying_context
from upstream_raw import CHUNKED, END, Peer, chunk, failure, fetch, run, saying, send, until, upstream, whole

CA = trustme.CA()


def _server(cert=None):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (cert or CA.issue_cert("localhost", "127.0.0.1")).configure_cert(context)
    return context


def _trusting(ca=CA):
    context = verifying_context()
    ca.configure_trust(context)
    return context


def _expired():
    return CA.issue_cert("localhost", not_after=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))


def test_a_verified_upstream_is_spoken_to_and_its_connection_kept():
    async def test():
        async with upstream(saying(whole(b"secret")), _server()) as there:
            client = Client(ssl=_trusting())
            for _ in range(3):
                assert await fetch(client, there.origin) == b"secret"
            assert (len(there.peers), client.open, client.idle) == (1, 1, 1)
            cipher = there.peers[0].transport.get_extra_info("ssl_object")
            assert cipher.version() in ("TLSv1.2", "TLSv1.3")
            await client.close()

    run(test())


def test_a_stream_over_tls_arrives_whole():
    async def test():
        parts = [b"data: %d\n\n" % number for number in range(50)]
        async with upstream(saying(CHUNKED, *map(chunk, parts), END), _server()) as there:
            client, seen = Client(ssl=_trusting()), []
            reply = await send(client, there.origin, stream=True)
            await reply.relay(seen.append)
            assert b"".join(seen) == b"".join(parts)
            assert client.idle == 1
            await client.close()

    run(test())


def test_an_address_is_verified_as_an_address():
    async def test():
        async with upstream(saying(whole(b"ok")), _server()) as there:
            client = Client(ssl=_trusting())
            assert await fetch(client, Origin("https", "127.0.0.1", there.port)) == b"ok"
            await client.close()

    run(test())


UNTRUSTED = {
    "expired": lambda: _expired(),
    "wrong host": lambda: CA.issue_cert("other.example"),
    "untrusted": lambda: trustme.CA().issue_cert("localhost"),
    "self-signed": lambda: _self_signed(),
}


def _self_signed():
    ca = trustme.CA()

    class Own:
        def configure_cert(self, context):
            with ca.private_key_pem.tempfile() as key, ca.cert_pem.tempfile() as cert:
                context.load_cert_chain(cert, key)

    return Own()


@pytest.mark.parametrize("name", UNTRUSTED)
def test_a_certificate_that_does_not_verify_is_refused_and_nothing_sent(name):
    """T14."""

    async def test():
        async with upstream(saying(whole(b"ok")), _server(UNTRUSTED[name]())) as there:
            client = Client(ssl=_trusting())
            error = await failure(fetch(client, there.origin))
            assert type(error) is UpstreamTlsError
            assert there.origin.name in str(error)
            assert (there.requests, client.open) == ([], 0)
            await client.close()

    run(test())


def test_a_certificate_the_system_does_not_know_is_refused_by_default():
    async def test():
        async with upstream(saying(whole(b"ok")), _server()) as there:
            client = Client()
            assert type(await failure(fetch(client, there.origin))) is UpstreamTlsError
            assert there.requests == []
            await client.close()

    run(test())


def test_a_ca_file_named_by_the_environment_is_trusted(tmp_path, monkeypatch):
    CA.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))

    async def test():
        async with upstream(saying(whole(b"ok")), _server()) as there:
            client = Client()
            assert await fetch(client, there.origin) == b"ok"
            await client.close()

    run(test())


def test_a_certificate_swapped_while_running_is_verified_anew():
    async def test():
        context = _server()
        async with upstream(saying(whole(b"ok", b"connection: close")), context) as there:
            client = Client(ssl=_trusting())
            assert await fetch(client, there.origin) == b"ok"
            CA.issue_cert("other.example").configure_cert(context)
            assert type(await failure(fetch(client, there.origin))) is UpstreamTlsError
            assert len(there.requests) == 1
            await client.close()

    run(test())


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_old_version_of_tls_is_refused(version):
    async def test():
        context = _server()
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = version
        context.maximum_version = version
        async with upstream(saying(whole(b"ok")), context) as there:
            client = Client(ssl=_trusting())
            assert type(await failure(fetch(client, there.origin))) is UpstreamTlsError
            assert there.requests == []
            await client.close()

    run(test())


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", None])
def test_a_peer_that_does_not_shake_hands_is_refused(says):
    """It stalls, speaks plain HTTP, or closes."""

    class Odd(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
            peers.append(transport)

        def data_received(self, data):
            if says is None:
                self.transport.close()
            else:
                self.transport.write(says)

    peers: list[asyncio.BaseTransport] = []

    async def test():
        server = await asyncio.get_running_loop().create_server(Odd, "127.0.0.1", 0)
        origin = Origin("https", "127.0.0.1", server.sockets[0].getsockname()[1])
        client = Client(ssl=_trusting())
        error = await failure(fetch(client, origin, connect_s=0.2))
        assert type(error) is UpstreamTlsError
        assert client.open == 0
        await until(lambda: all(peer.is_closing() for peer in peers))
        await client.close()
        server.close()

    run(test())


def test_an_upstream_that_speaks_only_http_2_is_refused():
    """T15: we offer http/1.1, and what is not HTTP/1.1 is not taken for an answer."""

    async def test():
        context = _server()
        context.set_alpn_protocols(["h2"])
        async with upstream(saying(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"), context) as there:
            client = Client(ssl=_trusting())
            error = await failure(fetch(client, there.origin))
            assert isinstance(error, (UpstreamTlsError, UpstreamInvalid))
            assert client.open == 0
            await client.close()

    run(test())


def test_a_context_that_does_not_verify_cannot_be_used():
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    with pytest.raises(ConfigError):
        Client(ssl=trusting)
    trusting.verify_mode = ssl.CERT_NONE
    with pytest.raises(ConfigError):
        Client(ssl=trusting)


def test_a_body_that_ends_with_a_tls_connection_needs_its_close_notify():
    async def script(peer: Peer, request: bytes) -> None:
        peer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        if len(there.requests) == 1:
            peer.close()
        else:
            await until(lambda: bool(seen))
            peer.transport.abort()  # the TCP connection ends, the TLS session does not

    seen: list[bytes] = []

    async def test():
        nonlocal there
        async with upstream(script, _server()) as there:
            client = Client(ssl=_trusting())
            assert await fetch(client, there.origin) == b"all of it"
            reply = await send(client, there.origin)
            assert type(await failure(reply.relay(seen.append))) is UpstreamDisconnected
            assert (seen, client.open) == ([b"all of it"], 0)
            await client.close()

    there = None
    run(test())


def test_a_tls_connection_closed_while_idle_is_not_used():
    async def test():
        async with upstream(saying(whole(b"ok")), _server()) as there:
            client = Client(ssl=_trusting())
            await fetch(client, there.origin)
            number = there.peers[0].transport.get_extra_info("socket").fileno()
            with socket.socket(fileno=os.dup(number)) as under:
                under.shutdown(socket.SHUT_RDWR)  # and neither end's loop has had a turn
            assert await fetch(client, there.origin) == b"ok"
            assert [len(peer.requests) for peer in there.peers] == [1, 1]
            await client.close()

    run(test())


def test_a_cancelled_handshake_leaves_nothing_behind():
    async def test():
        server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
        origin = Origin("https", "127.0.0.1", server.sockets[0].getsockname()[1])
        client = Client(ssl=_trusting())
        task = asyncio.create_task(fetch(client, origin))
        await asyncio.sleep(0.05)
        assert client.open == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.open == 0
        await client.close()
        server.close()

    run(test())
