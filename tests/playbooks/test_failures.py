"""What goes wrong, whose fault it is, and that the caller hears it in its own dialect."""

import json

import pytest

from provider import (
    ABORT,
    CHAT,
    CHAT_STREAM,
    CLOSE,
    MESSAGE_STREAM,
    Provider,
    chat_chunk,
    events,
    head,
    message_event,
    reply,
)
from running import Running, provider

OPENAI = {
    "error": {"message": "no such thing", "type": "invalid_request_error", "param": "x", "code": "bad_x"}
}
ANTHROPIC = {"type": "error", "error": {"type": "invalid_request_error", "message": "no such thing"}}


# ---------------------------------------------------------------- the provider refuses


@pytest.mark.parametrize("status", [400, 404, 413, 422, 429, 500, 503])
def test_a_providers_refusal_keeps_status_and_body(stage, status):
    body = json.dumps(OPENAI | {"extra": "kept"}, indent=1).encode()
    stage.mock.script = reply(body, status)
    answer = stage.torana.chat("mock/gpt-x")
    assert (answer.status, answer.body) == (status, body)
    assert len(stage.mock.asked) == 1


def test_a_refusal_crosses_dialects_with_its_words(stage):
    stage.ant.script = reply(ANTHROPIC, 400)
    told = stage.torana.chat("ant/claude-x").json["error"]
    assert (told["message"], told["type"]) == ("no such thing", "invalid_request_error")
    stage.mock.script = reply(OPENAI, 422)
    answer = stage.torana.message("mock/gpt-x")
    assert (answer.status, answer.json["type"], answer.json["error"]["message"]) == (
        422,
        "error",
        "no such thing",
    )


def test_overloaded_is_529_for_anthropic_clients_and_503_for_others(stage):
    overloaded = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    stage.ant.script = reply(overloaded, 529)
    assert stage.torana.message("ant/claude-x").status == 529
    assert stage.torana.chat("ant/claude-x").status == 503


def test_retry_advice_reaches_the_caller(stage):
    stage.mock.script = reply(OPENAI, 429, headers={"retry-after": "7", "x-should-retry": "false"})
    headers = stage.torana.chat("mock/gpt-x").headers
    assert (headers["retry-after"], headers["x-should-retry"]) == ("7", "false")


def test_a_refused_operator_credential_is_not_repeated(stage):
    words = {
        "error": {
            "message": "Incorrect API key provided: provider-secret-key or sk-abc12345678.",
            "code": "x",
        }
    }
    stage.mock.script = reply(words, 401)
    answer = stage.torana.chat("mock/gpt-x")
    assert answer.status == 401
    assert b"provider-secret-key" not in answer.body and b"sk-abc12345678" not in answer.body
    assert "[redacted]" in answer.json["error"]["message"]


@pytest.mark.parametrize(
    "body", [b"", b"<html>busy</html>", b'{"detail":"busy"}', b'"busy"', b"[1]", b"\xff\xfe"]
)
def test_an_error_of_any_shape_is_told_in_ours(stage, body):
    stage.mock.script = reply(body, 500, "text/html")
    answer = stage.torana.chat("mock/gpt-x")
    assert answer.status == 500
    assert set(answer.json["error"]) >= {"message", "type", "param", "code"}


def test_a_refused_call_is_accounted_as_an_error_that_cost_nothing(stage):
    stage.mock.script = reply(OPENAI, 400)
    entry = stage.torana.account(stage.torana.chat("mock/gpt-x"))
    assert (entry["state"], entry["status"], entry["error"]) == ("error", 400, "bad_x")
    assert entry["tokens"]["input"] == 0


# ---------------------------------------------------------------- the provider breaks


@pytest.mark.parametrize("body", [b"{", b"<html>", b"", b"[]", b'{"choices":7}'])
def test_a_success_that_is_no_answer_is_an_error(stage, body):
    stage.ant.script = reply(body)
    answer = stage.torana.chat("ant/claude-x")
    assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_invalid")


