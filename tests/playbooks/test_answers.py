"""The main job: a call goes to its provider and the answer comes back, streamed or not, in both dialects."""

import json

import pytest

from provider import (
    CHAT,
    CHAT_DONE,
    CHAT_STREAM,
    CHAT_USAGE,
    MESSAGE,
    MESSAGE_STREAM,
    chat_chunk,
    events,
    reply,
)


def data_of(stream: bytes) -> list:
    lines = [line[6:] for line in stream.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


# ---------------------------------------------------------------- the same dialect: bytes pass


def test_an_answer_of_the_callers_dialect_is_relayed_byte_for_byte(stage):
    body = b'{ "id":"x", "choices":[{"index":0,"message":{"content":"1.50"},"finish_reason":"stop"}], "new":[1 ] }'
    stage.mock.script = reply(body)
    assert stage.torana.chat("mock/gpt-x").body == body


def test_a_request_of_the_providers_dialect_differs_in_the_model_alone(stage):
    body = b'{"model":"mock/gpt-x",  "messages":[{"role":"user","content":"hi"}],"tomorrow":{"a":1.0}}'
    assert stage.torana.ask("POST", "/v1/chat/completions", body).status == 200
    assert stage.mock.asked[0].body == body.replace(b"mock/gpt-x", b"gpt-x")


def test_a_stream_of_the_callers_dialect_is_relayed_byte_for_byte(stage):
    stage.mock.script = events(*CHAT_STREAM)
    answer = stage.torana.chat("mock/gpt-x", stream=True, stream_options={"include_usage": True})
    assert answer.body == b"".join(CHAT_STREAM)


def test_usage_is_asked_for_and_hidden_from_a_caller_who_did_not_ask(stage):
    stage.mock.script = events(*CHAT_STREAM)
    answer = stage.torana.chat("mock/gpt-x", stream=True)
    assert stage.mock.asked[0].json["stream_options"] == {"include_usage": True}
    assert answer.body == b"".join(CHAT_STREAM).replace(CHAT_USAGE, b"")
    assert stage.torana.account(answer)["tokens"]["input"] == 9


def test_a_messages_answer_is_relayed_byte_for_byte(stage):
    body = json.dumps(MESSAGE, indent=1).encode()
    stage.ant.script = reply(body)
    assert stage.torana.message("ant/claude-x").body == body


def test_a_messages_stream_is_relayed_byte_for_byte(stage):
    stage.ant.script = events(*MESSAGE_STREAM)
    answer = stage.torana.message("ant/claude-x", stream=True)
    assert answer.body == b"".join(MESSAGE_STREAM)
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_version_and_betas_of_an_anthropic_client_reach_anthropic(stage):
    stage.torana.ask(
        "POST",
        "/v1/messages?beta=true",
        {"model": "ant/claude-x", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]},
        anthropic_version="2026-10-21",
        anthropic_beta="context-1m, files-api",
    )
    sent = stage.ant.asked[0].headers
    assert (sent["anthropic-version"], sent["anthropic-beta"]) == ("2026-10-21", "context-1m, files-api")


def test_betas_too_long_to_be_passed_on_are_refused_and_not_lost(stage):
    answer = stage.torana.ask(
        "POST",
        "/v1/messages",
        {"model": "ant/claude-x", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]},
        anthropic_beta="b" * 5000,
    )
    assert (answer.status, answer.json["type"]) == (431, "error")
    assert "anthropic-beta" in answer.json["error"]["message"]
    assert stage.ant.asked == []


def test_a_provider_that_ignores_stream_is_retold_as_one(stage):
    stage.mock.script = reply(CHAT)
    answer = stage.torana.chat("mock/gpt-x", stream=True)
    text = "".join(c["delta"].get("content") or "" for e in data_of(answer.body) for c in e["choices"])
    assert text == "Hello there"
    assert answer.body.endswith(b"data: [DONE]\n\n")


# ---------------------------------------------------------------- another dialect: the story is retold


