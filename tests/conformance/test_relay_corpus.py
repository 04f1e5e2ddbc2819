"""Every recorded exchange of both dialects, replayed by a provider behind a whole gateway to a caller of the same
dialect: the caller gets the recorded bytes, the provider gets the caller's.

Streams are cut where their recording says the network cut them, else at random places of a fixed seed. Each
exchange is asked for in one of three spellings of JSON. The official clients are asked in test_relay_clients.py."""

import http.client
import json
import re
import tomllib
from pathlib import Path

import pytest

import replaying
from replaying import PATH, ROW, exchanges, in_band, per_api, refusal, spelled, without_usage
from running import SECRET

DIALECTS = ("openai_chat", "anthropic")
SKIPS = tomllib.loads(Path(__file__).with_name("skips_relay.toml").read_text())
SKIPPED_SHARE_MAX = 0.005
SPELLINGS = ({}, {"separators": (",", ":")}, {"indent": 1})
CREDENTIAL_STATUSES = (401, 403)  # their bodies are told anew: they may repeat the operator's credential
PASSED: set[str] = set()


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    with replaying.replaying(tmp_path_factory.mktemp("torana")) as (torana, replay):
        connection = http.client.HTTPConnection("127.0.0.1", torana.port, timeout=20)
        yield connection, replay
        connection.close()


def post(connection, path: str, body: bytes) -> tuple[int, bytes]:
    head = {"authorization": f"Bearer {SECRET}", "content-type": "application/json"}
    connection.request("POST", path, body, head)
    response = connection.getresponse()
    return response.status, response.read()


def kind(exchange: dict) -> str:
    status, stream = exchange["response"]["status"] or 200, exchange["response"]["streaming"]
    if status >= 400:
        return "error"
    return "stream" if stream else "answer"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("what", ["answer", "stream", "error"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_recorded_exchange_is_relayed_as_it_was_recorded(stage, dialect, what):
    found = [r for r in exchanges(dialect) if kind(r) == what and r["id"] not in SKIPS["strangers"]]
    wrong = []
    for at, exchange in enumerate(found):
        if exchange["id"] in SKIPS["refused"]:
            continue
        try:
            relay(stage, exchange, dialect, SPELLINGS[at % 3])
            PASSED.add(exchange["id"])
        except AssertionError as difference:
            wrong.append((exchange["id"], str(difference)[:600]))
    assert wrong == [], "\n".join(f"{i} {t}" for i, t in wrong)


def relay(stage, exchange: dict, dialect: str, spelling: dict) -> None:
    connection, replay = stage
    asked = replaying.request(exchange, dialect)
    body = json.dumps(asked, **spelling).encode()
    replay.show(exchange)
    status, answer = post(connection, PATH[dialect], body)
    assert [sent.body for sent in replay.asked] == [passed_on(body, asked, dialect)], "the provider's bytes"
    judge = {"answer": judge_answer, "stream": judge_stream, "error": judge_error}[kind(exchange)]
    judge(exchange, dialect, asked, status, answer)


def passed_on(body: bytes, asked: dict, dialect: str) -> bytes:
    """The caller's bytes with the fields edited that are the gateway's."""
    wanted = bytes(body).replace(b'"' + ROW[dialect].encode() + b"/", b'"', 1)
    options = asked.get("stream_options")
    if dialect != "openai_chat" or not asked.get("stream") or (options or {}).get("include_usage"):
        return wanted
    if "include_usage" in (options or {}):
        return re.sub(rb'("include_usage"\s*:\s*)false', rb"\1true", wanted)
    assert "stream_options" not in asked, "a recorded spelling that this oracle does not know"
    return wanted[:-1].rstrip() + b',"stream_options":{"include_usage":true}}'


def judge_answer(exchange: dict, dialect: str, asked: dict, status: int, answer: bytes) -> None:
    error = in_band(exchange)
    if error is None:
        assert (status, answer) == (200, replaying.answer_bytes(exchange))
    else:
        assert (400 <= status < 600, json.loads(answer)["error"]["message"]) == (True, error["message"])


def judge_stream(exchange: dict, dialect: str, asked: dict, status: int, answer: bytes) -> None:
    recorded = replaying.answer_bytes(exchange)
    if dialect == "openai_chat" and not (asked.get("stream_options") or {}).get("include_usage"):
        recorded = without_usage(recorded)
    assert status == 200
    if exchange["stream"]["complete"] or in_band(exchange) is not None:
        assert answer == recorded
        return
    assert answer[: len(recorded)] == recorded
    [error] = spelled(answer[len(recorded) :])
    assert set(error["error"]) >= {"type", "message"}
    assert (b"[DONE]" in answer, b"event: message_stop" in answer) == (False, False)


def judge_error(exchange: dict, dialect: str, asked: dict, status: int, answer: bytes) -> None:
    recorded = replaying.answer_bytes(exchange)
    assert status == exchange["response"]["status"]
    told = json.loads(answer)["error"]
    if isinstance(told["message"], dict):  # Together
        told = told | told["message"]
    pieces, sentences = told["message"].split("[redacted]"), refusal(recorded)
    whole = all(any(piece in text for text in sentences) for piece in pieces)
    assert whole or any(text in told["message"] for text in sentences), (told, recorded[:300])
    try:
        stated = json.loads(recorded).get("error")
    except (ValueError, AttributeError):
        return
    if isinstance(stated, dict) and status not in CREDENTIAL_STATUSES:
        assert answer == recorded
    elif isinstance(stated, dict) and isinstance(stated.get("type"), str):
        assert told["type"] == stated["type"]


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_cannot_be_relayed_is_answered_with_an_error(stage, dialect):
    connection, replay = stage
    found = [r for r in exchanges(dialect) if r["id"] in SKIPS["refused"] | SKIPS["strangers"]]
    for exchange in found:
        replay.show(exchange)
        body = json.dumps(replaying.request(exchange, dialect)).encode()
        status, answer = post(connection, PATH[dialect], body)
        told = spelled(answer)[-1] if status == 200 else json.loads(answer)
        assert set(told["error"]) >= {"type", "message"}, exchange["id"]
        assert b"[DONE]" not in answer


def test_counts(capsys):
    """Every exchange was judged by exactly one of the tests above, and few were refused."""
    skipped = SKIPS["refused"] | SKIPS["strangers"]
    every = [r for dialect in DIALECTS for r in exchanges(dialect)]
    theirs = per_api(r for r in every if r["id"] not in SKIPS["strangers"])
    done = per_api(r for r in every if r["id"] in PASSED)
    lines = [f"relayed {api:44} {done[api]:4} of {total:4}" for api, total in sorted(theirs.items())]
    with capsys.disabled():
        print("", *lines, f"relayed {done.total()} of {theirs.total()}", sep="\n")
    assert {r["id"] for r in every} == PASSED | skipped.keys()
    assert all(len(reason) > 20 for reason in skipped.values())
    assert [
        api for api in theirs if theirs[api] - done[api] > SKIPPED_SHARE_MAX * max(200, theirs[api])
    ] == []
