"""The naughty strings in every place a caller may put one, and names of other hosts in every place that might reach
them: what is told comes home byte for byte, nothing is a 5xx, nothing breaks the log, nobody else is called
(fault matrix I12, I15, V11, V20)."""

import json
import socket
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from hostile import ASKED, PATHS, Caller, listening, refusal
from provider import CHAT, MESSAGE, Asked, Provider, reply
from running import SECRET, Running, provider

import corpus

DIALECTS = ("openai_chat", "anthropic")
MODELS = {"echo": "echo", "openai_chat": "mock/gpt-x", "anthropic": "ant/claude-x"}
CALLS_LISTED = 64  # accounts looked up again: each lookup waits for the ledger's batch


def strings() -> list[str]:
    found = json.loads((corpus.require() / "hostile" / "naughty_strings.json").read_text())
    assert len(found) == 515
    return found


def text_of(body: dict) -> str:
    content = body["messages"][-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def chat_parrot(asked: Asked):
    """Says the last message again, or calls the first tool with it."""
    body = asked.json
    message: dict = {"role": "assistant", "content": text_of(body)}
    if body.get("tools"):
        arguments = json.dumps({"said": text_of(body)})
        function = {"name": body["tools"][0]["function"]["name"], "arguments": arguments}
        message = {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": function}]}
    return reply(CHAT | {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})(asked)


def message_parrot(asked: Asked):
    body = asked.json
    block: dict = {"type": "text", "text": text_of(body)}
    if body.get("tools"):
        block = {
            "type": "tool_use",
            "id": "c",
            "name": body["tools"][0]["name"],
            "input": {"said": text_of(body)},
        }
    return reply(MESSAGE | {"content": [block]})(asked)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with Provider(chat_parrot) as mock, Provider(message_parrot) as ant:
        rows = {"mock": provider(mock.url), "ant": provider(ant.url, "anthropic", auth="x-api-key")}
        with Running(tmp_path_factory.mktemp("torana"), providers=rows) as torana:
            caller = Caller(torana.port)
            yield SimpleNamespace(torana=torana, caller=caller, mock=mock, ant=ant)
            caller.close()


@pytest.fixture(autouse=True)
def unbroken(stage):
    stage.mock.asked.clear()
    stage.ant.asked.clear()
    with listening() as listener:
        yield
    assert listener.broken == []


def ask(stage, dialect: str, model: str, text: str, **more: object):
    body = ASKED[dialect] | {"model": model, "messages": [{"role": "user", "content": text}], **more}
    return stage.caller.post(dialect, body)


def told(dialect: str, body: bytes) -> tuple[str, list[tuple[str, object]]]:
    """The text of an answer, and its calls."""
    answer = json.loads(body)
    if dialect == "openai_chat":
        message = answer["choices"][0]["message"]
        functions = [call["function"] for call in message.get("tool_calls") or []]
        return message.get("content") or "", [(f["name"], json.loads(f["arguments"])) for f in functions]
    blocks = answer["content"]
    calls = [(block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"]
    return "".join(block["text"] for block in blocks if block["type"] == "text"), calls


# ---------------------------------------------------------------- what is said


@pytest.mark.parametrize("target", ["openai_chat", "anthropic"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_string_comes_home_as_it_was_said(stage, dialect, target):
    """But for what is blank: Anthropic takes no such text, and what stands for it is named as a change."""
    wrong = []
    for text in strings():
        status, head, body = ask(stage, dialect, MODELS[target], text)
        blank = not text.strip() and (dialect, target) == ("openai_chat", "anthropic")
        same = status == 200 and told(dialect, body)[0] == text
        if not same and not (blank and "messages" in head.get("torana-dropped", "")):
            wrong.append((text, status, body[:200]))
    assert wrong == []


@pytest.mark.parametrize("dialect", DIALECTS)
def test_echo_says_every_string_again(stage, dialect):
    wrong = []
    for text in strings():
        status, _, body = ask(stage, dialect, "echo", text, max_tokens=10_000)
        if (status, told(dialect, body)[0]) != (200, text.strip("\n")):
            wrong.append((text, status, body[:200]))
    assert wrong == []


@pytest.mark.parametrize("target", DIALECTS)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_tool_may_have_any_name_and_is_called_by_it(stage, dialect, target):
    """Another dialect allows fewer characters: the name is changed on the way there and changed back."""
    wrong, called = [], 0
    for name in strings():
        tool = {"name": name, "input_schema": {"type": "object"}}
        if dialect == "openai_chat":
            tool = {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
        status, _, body = ask(stage, dialect, MODELS[target], name, tools=[tool])
        if status == 200:
            called += 1
            said = name if name.strip() else told(dialect, body)[1][0][1]["said"]
            if told(dialect, body)[1] != [(name, {"said": said})]:
                wrong.append((name, body[:300]))
        elif not 400 <= status < 500:
            wrong.append((name, status, body[:300]))
    assert wrong == []
    assert called > 500


# ---------------------------------------------------------------- who and what is named


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_user_of_any_name_is_accounted_by_it(stage, dialect):
    calls = []
    for name in strings():
        more = {"user": name} if dialect == "openai_chat" else {"metadata": {"user_id": name}}
        status, head, body = ask(stage, dialect, MODELS[dialect], "hi", **more)
        assert status == 200, (name, body)
        calls.append((name, head["x-request-id"]))
    for name, id in calls[:: len(calls) // CALLS_LISTED]:
        assert stage.torana.account_of(id)["user"] == (name or None)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_model_of_any_name_is_sent_on_or_refused(stage, dialect):
    wrong = []
    for name in strings():
        for model in (name, f"mock/{name}", f"ant/{name}", f"{name}/mock", f"mock:{name}"):
            status, head, body = ask(stage, dialect, model, "hi")
            if status >= 500 or (status >= 400 and not refusal(dialect, (status, head, body))):
                wrong.append((model, status, body[:200]))
    assert wrong == []
    for sent in stage.mock.asked + stage.ant.asked:
        assert sent.raw_headers.count(b"\r\n\r\n") == 1
        assert set(sent.headers) <= SENT_HEADERS


SENT_HEADERS = {
    "host",
    "authorization",
    "x-api-key",
    "anthropic-version",
    "content-type",
    "content-length",
    "accept",
    "accept-encoding",
    "user-agent",
    "connection",
}


def test_a_model_list_asked_for_by_any_name_is_found_or_not(stage):
    for name in strings():
        for path in ("/v1/models/", "/v1/calls/", "/v1/chat/", "/", "/v1/models?limit=", "/v1/messages/"):
            target = path + quote(name, safe="")
            for more in ({}, {"anthropic-version": "2023-06-01"}):
                status, _, body = stage.caller.send("GET", target, head=more)
                assert status < 500, (target, body)
                assert status == 200 or json.loads(body)["error"]["message"], target


def test_a_query_of_any_content_changes_nothing(stage):
    for name in strings():
        for query in (quote(name), f"{quote(name)}={quote(name)}", f"beta={quote(name)}"):
            status, _, body = stage.caller.send(
                "POST", f"{PATHS['anthropic']}?{query}", json.dumps(ASKED["anthropic"]).encode()
            )
            assert status == 200 or "key" in query, (query, body)


def test_a_header_of_any_content_is_a_header_or_refused(stage):
    """Those that HTTP can carry; two of these names are read, one of them is passed on."""
    wrong, carried = [], 0
    for text in strings():
        value = text.strip().encode()
        if any(byte < 32 or byte == 127 for byte in value):
            continue
        carried += 1
        for name in (
            "anthropic-beta",
            "user-agent",
            "x-stainless-lang",
            "content-type",
            "x-request-id",
            "cookie",
        ):
            status, _, body = stage.caller.post("anthropic", ASKED["anthropic"], {name: value})
            allowed = {"content-type": 415, "anthropic-beta": 200 if value.isascii() else 400}
            if status not in (200, allowed.get(name)):
                wrong.append((name, value, status, body[:200]))
    assert wrong == []
    assert carried > 450


def test_a_credential_of_any_content_is_nobodys(stage):
    for text in strings():
        value = text.strip().encode()
        if any(byte < 32 or byte == 127 for byte in value) or not value:
            continue
        for head in ({"authorization": b"Bearer " + value}, {"authorization": value}):
            status, _, body = stage.caller.post("openai_chat", ASKED["openai_chat"], head)
            assert (status, json.loads(body)["error"]["code"]) == (401, "invalid_api_key"), (value, body)
    assert stage.mock.asked == []


def test_a_request_line_of_any_bytes_is_answered_or_closed(stage):
    """Unquoted, most of these are no HTTP at all."""
    for text in strings():
        raw = (
            b"GET /"
            + text.encode()
            + b" HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n\r\n" % SECRET.encode()
        )
        with socket.create_connection(("127.0.0.1", stage.torana.port), 10) as sock:
            sock.sendall(raw)
            sock.shutdown(socket.SHUT_WR)
            seen = b""
            while data := sock.recv(65536):
                seen += data
        statuses = [int(line.split()[1]) for line in seen.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
        assert all(status < 500 for status in statuses), (text, seen[:300])
        assert seen.count(b"\r\n\r\n") == len(statuses)


# ---------------------------------------------------------------- patterns


HUNGRY = (
    "a" * 400 + "!", "(" * 400, "a+" * 200 + "$", "%" * 512, "_%" * 256, "*" * 512, "[" * 512, "/" * 512, "," * 512,
    "!" * 512, ",".join(["!mock"] * 80), "mock/" * 100, ":online" * 70, "a/" * 250, "\\" * 512, "'" * 512,
    "' OR 1=1 --", "(a|aa)+" * 70, "x" * 512, "x" * 513, "mock/" + "x" * 508, "é" * 512, "sha256:" + "0" * 64,
)  # fmt: skip


def test_a_name_made_to_keep_a_matcher_busy_is_a_name(stage):
    """The bound is the test's own: one of these that took its time would not let it end."""
    for name in HUNGRY:
        for dialect in DIALECTS:
            status, _, body = ask(stage, dialect, name, "hi")
            assert status in (200, 400, 404), (name, body)
        for path in ("/v1/models/", "/v1/calls/"):
            assert stage.caller.send("GET", path + quote(name, safe=""))[0] in (200, 400, 404)


# ---------------------------------------------------------------- other hosts

FIELDS = (
    "api_base", "base_url", "api_url", "apiBase", "baseURL", "custom_host", "host", "endpoint", "azure_endpoint",
    "url", "uri", "target", "target_url", "upstream", "upstream_url", "proxy", "http_proxy", "https_proxy",
    "provider_url", "server", "server_url", "webhook", "callback_url", "api_host", "origin", "location", "redirect",
    "vertex_location", "aws_bedrock_runtime_endpoint", "organization_url", "config", "provider",
)  # fmt: skip
HEADERS = ("x-base-url", "x-upstream", "x-portkey-custom-host", "x-forwarded-host", "x-host", "helicone-target-url",
           "x-original-url", "x-rewrite-url", "x-api-base", "forwarded", "x-proxy-url", "destination", "location")  # fmt: skip
SPELLED = (
    "http://127.0.0.1:{port}/", "http://localhost:{port}", "http://[::1]:{port}/", "http://0x7f000001:{port}/",
    "http://2130706433:{port}/", "http://127.1:{port}/", "http://a@127.0.0.1:{port}/", "//127.0.0.1:{port}/",
    "http://127.0.0.1:{port}#@provider/", "http://provider\\@127.0.0.1:{port}/", "127.0.0.1:{port}",
)  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("target", DIALECTS)
def test_nothing_a_caller_sends_names_where_it_goes(stage, dialect, target):
    """Nor what is fetched: an image's address is the provider's business."""
    with Provider(reply(CHAT)) as elsewhere:
        for spelling in SPELLED:
            address = spelling.format(port=elsewhere.port)
            fields = dict.fromkeys(FIELDS, address)
            nested = {
                "extra_body": fields,
                "headers": fields,
                "extra_headers": fields,
                "litellm_params": fields,
            }
            heads = dict.fromkeys(HEADERS, address)
            body = ASKED[dialect] | {"model": MODELS[target]}
            assert stage.caller.post(dialect, body | fields | nested, heads)[0] == 200
            stage.caller.post(dialect, body | {"model": address})
            stage.caller.post(dialect, body | {"model": f"mock/{address}"})
            stage.caller.post(
                dialect, body | {"messages": [{"role": "user", "content": [image(dialect, address)]}]}
            )
            stage.caller.send("GET", f"/v1/models/{quote(address, safe='')}", head=heads)
        assert elsewhere.connections == 0


def image(dialect: str, address: str) -> dict:
    if dialect == "openai_chat":
        return {"type": "image_url", "image_url": {"url": address}}
    return {"type": "image", "source": {"type": "url", "url": address}}


@pytest.mark.parametrize(
    "line", ["http://{host}/v1/models", "https://{host}/", "//{host}/v1/models", "{host}"]
)
def test_a_target_that_names_a_host_opens_no_connection(stage, line):
    with Provider(reply(CHAT)) as elsewhere:
        target = line.format(host=f"127.0.0.1:{elsewhere.port}").encode()
        with socket.create_connection(("127.0.0.1", stage.torana.port), 10) as sock:
            sock.sendall(b"GET %b HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n" % target)
            assert sock.recv(65536)[9:10] == b"4"
        assert elsewhere.connections == 0
