"""Bodies, heads and methods that no honest client sends: refused with a 4xx in the caller's dialect, never a 5xx, never
a traceback, never a call to a provider (fault matrix I8 to I10, I13, I18, V26)."""

import gzip
import json
import socket
from types import SimpleNamespace

import pytest

from hostile import ASKED, PATHS, Caller, listening, refusal
from provider import CHAT, CHAT_STREAM, MESSAGE, Provider, events, reply
from running import SECRET, Running, provider

import corpus

DIALECTS = ("openai_chat", "anthropic")
BODY_BYTES_MAX = 64 * 1024 * 1024
dialects = pytest.mark.parametrize("dialect", DIALECTS)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with Provider(reply(CHAT)) as mock, Provider(reply(MESSAGE)) as ant:
        rows = {"mock": provider(mock.url), "ant": provider(ant.url, "anthropic", auth="x-api-key")}
        with Running(tmp_path_factory.mktemp("torana"), providers=rows) as torana:
            caller = Caller(torana.port)
            yield SimpleNamespace(torana=torana, caller=caller, mock=mock, ant=ant)
            caller.close()


@pytest.fixture(autouse=True)
def unbroken(stage):
    """Nothing a caller sends may leave a traceback or break a line of the log."""
    stage.mock.asked.clear()
    stage.ant.asked.clear()
    with listening() as listener:
        yield
    assert listener.broken == []


def asked(stage) -> int:
    return len(stage.mock.asked) + len(stage.ant.asked)


def suite() -> list[tuple[str, bytes]]:
    folder = corpus.require() / "hostile" / "json"
    return [(path.name, path.read_bytes()) for path in sorted(folder.glob("*.json"))]


# ---------------------------------------------------------------- JSON


@dialects
def test_no_body_of_the_json_test_suite_is_a_request(stage, dialect):
    bodies = suite()
    assert len(bodies) == 318
    for name, body in bodies:
        assert refusal(dialect, stage.caller.post(dialect, body))["message"], name
    assert asked(stage) == 0


@dialects
def test_a_field_nobody_knows_passes_if_it_is_json_and_is_refused_if_not(stage, dialect):
    """Where the suite allows either, either is right, but what passes passes byte for byte."""
    wrong, passed = [], 0
    known = json.dumps(ASKED[dialect]).encode()
    for name, value in suite():
        body = b'{"tomorrow":' + value + b"," + known[1:]
        stage.mock.asked.clear()
        stage.ant.asked.clear()
        answer = stage.caller.post(dialect, body)
        sent = stage.mock.asked + stage.ant.asked
        if answer[0] == 200:
            passed += 1
            expected = body.replace(b'"mock/', b'"').replace(b'"ant/', b'"')
            if name.startswith("n_") or [each.body for each in sent] != [expected]:
                wrong.append(f"{name} passed {value[:80]!r}")
        elif name.startswith("y_") or sent or not refusal(dialect, answer):
            wrong.append(f"{name} refused {value[:80]!r} {answer[2][:200]!r}")
    assert wrong == [], "\n".join(wrong)
    assert passed >= 95  # the 95 that are JSON beyond dispute


