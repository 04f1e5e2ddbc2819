"""What a call cost when something went otherwise than planned: nothing is free, nothing is counted twice."""

import json
from types import SimpleNamespace

import pytest

from leaving import entry_of_last_call, leave
from provider import (
    ABORT,
    CHAT,
    CHAT_STREAM,
    CLOSE,
    MESSAGE_STREAM,
    Provider,
    chat_chunk,
    events,
    message_event,
    reply,
)
from running import Running, provider
from torana.errors import StoreError
from torana.gateway import life

TEXT = [
    message_event("content_block_delta", index=0, delta={"type": "text_delta", "text": f"word{n} "})
    for n in range(20)
]
BEGUN = [*MESSAGE_STREAM[:2], *TEXT]
CHAT_WITHOUT_USAGE = {name: value for name, value in CHAT.items() if name != "usage"}


# ---------------------------------------------------------------- tokens


@pytest.mark.parametrize("asked", ["chat", "message"])
def test_output_of_a_cut_stream_is_estimated_where_only_its_beginning_was_stated(stage, asked):
    stage.ant.script = events(*BEGUN, CLOSE)
    tokens = stage.torana.account(getattr(stage.torana, asked)("ant/claude-x", stream=True))["tokens"]
    assert (tokens["input"], tokens["output"] >= 20, tokens["estimated"]) == (9, True, True)


def test_output_of_a_caller_that_left_is_estimated_where_only_its_beginning_was_stated(stage):
    stage.ant.script = events(*BEGUN, 20.0)
    leave(stage.torana, "ant/claude-x", stream=True, after=b"word19")
    entry = entry_of_last_call(stage.torana)
    assert (entry.state, entry.tokens.output >= 20, entry.tokens.estimated) == ("cancelled", True, True)


def test_events_that_end_with_crlf_are_counted(stage):
    pieces = [chat_chunk({"content": "a"}), chat_chunk({"content": "b"}, "stop"), b"data: [DONE]\n\n"]
    stage.mock.script = events(*[piece.replace(b"\n", b"\r\n") for piece in pieces])
    tokens = stage.torana.account(stage.torana.chat("mock/gpt-x", stream=True))["tokens"]
    assert (tokens["output"] > 0, tokens["estimated"]) == (True, True)


@pytest.mark.parametrize("stream", [False, True])
def test_a_whole_answer_told_anew_without_usage_is_estimated(stage, stream):
    stage.mock.script = reply(CHAT_WITHOUT_USAGE)
    tokens = stage.torana.account(stage.torana.message("mock/gpt-x", stream=stream))["tokens"]
    assert (tokens["output"] > 0, tokens["estimated"]) == (True, True)


def test_a_call_whose_outcome_nobody_knows_is_not_free(stage):
    stage.mock.script = lambda _: [ABORT]
    tokens = stage.torana.account(stage.torana.chat("mock/gpt-x"))["tokens"]
    assert (tokens["input"] > 0, tokens["estimated"]) == (True, True)
    stage.mock.script = lambda _: [20.0]
    leave(stage.torana, "mock/gpt-x", stream=False, until=lambda: len(stage.mock.asked) > 1)
    entry = entry_of_last_call(stage.torana)
    assert (entry.state, entry.tokens.input > 0, entry.tokens.estimated) == ("cancelled", True, True)


def test_a_refused_call_costs_nothing(stage):
    stage.mock.script = reply({"error": {"message": "no"}}, 400)
    assert stage.torana.account(stage.torana.chat("mock/gpt-x"))["tokens"]["input"] == 0


def test_an_unreachable_provider_costs_nothing(tmp_path):
    with Running(tmp_path, providers={"mock": provider("http://127.0.0.1:1")}) as torana:
        entry = torana.account(torana.chat("mock/gpt-x"))
        assert (entry["error"], entry["tokens"]["input"]) == ("upstream_unreachable", 0)
        assert [attempt["state"] for attempt in entry["attempts"]] == ["error"]


# ---------------------------------------------------------------- the end of a story


@pytest.mark.parametrize("target", ["mock/gpt-x", "ant/claude-x"])
@pytest.mark.parametrize("asked", ["chat", "message"])
def test_a_caller_that_leaves_after_the_end_of_the_story_has_the_whole_answer(stage, asked, target):
    stage.mock.script = events(*CHAT_STREAM, 20.0)
    stage.ant.script = events(*MESSAGE_STREAM, 20.0)
    end = b"[DONE]" if asked == "chat" else b"message_stop"
    path = "/v1/chat/completions" if asked == "chat" else "/v1/messages"
    leave(stage.torana, target, stream=True, after=end, path=path)
    entry = entry_of_last_call(stage.torana)
    assert (entry.state, entry.tokens.input, entry.tokens.output) == ("ok", 9, 2)


@pytest.mark.parametrize("ending", [CLOSE, ABORT])
@pytest.mark.parametrize("target", ["mock/gpt-x", "ant/claude-x"])
@pytest.mark.parametrize("asked", ["chat", "message"])
def test_a_connection_lost_after_the_end_of_the_story_changes_nothing(stage, asked, target, ending):
    stage.mock.script = events(*CHAT_STREAM, 0.05, ending)
    stage.ant.script = events(*MESSAGE_STREAM, 0.05, ending)
    answer = getattr(stage.torana, asked)(target, stream=True)
    assert b"error" not in answer.body
    assert stage.torana.account(answer)["state"] == "ok"


