"""Proxies: which one the environment names for an origin, and how it is spoken to."""

import asyncio
import base64
import ssl

import pytest
import trustme

from torana.errors import ConfigError, UpstreamTlsError, UpstreamUnreachable
from torana.net.client import Client, Origin, Proxies
from torana.net.dial import PROXY_HEAD_BYTES_MAX, verifying_context
from torana.net.proxies import Proxy
from upstream_raw import Peer, failure, fetch, run, saying, until, upstream, whole

CA = trustme.CA()
PROXY = Proxy(Origin("http", "proxy.example", 3128))
FAR = Origin("https", "api.example.com", 443)


def test_the_environment_names_a_proxy_per_scheme():
    proxies = Proxies.from_env({"https_proxy": "http://a:1", "HTTP_PROXY": "b:2", "ALL_PROXY": "http://c"})
    assert proxies.pick(FAR) == Proxy(Origin("http", "a", 1))
    assert proxies.pick(Origin("http", "api.example.com", 80)) == Proxy(Origin("http", "b", 2))
    assert Proxies.from_env({"ALL_PROXY": "http://c"}).pick(FAR) == Proxy(Origin("http", "c", 1080))
    assert Proxies.from_env({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}).pick(FAR) == Proxy(
        Origin("http", "a", 1)
    )
    assert Proxies.from_env({}).pick(FAR) is None


def test_a_caller_s_proxy_header_is_not_a_proxy_under_cgi():
    env = {"HTTP_PROXY": "http://evil:1", "REQUEST_METHOD": "GET"}
    assert Proxies.from_env(env).pick(Origin("http", "api.example.com", 80)) is None


def test_a_proxy_s_credentials_are_sent_and_never_printed():
    proxy = Proxies.from_env({"https_proxy": "http://us%20er:pa%3Ass@p:1"}).pick(FAR)
    assert proxy is not None
    assert proxy.authorization == "Basic " + base64.b64encode(b"us er:pa:ss").decode()
    assert repr(proxy) == "Proxy(p:1)"


@pytest.mark.parametrize("value", ["https://p:1", "socks5://p:1", "http://", "http://p:x", "http://[::1"])
def test_a_proxy_we_cannot_use_is_refused_by_the_name_of_its_variable(value):
    with pytest.raises(ConfigError, match="HTTPS_PROXY"):
        Proxies.from_env({"HTTPS_PROXY": value})


@pytest.mark.parametrize(
    ("no_proxy", "host", "port", "bypassed"),
    [
        ("", "example.com", 443, False),
        ("*", "example.com", 443, True),
        ("example.com", "example.com", 443, True),
        ("example.com", "api.example.com", 443, True),
        (".example.com", "api.example.com", 443, True),
        (".example.com", "example.com", 443, True),
        ("*.example.com", "api.example.com", 443, True),
        ("EXAMPLE.com", "api.example.com", 443, True),
        ("example.com.", "example.com", 443, True),
        ("example.com", "notexample.com", 443, False),
        ("example.com", "example.com.evil", 443, False),
        ("other, example.com", "example.com", 443, True),
        ("other example.com", "example.com", 443, True),
        ("example.com:443", "example.com", 443, True),
        ("example.com:8443", "example.com", 443, False),
        ("10.0.0.5", "10.0.0.5", 80, True),
        ("10.0.0.5:80", "10.0.0.5", 80, True),
        ("10.0.0.5:81", "10.0.0.5", 80, False),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.7/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("10.0.0.0/8", "10.example.com", 80, False),
        ("10.0.0.0/99", "10.0.0.0", 80, False),
        ("0.5", "10.0.0.5", 80, False),
        ("fd00::/8", "fd12::1", 80, True),
        ("[fd12::1]", "fd12::1", 80, True),
        ("[fd12::1]:80", "fd12::1", 80, True),
        ("[fd12::1]:81", "fd12::1", 80, False),
        ("fd12::1", "fd12::1", 80, True),
        (".", "example.com", 443, False),
        (",,", "example.com", 443, False),
    ],
)
def test_no_proxy_names_hosts_suffixes_ports_and_blocks(no_proxy, host, port, bypassed):
    proxies = Proxies.from_env({"all_proxy": "http://proxy.example:3128", "no_proxy": no_proxy})
    assert proxies.pick(Origin("https", host, port)) == (None if bypassed else PROXY)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.9.10", "::1"])
