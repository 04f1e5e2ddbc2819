"""Where a request goes and how its head is spelled: parse_origin and render_head."""

import pytest

from torana import __version__
from torana.errors import ConfigError, InvalidRequest
from torana.net.client import Origin, parse_origin, render_head

HERE = Origin("https", "api.example.com", 443)


@pytest.mark.parametrize(
    ("url", "origin", "prefix", "authority"),
    [
        ("https://api.openai.com/v1", Origin("https", "api.openai.com", 443), "/v1", "api.openai.com"),
        ("https://api.openai.com/v1/", Origin("https", "api.openai.com", 443), "/v1", "api.openai.com"),
        ("HTTP://LocalHost:11434", Origin("http", "localhost", 11434), "", "localhost:11434"),
        ("http://10.0.0.5:80/", Origin("http", "10.0.0.5", 80), "", "10.0.0.5"),
        ("https://h:8443/a/b%20c", Origin("https", "h", 8443), "/a/b%20c", "h:8443"),
        ("http://[::1]:9000/x", Origin("http", "::1", 9000), "/x", "[::1]:9000"),
        ("https://[2001:DB8::1]", Origin("https", "2001:db8::1", 443), "", "[2001:db8::1]"),
        ("https://xn--bcher-kva.example", Origin("https", "xn--bcher-kva.example", 443), "", None),
    ],
)
def test_a_base_url_is_an_origin_and_a_prefix(url, origin, prefix, authority):
    assert parse_origin(url) == (origin, prefix)
    assert origin.authority == (authority or origin.host)
    assert hash(parse_origin(url)[0]) == hash(origin)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.openai.com/v1",
        "ftp://host",
        "file:///etc/passwd",
        "https://",
        "https:///v1",
        "https://user:secret@host",
        "https://host?x=1",
        "https://host#x",
        "https://host:0",
        "https://host:65536",
        "https://host:port",
        "https://ho st",
        "https://host/a b",
        " https://host",
        "https://host\r\nx: y",
        "https://host/a\r\nx: y",
        "https://b\u00fccher.example",
        "https://[::1",
        "https://[zz]",
        "https://-host",
    ],
)
def test_what_is_no_base_url_is_refused_without_its_secret(url):
    with pytest.raises(ConfigError) as caught:
        parse_origin(url)
    assert "secret" not in str(caught.value)


def test_a_head_names_its_host_and_asks_for_no_coding():
    assert render_head("POST", HERE, "/v1/x?y=1", [("X-Api-Key", "k")]) == (
        b"POST /v1/x?y=1 HTTP/1.1\r\nhost: api.example.com\r\naccept-encoding: identity\r\n"
        b"X-Api-Key: k\r\nuser-agent: torana/%b\r\n" % __version__.encode()
    )


def test_a_user_agent_of_ones_own_replaces_ours():
    assert render_head("GET", HERE, "/", [("User-Agent", "me")]).count(b"\nuser-agent:") == 0


def test_octets_above_ascii_are_carried_as_latin_1():
    assert b"x: \xe9\r\n" in render_head("GET", HERE, "/", [("x", "\u00e9")])


NASTY = ["\r\nx: y", "\n", "\r", "\0", "a\r\n\r\nGET / HTTP/1.1\r\n\r\n", "\u0100", "\u560a"]


@pytest.mark.parametrize("nasty", NASTY)
@pytest.mark.parametrize("place", ["method", "path", "name", "value"])
def test_nothing_that_ends_a_line_or_is_no_octet_enters_a_head(nasty, place):
    pieces = {"method": "POST", "path": "/v1", "name": "x-name", "value": "v"}
    pieces[place] += nasty
    with pytest.raises(InvalidRequest):
        render_head(pieces["method"], HERE, pieces["path"], [(pieces["name"], pieces["value"])])


@pytest.mark.parametrize("path", ["", "v1", "/a b", "/a\tb", "http://other/", "/\u00e9", "/\x7f"])
def test_a_path_is_a_path(path):
    with pytest.raises(InvalidRequest):
        render_head("GET", HERE, path)


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\t", "(a)", "\u00e9"])
def test_a_header_name_is_a_token(name):
    with pytest.raises(InvalidRequest):
        render_head("GET", HERE, "/", [(name, "v")])


@pytest.mark.parametrize(
    "name", ["Host", "content-length", "Transfer-Encoding", "connection", "TE", "Expect"]
)
def test_headers_that_frame_the_message_are_ours(name):
    with pytest.raises(InvalidRequest):
        render_head("GET", HERE, "/", [(name, "1")])


@pytest.mark.parametrize("method", ["HEAD", "CONNECT", "", "GE T"])
def test_methods_whose_answers_are_framed_otherwise_are_refused(method):
    with pytest.raises(InvalidRequest):
        render_head(method, HERE, "/")