def test_nobody_listening_is_unreachable(tmp_path):
    with Provider(reply(CHAT)) as gone:
        url = gone.url
    with Running(tmp_path, providers={"mock": provider(url)}) as torana:
        answer = torana.chat("mock/gpt-x")
        assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_unreachable")
        assert torana.account(answer)["tokens"]["input"] == 0


def test_a_connection_lost_before_the_answer_is_reported_and_not_sent_again(stage):
    stage.mock.script = lambda _: [ABORT]
    answer = stage.torana.chat("mock/gpt-x")
    assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_disconnected")
    assert answer.headers["x-should-retry"] == "false"
    assert len(stage.mock.asked) == 1


def test_an_answer_cut_short_is_not_an_answer(stage):
    stage.mock.script = lambda _: [head(length=5000) + json.dumps(CHAT).encode(), CLOSE]
    answer = stage.torana.chat("mock/gpt-x")
    assert (answer.status, answer.json["error"]["code"]) == (502, "upstream_disconnected")


@pytest.mark.parametrize("ending", [CLOSE, ABORT, None])
@pytest.mark.parametrize("asked", ["chat", "message"])
@pytest.mark.parametrize("target", ["mock/gpt-x", "ant/claude-x"])
def test_a_stream_without_its_end_is_an_error_in_band(stage, ending, asked, target):
    stage.mock.script = events(*CHAT_STREAM[:3], *([ending] if ending else []))
    stage.ant.script = events(*MESSAGE_STREAM[:4], *([ending] if ending else []))
    answer = getattr(stage.torana, asked)(target, stream=True)
    assert answer.status == 200
    assert b"there" in answer.body
    last = answer.body.rstrip().split(b"\n")[-1]
    assert b'"error"' in last
    assert b"[DONE]" not in answer.body and b'"type":"message_stop"' not in answer.body
    assert b'"finish_reason":"stop"' not in answer.body
    entry = stage.torana.account(answer)
    assert entry["state"] == "incomplete"
    assert entry["error"] in ("stream_incomplete", "upstream_disconnected")


def test_a_stream_that_never_began_keeps_its_status(stage):
    stage.mock.script = events(CLOSE)
    answer = stage.torana.chat("mock/gpt-x", stream=True)
    assert answer.status == 502
    stage.mock.script = events()
    answer = stage.torana.chat("mock/gpt-x", stream=True)
    assert (answer.status, answer.json["error"]["code"]) == (502, "stream_incomplete")


def test_an_error_inside_a_stream_is_passed_on_and_accounted(stage):
    oops = b'data: {"error":{"message":"overheated","type":"server_error","code":"hot"}}\n\n'
    stage.mock.script = events(*CHAT_STREAM[:3], oops)
    answer = stage.torana.chat("mock/gpt-x", stream=True)
    assert answer.body.endswith(oops)
    assert answer.body.count(b'"error"') == 1
    entry = stage.torana.account(answer)
    assert (entry["state"], entry["error"]) == ("incomplete", "hot")
    assert entry["tokens"]["output"] > 0


def test_an_error_inside_a_stream_crosses_dialects(stage):
    oops = message_event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    stage.ant.script = events(*MESSAGE_STREAM[:3], oops)
    answer = stage.torana.chat("ant/claude-x", stream=True)
    assert json.loads(answer.body.rstrip().split(b"data: ")[-1])["error"]["message"] == "Overloaded"
    assert b"[DONE]" not in answer.body


def test_silence_inside_a_stream_ends_it(tmp_path):
    with Provider(events(*CHAT_STREAM[:3], 30.0)) as mock:
        row = provider(mock.url, timeouts={"between_s": 0.3})
        with Running(tmp_path, providers={"mock": row}) as torana:
            answer = torana.chat("mock/gpt-x", stream=True)
            assert b'"upstream_timeout"' in answer.body
            assert mock.asked[0].left.wait(5)


def test_a_provider_that_never_answers_is_given_up(tmp_path):
    with Provider(lambda _: [30.0]) as mock:
        row = provider(mock.url, timeouts={"first_byte_s": 0.3, "total_s": 0.5})
        with Running(tmp_path, providers={"mock": row}) as torana:
            for stream in (True, False):
                answer = torana.chat("mock/gpt-x", stream=stream)
                assert (answer.status, answer.json["error"]["code"]) == (504, "upstream_timeout")