def test_this_machine_is_never_reached_through_a_proxy(host):
    assert Proxies(http=PROXY, https=PROXY).pick(Origin("http", host, 80)) is None


# ---------------------------------------------------------------- over sockets


def _tunnel_to(port, seen):
    """A CONNECT proxy that leads everyone to one local port."""

    async def serve(reader, writer):
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\nvia: test\r\n\r\n")

        async def pump(source, target):
            try:
                while data := await source.read(65536):
                    target.write(data)
            except OSError:
                pass
            finally:
                target.close()

        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    return serve


def _proxied(port, authorization=""):
    proxy = Proxy(Origin("http", "127.0.0.1", port), authorization)
    return Proxies(http=proxy, https=proxy)


def _client(proxies):
    context = verifying_context()
    CA.configure_trust(context)
    return Client(ssl=context, proxies=proxies)


def _server(host):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CA.issue_cert(host).configure_cert(context)
    return context


def test_https_goes_through_a_tunnel_and_is_verified_end_to_end():
    async def test():
        seen: list[bytes] = []
        async with upstream(saying(whole(b"ok")), _server("api.example.com")) as there:
            proxy = await asyncio.start_server(_tunnel_to(there.port, seen), "127.0.0.1", 0)
            client = _client(_proxied(proxy.sockets[0].getsockname()[1], "Basic eA=="))
            for _ in range(2):
                assert await fetch(client, FAR) == b"ok"
            asked = b"CONNECT api.example.com:443 HTTP/1.1\r\nhost: api.example.com:443\r\n"
            assert seen == [asked + b"proxy-authorization: Basic eA==\r\n\r\n"]
            assert all(b"proxy-authorization" not in request for request in there.requests)
            assert (client.open, client.idle) == (1, 1)
            other = await failure(fetch(client, Origin("https", "wrong.example.com", 443)))
            assert type(other) is UpstreamTlsError
            assert len(there.requests) == 2
            await client.close()
            proxy.close()

    run(test())


def test_http_is_asked_of_the_proxy_with_the_whole_address():
    async def test():
        async with upstream(saying(whole(b"ok"))) as proxy:
            client = _client(_proxied(proxy.port, "Basic eA=="))
            assert await fetch(client, Origin("http", "far.example.com", 8080)) == b"ok"
            [request] = proxy.requests
            assert request.startswith(
                b"POST http://far.example.com:8080/v1/x HTTP/1.1\r\nhost: far.example.com:8080\r\n"
            )
            assert b"\r\nproxy-authorization: Basic eA==\r\n" in request
            await client.close()

    run(test())


def test_this_machine_is_asked_directly_and_never_shown_the_proxy_s_password():
    async def test():
        async with upstream(saying(whole(b"no"))) as proxy, upstream(saying(whole(b"ok"))) as there:
            client = _client(_proxied(proxy.port, "Basic eA=="))
            assert await fetch(client, there.origin) == b"ok"
            assert b"proxy" not in there.requests[0]
            assert proxy.requests == []
            await client.close()

    run(test())


REFUSALS = {
    "wants a password": b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
    "forbids": b"HTTP/1.1 403 Forbidden\r\n\r\n",
    "is no proxy": b"SSH-2.0-x\r\n\r\n",
    "says too much": b"HTTP/1.1 200 OK\r\n\r\nand more",
    "does not stop": b"HTTP/1.1 200 OK\r\na: " + b"b" * PROXY_HEAD_BYTES_MAX,
    "leaves": b"",
    "leaves early": b"HTTP/1.1 200 OK\r\n",
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_proxy_that_opens_no_tunnel_is_named(name):
    async def script(peer: Peer, request: bytes) -> None:
        peer.write(REFUSALS[name])
        peer.half_close()

    async def test():
        async with upstream(script) as proxy:
            client = _client(_proxied(proxy.port))
            error = await failure(fetch(client, FAR))
            assert type(error) is UpstreamUnreachable
            assert f"127.0.0.1:{proxy.port}" in str(error)
            await until(lambda: all(peer.lost.is_set() for peer in proxy.peers))
            assert client.open == 0
            await client.close()

    run(test())


def test_a_proxy_that_says_nothing_ends_at_the_connect_deadline():
    async def test():
        async with upstream(saying(b"")) as proxy:
            client = _client(_proxied(proxy.port))
            error = await failure(fetch(client, FAR, connect_s=0.1))
            assert type(error) is UpstreamUnreachable
            await proxy.peers[0].lost.wait()
            assert client.open == 0
            await client.close()

    run(test())