def test_a_chat_caller_reaches_an_anthropic_provider(stage):
    answer = stage.torana.chat("ant/claude-x")
    assert stage.ant.asked[0].path == "/v1/messages"
    assert stage.ant.asked[0].json["messages"][0]["role"] == "user"
    told = answer.json
    assert told["choices"][0]["message"]["content"] == "Hello there"
    assert (told["choices"][0]["finish_reason"], told["model"]) == ("stop", "ant/claude-x")
    assert told["usage"]["total_tokens"] == 11


def test_a_chat_caller_streams_from_an_anthropic_provider(stage):
    stage.ant.script = events(*MESSAGE_STREAM)
    answer = stage.torana.chat("ant/claude-x", stream=True)
    told = data_of(answer.body)
    assert "".join(c["delta"].get("content") or "" for e in told for c in e["choices"]) == "Hello there"
    assert len({e["id"] for e in told}) == 1
    assert {e["model"] for e in told} == {"ant/claude-x"}
    assert [c["finish_reason"] for e in told for c in e["choices"]][-1] == "stop"
    assert all("usage" not in e or e["usage"] is None for e in told)
    assert answer.body.endswith(CHAT_DONE)


def test_an_anthropic_caller_reaches_a_chat_provider(stage):
    answer = stage.torana.message("mock/gpt-x", system="be brief")
    sent = stage.mock.asked[0].json
    assert [m["role"] for m in sent["messages"]] == ["system", "user"]
    told = answer.json
    assert (told["type"], told["content"][0]["text"], told["stop_reason"]) == (
        "message",
        "Hello there",
        "end_turn",
    )
    assert told["usage"]["input_tokens"] == 9


def test_an_anthropic_caller_streams_from_a_chat_provider(stage):
    stage.mock.script = events(*CHAT_STREAM)
    answer = stage.torana.message("mock/gpt-x", stream=True)
    told = data_of(answer.body)
    assert [e["type"] for e in told][:2] == ["message_start", "content_block_start"]
    assert told[-1]["type"] == "message_stop"
    assert (
        "".join(e["delta"].get("text", "") for e in told if e["type"] == "content_block_delta")
        == "Hello there"
    )