@pytest.mark.parametrize("target", ["mock/gpt-x", "ant/claude-x"])
@pytest.mark.parametrize("asked", ["chat", "message"])
def test_a_connection_lost_after_an_error_in_band_adds_no_second_error(stage, asked, target):
    oops = b'data: {"error":{"message":"overheated","type":"server_error","code":"hot"}}\n\n'
    stage.mock.script = events(*CHAT_STREAM[:3], oops, 0.05, ABORT)
    failed = message_event("error", error={"type": "overloaded_error", "message": "overheated"})
    stage.ant.script = events(*MESSAGE_STREAM[:4], failed, 0.05, ABORT)
    answer = getattr(stage.torana, asked)(target, stream=True)
    assert answer.body.count(b"overheated") == 1
    assert answer.body.count(b"disconnected") == 0
    assert answer.body.count(b'"error":{') == 1
    assert stage.torana.account(answer)["state"] == "incomplete"


@pytest.mark.parametrize("body", [b"<html>busy</html>", json.dumps(CHAT).encode()[:-9], b"", b"[]", b"null"])
@pytest.mark.parametrize("asked", ["chat", "message"])
def test_a_whole_answer_that_is_no_json_object_is_a_502(stage, asked, body):
    stage.mock.script = reply(body)
    stage.ant.script = reply(body)
    for target in ("mock/gpt-x", "ant/claude-x"):
        answer = getattr(stage.torana, asked)(target)
        assert (answer.status, stage.torana.account(answer)["error"]) == (502, "upstream_invalid")


@pytest.mark.parametrize("status", [201, 202, 204, 206, 301, 304, 600, 999])
@pytest.mark.parametrize("asked", ["chat", "message"])
def test_a_status_that_is_neither_an_answer_nor_a_refusal_is_a_502(stage, asked, status):
    body = b"" if status in (204, 304) else json.dumps(CHAT).encode()
    stage.mock.script = reply(body, status)
    answer = getattr(stage.torana, asked)("mock/gpt-x")
    assert answer.status == 502
    assert "error" in answer.json


# ---------------------------------------------------------------- what an entry holds is bounded


def test_what_a_caller_names_is_kept_within_limits(stage):
    answer = stage.torana.chat("m" * 100_000, user="u" * 100_000)
    assert answer.status == 400
    entry = stage.torana.account(answer)
    assert (len(entry["model"]) <= 512, len(entry["user"]) <= 1024) == (True, True)


def test_what_a_provider_calls_its_error_is_kept_within_limits(stage):
    stage.mock.script = reply({"error": {"message": "no", "code": "c" * 100_000}}, 400)
    assert len(stage.torana.account(stage.torana.chat("mock/gpt-x"))["error"]) <= 128


def test_metadata_too_long_for_an_entry_leaves_no_broken_json(stage):
    stage.torana.chat("echo", metadata={"a": "é" * 9_000})
    assert entry_of_last_call(stage.torana).metadata == ""
    stage.torana.chat("echo", metadata={"a": "é"})
    assert json.loads(entry_of_last_call(stage.torana).metadata) == {"a": "é"}


def test_fields_a_target_cannot_carry_are_noted_within_limits(stage):
    odd = {f"an_unknown_field_{n}": n for n in range(5_000)}
    answer = stage.torana.chat("ant/claude-x", **odd)
    assert sum(map(len, stage.torana.account(answer)["dropped"])) <= 16 * 1024


@pytest.mark.parametrize(("seconds", "told"), [(-5, "0"), (1e300, "86400"), (2.2, "3")])
def test_advice_on_waiting_is_kept_within_reason(stage, seconds, told):
    stage.mock.script = reply(
        {"error": {"message": "slow", "code": 429, "metadata": {"retry_after_seconds": seconds}}}, 429
    )
    assert stage.torana.chat("mock/gpt-x").headers["retry-after"] == told


# ---------------------------------------------------------------- strict


def test_strict_durability_has_the_intent_in_the_store_before_the_provider_is_asked(tmp_path):
    seen = []

    def look(asked):
        import sqlite3

        with sqlite3.connect(f"file:{tmp_path}/torana.db?mode=ro", uri=True) as database:
            tables = [row[0] for row in database.execute("select name from sqlite_master where type='table'")]
            seen.append(
                {name: database.execute(f"select count(*) from {name}").fetchone()[0] for name in tables}
            )
        return reply(CHAT)(asked)

    with Provider(look) as mock:
        store = {"url": "sqlite:///torana.db", "durability": "strict"}
        with Running(tmp_path, providers={"mock": provider(mock.url)}, store=store) as torana:
            assert torana.chat("mock/gpt-x").status == 200
    assert (seen[0]["calls"], seen[0]["attempts"]) == (1, 1)


def test_strict_durability_refuses_within_a_limit_what_the_store_does_not_take(tmp_path, monkeypatch):
    async def refuse(_batch):
        raise StoreError("the disk is full")

    monkeypatch.setattr(life, "STRICT_S", 0.1)
    with Provider(reply(CHAT)) as mock:
        store = {"url": "sqlite:///torana.db", "durability": "strict"}
        with Running(tmp_path, providers={"mock": provider(mock.url)}, store=store) as torana:
            entries = torana.app._store.entries
            torana.app.ledger._entries = SimpleNamespace(
                append=refuse, call=entries.call, attempts=entries.attempts
            )
            answer = torana.chat("mock/gpt-x")
            assert (answer.status, answer.json["error"]["code"]) == (503, "overloaded")
            assert mock.asked == []
            torana.app.ledger._entries = entries
            torana.do(torana.app.ledger.flush())
            entry = torana.account(answer)
            [attempt] = entry["attempts"]
            assert (entry["state"], attempt["state"], attempt["latency_ms"]) == ("error", "error", 0)
            assert torana.chat("mock/gpt-x").status == 200
