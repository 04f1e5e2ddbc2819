"""The golden cases of conformance/openai_chat, which need no recorded traffic and no Python to be understood."""

import json
from pathlib import Path

import pytest

from torana import ir
from torana.dialects import openai_chat
from torana.errors import StreamIncomplete

FOLDER = Path(__file__).resolve().parents[2] / "conformance" / "openai_chat"
CASES = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}


def of_kind(kind: str):
    return pytest.mark.parametrize("name", [name for name, case in CASES.items() if case["kind"] == kind])


def told(part: ir.Part) -> list:
    match part:
        case ir.Text(text):
            return ["text", text]
        case ir.Thinking(text, seal=seal):
            return ["thinking", text, *([seal.data, seal.issuer] if seal else [])]
        case ir.Refusal(text):
            return ["refusal", text]
        case ir.ToolCall(id, name, text):
            return ["call", id, name, text]
        case ir.ToolResult(id, parts=parts):
            return ["result", id, "".join(inner.text for inner in parts)]
        case ir.Media(kind, mime, data, url):
            return [kind, mime, data, url]
        case ir.Opaque():
            return ["opaque"]
    raise AssertionError(part)


def told_request(request: ir.Request) -> dict:
    said = {
        "messages": [[message.role, *map(told, message.parts)] for message in request.messages],
        "tools": [tool.name for tool in request.tools or ()],
        "choice": request.choice
        and [request.choice.mode, list(request.choice.names), request.choice.parallel],
        "max_tokens": request.max_tokens,
        "temperature": request.sampling.temperature,
        "stop": list(request.sampling.stop),
        "seed": request.sampling.seed,
    }
    return {name: value for name, value in said.items() if value not in (None, [])}


def told_response(response: ir.Response) -> dict:
    choices = [{"parts": list(map(told, c.parts)), "finish": c.finish} for c in response.choices]
    usage = response.usage
    names = ("input", "cache_read", "cache_write", "output", "reasoning", "other")
    spent = usage and {name: getattr(usage, name) for name in names if getattr(usage, name)}
    error = response.error
    failed = {"error": [error.message, error.status, error.kind, error.native_code]} if error else {}
    return {"choices": choices, "usage": spent, **failed}


def sse(wire: list) -> bytes:
    lines = [item if isinstance(item, str) else json.dumps(item) for item in wire]
    return "".join([f"data: {line}\n\n" for line in lines]).encode()


def parse_stream(body: bytes) -> ir.Response:
    parser = openai_chat.Parser()
    return ir.fold(parser.feed(body) + parser.close())


@of_kind("request")
def test_a_golden_request_means_and_renders_what_the_case_says(name):
    case = CASES[name]
    request = openai_chat.parse_request(json.dumps(case["wire"]).encode())
    assert told_request(request) == case["means"]
    assert json.loads(openai_chat.render_request(request).body) == case["renders"]


@of_kind("answer")
def test_a_golden_answer_means_what_the_case_says(name):
    case = CASES[name]
    response = ir.fold(openai_chat.parse_response(json.dumps(case["wire"]).encode()))
    assert told_response(response) == case["means"]
    assert ir.fold(ir.unfold(response)) == response


@of_kind("stream")
def test_a_golden_stream_means_what_the_case_says(name):
    case = CASES[name]
    assert told_response(parse_stream(sse(case["wire"]))) == case["means"]


@of_kind("cut")
def test_a_golden_cut_stream_raises(name):
    body = sse(CASES[name]["wire"])
    with pytest.raises(StreamIncomplete):
        parse_stream(body)
    watch = openai_chat.Watch()
    assert watch.feed(body) == body
    with pytest.raises(StreamIncomplete):
        watch.close()


@of_kind("error")
def test_a_golden_error_means_what_the_case_says(name):
    case = CASES[name]
    error = openai_chat.parse_error(case["status"], json.dumps(case["wire"]).encode())
    assert [error.message, error.kind, error.param, error.native_code] == case["means"]
    assert error.status == case["status"]


def test_every_golden_case_is_run():
    assert {case["kind"] for case in CASES.values()} == {"request", "answer", "stream", "cut", "error"}