def test_tools_cross_in_both_directions(stage):
    call = {"id": "toolu_1", "name": "get_weather", "type": "tool_use", "input": {"city": "Oslo"}}
    stage.ant.script = reply(MESSAGE | {"content": [call], "stop_reason": "tool_use"})
    tool = {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
    answer = stage.torana.chat("ant/claude-x", tools=[{"type": "function", "function": tool}])
    assert stage.ant.asked[0].json["tools"][0]["name"] == "get_weather"
    [told] = answer.json["choices"][0]["message"]["tool_calls"]
    assert (told["id"], told["function"]["name"]) == ("toolu_1", "get_weather")
    assert json.loads(told["function"]["arguments"]) == {"city": "Oslo"}
    assert answer.json["choices"][0]["finish_reason"] == "tool_calls"


def test_what_the_target_cannot_carry_is_named(stage):
    answer = stage.torana.chat("ant/claude-x", seed=7, logit_bias={"5": 1})
    assert {"seed", "logit_bias"} <= set(answer.headers["torana-dropped"].split(", "))
    assert "seed" not in stage.ant.asked[0].json
    assert {"seed", "logit_bias"} <= set(stage.torana.account(answer)["dropped"])


def test_content_the_target_cannot_carry_is_refused_before_anything_is_sent(stage):
    sound = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
    body = {"model": "ant/claude-x", "messages": [{"role": "user", "content": [sound]}]}
    answer = stage.torana.ask("POST", "/v1/chat/completions", body)
    assert (answer.status, answer.json["error"]["code"]) == (400, "unsupported_content")
    assert stage.ant.asked == []


# ---------------------------------------------------------------- what is told beside the answer


@pytest.mark.parametrize("stream", [False, True])
def test_the_head_says_who_answered(stage, stream):
    stage.mock.script = events(*CHAT_STREAM) if stream else reply(CHAT)
    headers = stage.torana.chat("mock/gpt-x", stream=stream).headers
    assert headers["x-request-id"] == headers["request-id"]
    told = (headers["torana-provider"], headers["torana-model"], headers["torana-attempts"])
    assert told == ("mock", "gpt-x", "1")
    assert float(headers["torana-overhead-ms"]) >= 0
    assert headers["cache-control"] == "private, no-store"


def test_a_known_price_makes_a_cost(tmp_path):
    from provider import Provider
    from running import Running, provider

    with Provider(reply(CHAT)) as mock:
        priced = {"gpt-x": {"price": {"input": 2, "output": 10}}}
        with Running(tmp_path, providers={"mock": provider(mock.url, models=priced)}) as torana:
            answer = torana.chat("mock/gpt-x")
            assert answer.headers["torana-cost"] == "0.000038"
            assert torana.account(answer)["cost"] == "0.000038"


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic"])
def test_a_stream_carries_its_cost_when_asked(tmp_path, dialect):
    from provider import Provider
    from running import Running, provider

    stream = CHAT_STREAM if dialect == "openai_chat" else MESSAGE_STREAM
    with Provider(events(*stream)) as there:
        priced = {"x": {"price": {"input": 2, "output": 10}}}
        with Running(tmp_path, providers={"there": provider(there.url, dialect, models=priced)}) as torana:
            body = {"model": "there/x", "stream": True, "stream_options": {"include_usage": True}}
            body["messages"] = [{"role": "user", "content": "hi"}]
            asked = torana.ask("POST", "/v1/chat/completions", body, torana_usage_cost="true")
            plain = torana.ask("POST", "/v1/chat/completions", body)
    assert [e["usage"]["cost"] for e in data_of(asked.body) if e.get("usage")] == [0.000038]
    assert asked.body.endswith(CHAT_DONE)
    assert b'"cost"' not in plain.body


def test_the_small_answers_have_a_request_id_too(stage):
    for path in ("/v1/models", "/healthz", "/"):
        headers = stage.torana.ask("GET", path).headers
        assert headers["x-request-id"] == headers["request-id"] != ""


def test_a_call_is_accounted_with_its_attempt(stage):
    answer = stage.torana.chat("mock/gpt-x", user="u-1")
    entry = stage.torana.account(answer)
    assert (entry["state"], entry["status"], entry["model"], entry["user"]) == (
        "ok",
        200,
        "mock/gpt-x",
        "u-1",
    )
    assert (entry["tokens"]["input"], entry["tokens"]["output"], entry["tokens"]["estimated"]) == (
        9,
        2,
        False,
    )
    [attempt] = entry["attempts"]
    assert (attempt["provider"], attempt["state"], attempt["status"]) == ("mock", "ok", 200)


def test_time_to_the_first_token_is_accounted_on_streams(stage):
    stage.mock.script = events(*CHAT_STREAM)
    entry = stage.torana.account(stage.torana.chat("mock/gpt-x", stream=True))
    assert 0 < entry["first_token_ms"] <= entry["latency_ms"]


def test_usage_nobody_states_is_estimated_and_marked(stage):
    stage.mock.script = events(chat_chunk({"content": "a"}), chat_chunk({"content": "b"}, "stop"), CHAT_DONE)
    entry = stage.torana.account(stage.torana.chat("mock/gpt-x", stream=True))
    assert entry["tokens"]["estimated"] is True
    assert entry["tokens"]["input"] > 0 and entry["tokens"]["output"] > 0


def test_a_provider_without_any_key_is_asked_without_credentials(tmp_path):
    from provider import Provider
    from running import Running, provider

    with Provider(reply(CHAT)) as mock:
        row = provider(mock.url, auth="none")
        del row["api_key"]
        with Running(tmp_path, providers={"mock": row}) as torana:
            assert torana.chat("mock/gpt-x").status == 200
            assert "authorization" not in mock.asked[0].headers


def test_the_echo_model_answers_without_any_provider(stage):
    answer = stage.torana.chat("echo", "say it again")
    assert answer.json["choices"][0]["message"]["content"] == "say it again"
    assert answer.headers["torana-provider"] == "echo"
    assert stage.torana.message("echo", "und noch einmal").json["content"][0]["text"] == "und noch einmal"
