"""Credentials do not cross, callers do not see each other, and a caller that leaves stops costing money."""

import http.client
import socket
import time

import pytest

from provider import CHAT, CHAT_STREAM, Asked, Provider, chat_chunk, events, head, reply
from running import SECRET, Running

CANARY = "provider-secret-key"


@pytest.mark.parametrize(
    "carrier", ["authorization", "x-api-key", "api-key", "x-goog-api-key", "helicone-auth"]
)
def test_a_callers_credential_never_reaches_a_provider(stage, carrier):
    value = f"Bearer {SECRET}" if carrier in ("authorization", "helicone-auth") else SECRET
    body = {"model": "mock/gpt-x", "messages": [{"role": "user", "content": "hi"}]}
    more = {carrier: value, "cookie": f"session={SECRET}", "x-forwarded-for": "1.2.3.4", "xi-api-key": SECRET}
    answer = stage.torana.ask("POST", "/v1/chat/completions", body, key=None, **more)
    assert answer.status == 200
    sent = stage.mock.asked[0]
    assert SECRET.encode() not in sent.raw_headers and b"cookie" not in sent.raw_headers.lower()
    assert sent.headers["authorization"] == f"Bearer {CANARY}"
    assert "x-forwarded-for" not in sent.headers


def test_a_credential_in_the_query_never_reaches_a_provider(stage):
    body = {"model": "mock/gpt-x", "messages": [{"role": "user", "content": "hi"}]}
    assert stage.torana.ask("POST", f"/v1/chat/completions?key={SECRET}", body, key=None).status == 200
    assert SECRET.encode() not in stage.mock.asked[0].raw_headers


def test_two_different_credentials_are_400(stage):
    body = {"model": "mock/gpt-x", "messages": [{"role": "user", "content": "hi"}]}
    answer = stage.torana.ask("POST", "/v1/chat/completions", body, x_api_key="another")
    assert (answer.status, answer.json["error"]["code"]) == (400, "conflicting_credentials")
    assert stage.mock.asked == []


@pytest.mark.parametrize("status", [200, 302, 400, 401, 500])
def test_a_provider_that_reflects_its_request_gives_nothing_away(stage, status):
    def reflect(asked: Asked):
        headers = {f"x-reflected-{name}": value for name, value in asked.headers.items()}
        headers |= {
            "authorization": asked.headers["authorization"],
            "set-cookie": CANARY,
            "x-goog-api-key": CANARY,
        }
        body = b'{"error":{"message":"you sent ' + asked.headers["authorization"].encode() + b'"}}'
        return [head(status, length=len(body), headers=headers) + body]

    stage.mock.script = reflect
    answer = stage.torana.chat("mock/gpt-x")
    assert CANARY not in str(answer.headers)
    assert CANARY.encode() not in answer.body or status == 200


def test_no_field_of_a_request_chooses_where_it_goes(stage):
    with Provider(reply(CHAT)) as elsewhere:
        spellings = dict.fromkeys(
            ("api_base", "base_url", "custom_host", "endpoint", "url", "api_url", "host", "proxy"),
            elsewhere.url,
        )
        nested = {"extra_body": spellings, "metadata": spellings, "headers": {"host": elsewhere.url}}
        answer = stage.torana.chat("mock/gpt-x", **spellings, **nested)
        assert answer.status == 200
        assert elsewhere.connections == 0
        stage.torana.chat(f"{elsewhere.url}/gpt-x")
        stage.torana.chat(f"mock/{elsewhere.url}")
        assert elsewhere.connections == 0


def test_a_call_is_visible_to_the_key_that_made_it_alone(stage, tmp_path):
    other = "sk-torana-another-secret-of-enough-length"
    keys = [{"name": "one", "secret": SECRET}, {"name": "two", "secret": other}]
    with Running(tmp_path, keys=keys) as torana:
        answer = torana.chat("echo")
        path = f"/v1/calls/{answer.headers['x-request-id']}"
        assert torana.ask("GET", path).status == 200
        assert torana.ask("GET", path, key=other).status == 404
        assert torana.ask("GET", path, key=None).status == 401


def test_a_caller_cannot_choose_the_id_of_a_call(stage):
    body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
    answer = stage.torana.ask(
        "POST", "/v1/chat/completions", body, x_request_id="mine", helicone_request_id="mine"
    )
    assert answer.headers["x-request-id"] != "mine"


# ---------------------------------------------------------------- leaving


def leave(torana, model: str, *, stream: bool, after: bytes = b"") -> None:
    """Send a request, wait for `after` in the answer, and close."""
    body = b'{"model":"%b","stream":%b,"messages":[{"role":"user","content":"hi"}]}' % (
        model.encode(),
        b"true" if stream else b"false",
    )
    with socket.create_connection(("127.0.0.1", torana.port), 10) as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (SECRET.encode(), len(body), body)
        )
        seen = b""
        while after not in seen:
            seen += sock.recv(65536)
        time.sleep(0.05)


def entry_of_last_call(torana, key_id: str = "config:test") -> dict:
    for _ in range(200):
        [call] = torana.do(torana.app._store.entries.recent(key_id, limit=1))
        if call.state != "intent":
            return call
        time.sleep(0.02)
    return call


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_that_leaves_before_the_first_byte_cancels_the_provider(stage, stream):
    stage.mock.script = lambda _: [20.0]
    leave(stage.torana, "mock/gpt-x", stream=stream)
    deadline = time.monotonic() + 5
    while not stage.mock.asked and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stage.mock.asked[0].left.wait(5)
    assert entry_of_last_call(stage.torana).state == "cancelled"


@pytest.mark.parametrize("model", ["mock/gpt-x", "ant/claude-x"])
def test_a_caller_that_leaves_mid_stream_cancels_the_provider_and_is_accounted(stage, model):
    from provider import MESSAGE_STREAM

    stage.mock.script = events(*CHAT_STREAM[:3], 20.0)
    stage.ant.script = events(*MESSAGE_STREAM[:4], 20.0)
    leave(stage.torana, model, stream=True, after=b"there")
    asked = (stage.mock if model.startswith("mock") else stage.ant).asked
    assert asked[0].left.wait(5)
    entry = entry_of_last_call(stage.torana)
    assert (entry.state, entry.tokens.output > 0) == ("cancelled", True)


def test_a_caller_that_reads_slowly_holds_its_provider_back_and_loses_nothing(stage):
    piece = chat_chunk({"content": "x" * 16_000})
    stage.mock.script = events(*[piece] * 400, chat_chunk({}, "stop"), b"data: [DONE]\n\n")
    body = b'{"model":"mock/gpt-x","stream":true,"messages":[{"role":"user","content":"hi"}]}'
    with socket.create_connection(("127.0.0.1", stage.torana.port), 10) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (SECRET.encode(), len(body), body)
        )
        time.sleep(0.5)
        response = http.client.HTTPResponse(sock)
        response.begin()
        seen = response.read()
    assert seen.count(b"x" * 16_000) == 400
    assert seen.endswith(b"data: [DONE]\n\n")