def test_redirects_are_not_followed(stage):
    stage.mock.script = reply(b"{}", 302, headers={"location": stage.ant.url})
    assert stage.torana.chat("mock/gpt-x").status in (302, 502)
    assert stage.ant.asked == []


# ---------------------------------------------------------------- the caller errs


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"model":"echo","messages":[],"x":NaN}', "invalid_json"),
        (b'{"model":"echo","model":"echo","messages":[]}', "duplicate_key"),
        (b'{"model":7,"max_tokens":5,"messages":[{"role":"user","content":"hi"}]}', "invalid_request"),
        (b'{"model":"echo","max_tokens":5,"messages":"hi"}', "invalid_request"),
        (
            b'{"model":"echo","max_tokens":"five","messages":[{"role":"user","content":"hi"}]}',
            "invalid_request",
        ),
        (b'{"model":"echo","max_tokens":5,"messages":[{"role":"user","content":"\xff"}]}', "invalid_json"),
        (
            b'{"model":"nobody-has-it","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}',
            "model_not_found",
        ),
    ],
)
def test_a_bad_body_is_a_4xx_in_the_callers_dialect(stage, path, body, code):
    answer = stage.torana.ask("POST", path, body)
    assert answer.status in (400, 404)
    told = answer.json
    if path == "/v1/messages":
        assert told["type"] == "error"
        assert told["error"]["type"] in ("invalid_request_error", "not_found_error")
    else:
        assert told["error"]["code"] == code
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/models", "/v1/calls/x"])
@pytest.mark.parametrize("key", [None, "", "wrong", "provider-secret-key"])
def test_a_call_without_a_valid_key_is_401(stage, path, key):
    method = "GET" if "models" in path or "calls" in path else "POST"
    answer = stage.torana.ask(method, path, b"{}" if method == "POST" else None, key=key)
    assert answer.status == 401
    assert answer.headers["x-should-retry"] == "false"


def test_an_unknown_path_or_method_is_told_in_the_callers_dialect(stage):
    ask = stage.torana.ask
    assert ask("GET", "/v1/nothing").json["error"]["code"] == "not_found"
    assert ask("GET", "/v1/chat/completions").status == 405
    assert ask("GET", "/v1/messages").json["type"] == "error"
    assert ask("DELETE", "/v1/messages").status == 405
    assert ask("GET", "/nothing", anthropic_version="2023-06-01").json["type"] == "error"


def test_a_body_that_says_it_is_not_json_is_415(stage):
    body = b'{"model":"echo","messages":[]}'
    assert stage.torana.ask("POST", "/v1/chat/completions", body, content_type="image/png").status == 415
    assert stage.torana.ask("POST", "/v1/chat/completions", body, content_encoding="gzip").status == 415


def test_a_refused_request_reaches_no_provider(stage):
    stage.torana.chat("mock/gpt-x", n=1000)
    stage.torana.chat("mock/gpt-x", top_logprobs=99)
    assert stage.mock.asked == []


def test_an_unknown_model_names_the_closest(stage):
    message = stage.torana.chat("ecko").json["error"]["message"]
    assert "Closest: echo" in message and "GET /v1/models" in message


def test_a_stream_that_breaks_its_dialect_is_an_error_in_band(stage):
    stage.ant.script = events(*MESSAGE_STREAM[:4], b"data: {nonsense\n\n")
    answer = stage.torana.chat("ant/claude-x", stream=True)
    assert b'"upstream_invalid"' in answer.body and b"[DONE]" not in answer.body


def test_finish_without_done_is_whole(stage):
    stage.mock.script = events(chat_chunk({"content": "hi"}), chat_chunk({}, "stop"))
    answer = stage.torana.chat("mock/gpt-x", stream=True)
    assert b'"error"' not in answer.body
    assert stage.torana.account(answer)["state"] == "ok"