ODD = {
    "the model twice": b'{"model":"mock/a","model":"mock/b","messages":[]}',
    "the messages twice, once escaped": b'{"model":"mock/a","messages":[],"mess\\u0061ges":[]}',
    "nested too deeply": b'{"model":"mock/a","messages":' + b"[" * 100_000,
    "nested too deeply and closed": b'{"model":"mock/a","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "objects nested too deeply": b'{"model":"mock/a","messages":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001,
    "NaN": b'{"model":"mock/a","max_tokens":1,"temperature":NaN,"messages":[{"role":"user","content":"a"}]}',
    "Infinity": b'{"model":"mock/a","max_tokens":1,"top_p":-Infinity,"messages":[{"role":"user","content":"a"}]}',
    "a number beyond floats": b'{"model":"mock/a","max_tokens":1,"temperature":1e999,"messages":[{"role":"user","content":"a"}]}',
    "a count of 5,000 digits": b'{"model":"mock/a","max_tokens":' + b"9" * 5000 + b',"messages":[{"role":"user","content":"a"}]}',
    "a count that is a float": b'{"model":"mock/a","max_tokens":1.5,"messages":[{"role":"user","content":"a"}]}',
    "a lone surrogate": b'{"model":"mock/a","max_tokens":1,"messages":[{"role":"user","content":"\\ud800"}]}',
    "a lone surrogate in the model": b'{"model":"mock/\\udfff","max_tokens":1,"messages":[{"role":"user","content":"a"}]}',
    "UTF-16": json.dumps(ASKED["openai_chat"]).encode("utf-16"),
    "UTF-16, big end first, unmarked": json.dumps(ASKED["openai_chat"]).encode("utf-16-be"),
    "UTF-32": json.dumps(ASKED["openai_chat"]).encode("utf-32"),
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(ASKED["openai_chat"]).encode(),
    "bytes that are no UTF-8": b'{"model":"mock/a","max_tokens":1,"messages":[{"role":"user","content":"\xff\xfe"}]}',
    "a surrogate as bytes": b'{"model":"mock/a","max_tokens":1,"messages":[{"role":"user","content":"\xed\xa0\x80"}]}',
    "two objects": json.dumps(ASKED["openai_chat"]).encode() * 2,
    "a comment": b'{"model":"mock/a",/* hi */"max_tokens":1,"messages":[{"role":"user","content":"a"}]}',
    "single quotes": b"{'model':'mock/a','max_tokens':1,'messages':[{'role':'user','content':'a'}]}",
    "a form": b"model=mock%2Fa&messages=hi",
    "nothing": b"",
    "a NUL": b"\x00",
    "a list": b"[" + json.dumps(ASKED["openai_chat"]).encode() + b"]",
    "a thousand nulls": b"null " * 1000,
    "no messages": b'{"model":"mock/a","max_tokens":1}',
    "no model": b'{"max_tokens":1,"messages":[{"role":"user","content":"a"}]}',
    "a model of a megabyte": b'{"model":"mock/' + b"a" * 1_000_000 + b'","max_tokens":1,"messages":[{"role":"user","content":"a"}]}',
}  # fmt: skip


@dialects
@pytest.mark.parametrize("what", ODD)
def test_an_odd_body_is_the_callers_mistake(stage, dialect, what):
    refusal(dialect, stage.caller.post(dialect, ODD[what]))
    assert asked(stage) == 0


@dialects
def test_a_key_that_stands_twice_further_in_is_left_to_the_provider(stage, dialect):
    """Only the top level is read twice; below it the bytes pass and one reader decides."""
    body = json.dumps(ASKED[dialect]).encode()[:-1] + b',"metadata":{"a":"1","a":"2"}}'
    status, _, _ = stage.caller.post(dialect, body)
    assert (status, asked(stage)) == (200, 1)


# ---------------------------------------------------------------- sizes


@dialects
@pytest.mark.parametrize("size", [32_767, 32_768, 32_769, 1_000_000, 20_000_000])
def test_a_large_body_reaches_its_provider_byte_for_byte(stage, dialect, size):
    empty = json.dumps(ASKED[dialect] | {"messages": [{"role": "user", "content": ""}]}).encode()
    text = ("säll-" * (size // 6)).encode()[: size - len(empty)].decode("utf-8", "ignore")
    text = (text + "x" * (size - len(empty) - len(text.encode()))).encode()
    body = empty.replace(b'"content": ""', b'"content": "' + text + b'"')
    assert len(body) == size
    assert stage.caller.post(dialect, body)[0] == 200
    [sent] = stage.mock.asked + stage.ant.asked
    assert sent.body == body.replace(b'"mock/', b'"').replace(b'"ant/', b'"')


@dialects
def test_a_chunked_body_is_a_body(stage, dialect):
    body = json.dumps(ASKED[dialect]).encode()
    pieces = iter([body[:7], body[7:20], body[20:]])
    assert stage.caller.send("POST", PATHS[dialect], pieces)[0] == 200
    assert asked(stage) == 1


@dialects
@pytest.mark.parametrize(
    "coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x-unknown", "identity, gzip"]
)
def test_a_compressed_body_is_refused_unread(stage, dialect, coding):
    body = gzip.compress(b" " * 1_000_000 + json.dumps(ASKED[dialect]).encode())
    answer = stage.caller.post(dialect, body, {"content-encoding": coding})
    refusal(dialect, answer)
    assert (answer[0], asked(stage)) == (415, 0)


@dialects
@pytest.mark.parametrize(
    "kind", ["text/html", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]
)
def test_a_body_that_says_it_is_something_else_is_refused(stage, dialect, kind):
    answer = stage.caller.post(dialect, ASKED[dialect], {"content-type": kind})
    refusal(dialect, answer)
    assert (answer[0], asked(stage)) == (415, 0)


def exchange(torana, sent: bytes) -> bytes:
    """What comes back on a connection of its own until the other side closes it or has said enough."""
    with socket.create_connection(("127.0.0.1", torana.port), 10) as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        seen = b""
        while data := sock.recv(65536):
            seen += data
    return seen


def head(dialect: str, *lines: bytes) -> bytes:
    first = b"POST %b HTTP/1.1" % PATHS[dialect].encode()
    key = b"authorization: Bearer " + SECRET.encode()
    return b"\r\n".join([first, b"host: x", key, b"content-type: application/json", *lines, b"", b""])


def answer_of(raw: bytes) -> tuple[int, dict, bytes]:
    top, _, body = raw.partition(b"\r\n\r\n")
    line, *rows = top.decode("latin-1").split("\r\n")
    named = {k.lower(): v.strip() for k, _, v in (row.partition(":") for row in rows)}
    return int(line.split()[1]), named, body


@dialects
def test_a_body_that_declares_more_than_the_limit_is_refused_before_it_comes(stage, dialect):
    answer = answer_of(exchange(stage.torana, head(dialect, b"content-length: %d" % (BODY_BYTES_MAX + 1))))
    refusal(dialect, answer)
    assert (answer[0], asked(stage)) == (413, 0)


@dialects
def test_a_chunked_body_is_refused_where_it_passes_the_limit(tmp_path, dialect):
    with Running(tmp_path, server={"port": 0, "limits": {"body_bytes_max": 100_000}}) as torana:
        chunks = b"".join([b"2710\r\n" + b" " * 10_000 + b"\r\n"] * 11)
        answer = answer_of(exchange(torana, head(dialect, b"transfer-encoding: chunked") + chunks))
        refusal(dialect, answer)
        assert answer[0] == 413


@dialects
def test_a_head_of_more_than_64_kb_or_128_lines_is_refused(stage, dialect):
    for lines in ([b"x-long: " + b"a" * 65_536], [b"x-%d: a" % at for at in range(200)]):
        answer = answer_of(exchange(stage.torana, head(dialect, *lines, b"content-length: 0")))
        refusal(dialect, answer)
        assert answer[0] == 431


def named(answer) -> str:
    """The dialect an error is told in."""
    return "anthropic" if json.loads(answer[2]).get("type") == "error" else "openai_chat"


@dialects
def test_a_target_of_more_than_8_kb_is_refused(stage, dialect):
    line = b"POST %b?x=" % PATHS[dialect].encode() + b"a" * 9000 + b" HTTP/1.1\r\nhost: x\r\n\r\n"
    answer = answer_of(exchange(stage.torana, line))
    refusal(dialect, answer)
    assert answer[0] == 414


# ---------------------------------------------------------------- methods, paths, upgrades

METHODS = (
    "GET",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "PROPFIND",
    "MKCOL",
    "LOCK",
    "PURGE",
    "SEARCH",
)


@dialects
@pytest.mark.parametrize("method", METHODS)
def test_a_method_that_a_path_does_not_take_is_405(stage, dialect, method):
    answer = stage.caller.send(method, PATHS[dialect], b"{}")
    refusal(dialect, answer)
    assert (answer[0], "POST" in answer[1]["allow"]) == (405, True)


@pytest.mark.parametrize("method", ["BREW", "get", "POSTX", "CONNECT", "PRI", "G\x00T", "\x7f"])
def test_a_method_that_is_none_is_refused(stage, method):
    raw = exchange(
        stage.torana, method.encode() + b" /v1/models HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"
    )
    answer = answer_of(raw)
    refusal("openai_chat", answer)
    assert answer[0] in (400, 405)


@pytest.mark.parametrize(
    "path",
    ["/v1", "/v1/chat", "/v1/chat/completions/", "/v1/CHAT/completions", "/v1/messages/", "/v1//messages", "/%00",
     "/v1/messages/batches", "/v1/%63hat/completions", "/v1/chat/../messages", "/admin", "/v1/embeddings", "/.env",
     "/v1/models/", "/v1/chat/completions;x=1", "/v1/chat%2fcompletions", "/cgi-bin/a.cgi", "/*", "/%", "/%zz"],
)  # fmt: skip
def test_a_path_that_is_none_is_404_in_some_dialect(stage, path):
    answer = stage.caller.send("POST", path, b"{}")
    refusal(named(answer), answer)
    assert (answer[0], asked(stage)) in ((404, 0), (405, 0))


def test_an_upgrade_is_not_made_and_what_follows_is_a_request_of_its_own(stage):
    upgrade = b"connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: YQ==\r\n"
    key = b"authorization: Bearer " + SECRET.encode()
    first = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n" + key + b"\r\n" + upgrade + b"\r\n"
    second = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
    raw = exchange(stage.torana, first + second)
    statuses = [line.split()[1] for line in raw.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert b"101" not in statuses
    assert statuses in ([b"200", b"401"], [b"200"], [b"400"])


# ---------------------------------------------------------------- answers nobody else may keep


def test_every_answer_to_a_key_is_private(stage):
    stage.mock.script = lambda sent: (
        events(*CHAT_STREAM)(sent) if sent.json.get("stream") else reply(CHAT)(sent)
    )
    call = stage.caller.post("openai_chat", ASKED["openai_chat"])
    answers = [
        call,
        stage.caller.post("openai_chat", ASKED["openai_chat"] | {"stream": True}),
        stage.caller.post("anthropic", ASKED["anthropic"]),
        stage.caller.post("openai_chat", b"{}"),
        stage.caller.post("anthropic", b"{}"),
        stage.caller.post("openai_chat", ASKED["openai_chat"], {"authorization": "Bearer wrong"}),
        stage.caller.send("GET", "/v1/models"),
        stage.caller.send("GET", "/v1/models/echo"),
        stage.caller.send("GET", "/v1/models/none"),
        stage.caller.send("GET", f"/v1/calls/{call[1]['x-request-id']}"),
        stage.caller.send("GET", "/v1/calls/none"),
        stage.caller.send("GET", "/metrics"),
        stage.caller.send("GET", "/nowhere"),
    ]
    for status, told, _ in answers:
        assert (told["cache-control"], told["vary"].lower()) == ("private, no-store", "authorization"), status
