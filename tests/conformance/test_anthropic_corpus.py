"""Every recorded exchange of Anthropic Messages, direct and through the clouds that host its models.

The oracle below is separate from the dialect and dumb on purpose: it knows `json` and loops."""

import json
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from msgspec.json import encode
from msgspec.structs import replace

from torana import ir
from torana.dialects import anthropic
from torana.dialects.interface import Context, Edits, Head
from torana.errors import Error, InvalidRequest, StreamIncomplete, UpstreamInvalid

import corpus

EXCHANGES = corpus.exchanges("anthropic")
SKIPS = tomllib.loads(Path(__file__).with_name("skips_anthropic.toml").read_text())
SKIPPED_SHARE_MAX = 0.005
BYTES_PER_READ = (1, 7, 97, 4096)

ASKED = [r for r in EXCHANGES if r["request"].get("json")]
ANSWERED = [r for r in EXCHANGES if r["response"]["status"] == 200 and not r.get("stream")]
STREAMED = [r for r in EXCHANGES if r["response"]["status"] == 200 and r.get("stream")]
REFUSED = [r for r in EXCHANGES if r["response"]["status"] >= 400]
OTHER_APIS = ("skill", "skill_version", "skill_deleted", "skill_version_deleted", None)
# answers of the Skills API that a recorder filed under this one

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "pause_turn": "paused",
    "refusal": "refused",
}


def head(exchange: dict) -> Head:
    return Head(path=exchange["request"].get("path") or "")


def counts(exchanges: list[dict]) -> Counter:
    return Counter(f"{r['provider']} {r['api']}" for r in exchanges)


def report(title: str, passed: list[dict], tried: list[dict]) -> None:
    for api, total in sorted(counts(tried).items()):
        print(f"anthropic {title}: {api} {counts(passed)[api]}/{total}")


def wire_stream(exchange: dict) -> bytes:
    """The stream as it was on the wire; frames that were recorded without their framing get it back."""
    body = corpus.body(exchange["response"])
    if exchange["stream"]["format"] == "sse":
        return body
    lines = [line for line in body.decode().splitlines() if line.strip()]
    return b"".join([f"event: {json.loads(line)['type']}\ndata: {line}\n\n".encode() for line in lines])


# ---------------------------------------------------------------- the oracle


def plain(value: object) -> object:
    """JSON up to what says the same: null is absent, a string is a list of one text, defaults may be unsaid."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {
        key: plain(item) for key, item in value.items() if item is not None and not is_default(value, key)
    }
    if isinstance(kept.get("content"), str) and ("role" in kept or kept.get("type") == "tool_result"):
        kept["content"] = [{"type": "text", "text": kept["content"]}]
    return kept


def is_default(holder: dict, key: str) -> bool:
    if key == "is_error" and holder.get("type") == "tool_result":
        return holder[key] is False
    if key == "citations" and holder.get("type") == "document":
        return holder[key] == {"enabled": False}
    return (key, holder[key]) in (
        ("system", []),
        ("description", ""),
        ("stream", False),
        ("caller", {"type": "direct"}),
    )


def plain_request(body: dict) -> dict:
    kept = plain(body)
    if isinstance(kept.get("system"), str):
        kept["system"] = [{"type": "text", "text": kept["system"]}]
    if "output_format" in kept:
        kept.setdefault("output_config", {})["format"] = kept.pop("output_format")
    return kept


def tell_block(block: dict) -> tuple:
    kind = block["type"]
    if kind == "text":
        return ("text", block["text"], len(block.get("citations") or []))
    if kind == "thinking":
        return ("thinking", block["thinking"], block.get("signature") or "")
    if kind == "redacted_thinking":
        return ("redacted", block["data"])
    if kind in ("tool_use", "server_tool_use", "mcp_tool_use"):
        return (kind, block["id"], block["name"], block.get("server_name", ""), block.get("input") or {})
    if kind.endswith("_tool_result"):
        return (kind, block["tool_use_id"], block.get("content"))
    return ("unknown", {key: value for key, value in block.items() if value is not None})


def tell_usage(usage: dict) -> dict:
    hour = (usage.get("cache_creation") or {}).get("ephemeral_1h_input_tokens") or 0
    thinking = (usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0
    runs = usage.get("server_tool_use") or {}
    return {
        "input": usage.get("input_tokens") or 0,
        "cache_read": usage.get("cache_read_input_tokens") or 0,
        "cache_write": (usage.get("cache_creation_input_tokens") or 0) - hour,
        "cache_write_1h": hour,
        "output": (usage.get("output_tokens") or 0) - thinking,
        "reasoning": thinking,
        "runs": sum(value or 0 for value in runs.values()),
    }


def tell_answer(message: dict) -> dict:
    return {
        "id": message.get("id") or "",
        "model": message.get("model") or "",
        "blocks": [tell_block(block) for block in message.get("content") or []],
        "finish": FINISH[message["stop_reason"]],
        "matched": message.get("stop_sequence") or "",
        "usage": tell_usage(message["usage"]),
    }


def replay(body: bytes) -> dict:
    """The message that a stream spells out, put together from its frames."""
    message, open_blocks, done = {}, {}, []
    for line in body.decode().splitlines():
        if not line.startswith("data:") or line[5:].strip() == "[DONE]":
            continue
        event = json.loads(line[5:])
        match event["type"]:
            case "message_start":
                done += [finished(block) for block in open_blocks.values()]
                open_blocks.clear()
                usage = message.get("usage", {}) | event["message"]["usage"]
                message = (message or event["message"]) | {"usage": usage}
                done += event["message"].get("content") or []
            case "content_block_start":
                open_blocks[event["index"]] = dict(event["content_block"]) | {"json": ""}
            case "content_block_delta":
                grow(open_blocks[event["index"]], event["delta"])
            case "content_block_stop":
                done.append(finished(open_blocks.pop(event["index"])))
            case "message_delta":
                message |= {key: value for key, value in event["delta"].items() if value is not None}
                usage = {key: value for key, value in event["usage"].items() if value is not None}
                message["usage"] = message["usage"] | usage
            case "error":
                message["error"] = event["error"]
    done += [finished(block) for block in open_blocks.values()]
    return message | {"content": done}


def grow(block: dict, delta: dict) -> None:
    match delta["type"]:
        case "text_delta":
            block["text"] += delta["text"]
        case "thinking_delta":
            block["thinking"] += delta["thinking"]
        case "signature_delta":
            block["signature"] = delta["signature"]
        case "input_json_delta":
            block["json"] += delta["partial_json"]
        case "citations_delta":
            block["citations"] = [*(block.get("citations") or []), delta["citation"]]


def finished(block: dict) -> dict:
    whole = {key: value for key, value in block.items() if key != "json"}
    if block["json"]:
        whole["input"] = arguments(block["json"])
    return whole


def arguments(text: str) -> object:
    """What a model wrote for a call; a fixture breaks off in the middle of it."""
    try:
        return json.loads(text)
    except ValueError:
        return text


# ---------------------------------------------------------------- what the dialect says, in the oracle's words


def heard_part(part: ir.Part) -> tuple:
    match part:
        case ir.Text():
            return ("text", part.text, len(part.citations))
        case ir.Thinking(seal=ir.Seal(holds="thought")):
            return ("redacted", part.seal.data)
        case ir.Thinking():
            return ("thinking", part.text, part.seal.data if part.seal else "")
        case ir.ToolCall():
            kind = {"function": "tool_use", "hosted": "server_tool_use"}[part.kind]
            kind = "mcp_tool_use" if part.namespace else kind
            return (kind, part.id, part.name, part.namespace, arguments(part.text))
        case ir.ToolResult():
            return (f"{part.name}_tool_result", part.id, heard_content(part))
        case ir.Opaque():
            return ("unknown", plain(json.loads(bytes(part.raw))))
    raise AssertionError(part)


def heard_content(part: ir.ToolResult) -> object:
    if part.name == "mcp":
        return [{"type": "text", "text": inner.text} for inner in part.parts]
    return json.loads(bytes(part.parts[0].value)) if part.parts else None


def heard_usage(usage: ir.Usage) -> dict:
    names = ("input", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning")
    return {name: getattr(usage, name) for name in names} | {"runs": sum((usage.calls or {}).values())}


def heard_answer(response: ir.Response) -> dict:
    choice = response.choices[0] if response.choices else ir.Choice(0)
    return {
        "id": response.id,
        "model": response.model,
        "blocks": [heard_part(part) for part in choice.parts],
        "finish": choice.finish,
        "matched": choice.matched,
        "usage": heard_usage(response.usage or ir.Usage()),
    }


def calls(response: ir.Response) -> list[ir.ToolCall]:
    return [part for choice in response.choices for part in choice.parts if isinstance(part, ir.ToolCall)]


def told(response: ir.Response) -> tuple:
    """Errors are compared by what they say, JSON by what it means: a stream draws it together into a line."""
    error = response.error
    said = json.loads(encode(replace(response, error=None)))
    return said, error and (error.message, error.kind, error.status)


def parse_stream(body: bytes, size: int = 0) -> list[ir.Event]:
    parser = anthropic.Parser()
    pieces = [body[at : at + size] for at in range(0, len(body), size)] if size else [body]
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.close()


# ---------------------------------------------------------------- the tests


def test_every_recorded_request_is_read_and_written_again_alike():
    passed = []
    for exchange in ASKED:
        if exchange["id"] in SKIPS["requests"]:
            assert exchange["response"]["status"] == 400, exchange["id"]
            with pytest.raises(InvalidRequest):
                anthropic.parse_request(corpus.body(exchange["request"]), head(exchange))
            continue
        asked = exchange["request"]["json"]
        request = anthropic.parse_request(corpus.body(exchange["request"]), head(exchange))
        rendered = anthropic.render_request(request)
        if "model" not in asked:  # the path named it
            assert request.model == asked.get("model", request.model) != "", exchange["id"]
        written = {**json.loads(rendered.body)}
        if "model" not in asked:
            written.pop("model")
        if exchange["request"]["path"].endswith(":streamRawPredict") and "stream" not in asked:
            written.pop("stream")
        assert plain_request(written) == plain_request(asked), exchange["id"]
        assert rendered.losses == (), exchange["id"]
        passed.append(exchange)
    report("requests", passed, ASKED)
    assert len(passed) == len(ASKED) - len(SKIPS["requests"])


def test_every_recorded_request_passes_as_an_envelope_and_keeps_its_bytes():
    for exchange in ASKED:
        if exchange["id"] in SKIPS["requests"]:
            continue
        body, asked = corpus.body(exchange["request"]), exchange["request"]["json"]
        envelope = anthropic.read_envelope(body, head(exchange))
        assert (envelope.model, envelope.max_tokens) == (
            asked.get("model", envelope.model),
            asked.get("max_tokens"),
        ), exchange["id"]
        assert anthropic.splice(envelope, Edits()) == body
        edited = json.loads(anthropic.splice(envelope, Edits(model="other")))
        assert edited == {**asked, "model": "other"}, exchange["id"]


def test_every_recorded_answer_says_what_its_json_says():
    passed = []
    for exchange in ANSWERED:
        message = json.loads(corpus.body(exchange["response"]))
        if message.get("type") in OTHER_APIS:
            with pytest.raises(UpstreamInvalid):
                anthropic.parse_response(corpus.body(exchange["response"]))
            continue
        body = corpus.body(exchange["response"])
        response = ir.fold(anthropic.parse_response(body))
        assert heard_answer(response) == tell_answer(message), exchange["id"]
        assert ir.fold(ir.unfold(response)) == response, exchange["id"]
        glance = anthropic.glance(body)
        assert (glance.id, glance.model, glance.finish) == (
            response.id,
            response.model,
            response.choices[0].finish,
        )
        assert glance.usage == response.usage
        passed.append(exchange)
    report("answers", passed, ANSWERED)
    others = [r for r in ANSWERED if json.loads(corpus.body(r["response"])).get("type") in OTHER_APIS]
    assert len(passed) + len(others) == len(ANSWERED)
    assert len(passed) == 401


def test_every_recorded_answer_is_written_again_alike():
    for exchange in ANSWERED:
        message = json.loads(corpus.body(exchange["response"]))
        if message.get("type") in OTHER_APIS:
            continue
        response = ir.fold(anthropic.parse_response(corpus.body(exchange["response"])))
        rendered = anthropic.render_response(response, Context())
        again = ir.fold(anthropic.parse_response(rendered.body))
        assert (told(again), rendered.losses) == (told(response), ()), exchange["id"]
        streamed = ir.fold(parse_stream(anthropic.Renderer().render(ir.unfold(response))))
        assert told(streamed) == told(response), exchange["id"]


def test_every_recorded_stream_says_what_its_frames_say():
    passed, incomplete, failed = [], [], []
    for exchange in STREAMED:
        body = wire_stream(exchange)
        if exchange["id"] in SKIPS["answers"]:
            with pytest.raises(Error):
                parse_stream(body)
            continue
        oracle = replay(body)
        if "error" in oracle:
            response = ir.fold(parse_stream(body))
            assert response.error.message == oracle["error"]["message"], exchange["id"]
            assert response.error.kind == oracle["error"]["type"], exchange["id"]
            failed.append(exchange)
            continue
        if not exchange["stream"]["complete"]:
            with pytest.raises(StreamIncomplete):
                parse_stream(body)
            incomplete.append(exchange)
            continue
        response = ir.fold(parse_stream(body))
        assert heard_answer(response) == tell_answer(oracle), exchange["id"]
        assert ir.fold(ir.unfold(response)) == response, exchange["id"]
        passed.append(exchange)
    report("streams", passed + failed + incomplete, STREAMED)
    skipped = len([r for r in STREAMED if r["id"] in SKIPS["answers"]])
    assert len(passed) + len(failed) + len(incomplete) + skipped == len(STREAMED)


def test_how_the_network_cut_a_recorded_stream_does_not_matter():
    for at, exchange in enumerate(STREAMED):
        body = wire_stream(exchange)
        try:
            expected = told(ir.fold(parse_stream(body)))
        except Error:
            continue
        size = BYTES_PER_READ[at % len(BYTES_PER_READ)]
        assert told(ir.fold(parse_stream(body, size))) == expected, exchange["id"]


def test_a_watched_recorded_stream_passes_untouched_and_is_counted_alike():
    for at, exchange in enumerate(STREAMED):
        body = wire_stream(exchange)
        size = BYTES_PER_READ[at % len(BYTES_PER_READ)]
        watch = anthropic.Watch()
        if exchange["id"] in SKIPS["answers"]:
            continue
        passed = b"".join([watch.feed(body[at : at + size]) for at in range(0, len(body), size)])
        assert passed == body, exchange["id"]
        try:
            expected = ir.fold(parse_stream(body))
        except StreamIncomplete:
            with pytest.raises(StreamIncomplete):
                watch.close()
            continue
        assert watch.close() == b""
        glance = watch.glance
        finish = expected.choices[0].finish if expected.choices else ""
        assert (glance.id, glance.model, glance.finish) == (expected.id, expected.model, finish)
        assert glance.usage == expected.usage, exchange["id"]
        assert (glance.error is None) == (expected.error is None)
        assert watch.visible == any(isinstance(event, ir.Delta | ir.Open) for event in parse_stream(body))


def test_every_recorded_stream_is_written_again_alike():
    for exchange in STREAMED:
        try:
            events = parse_stream(wire_stream(exchange))
        except Error:
            continue
        expected = ir.fold(events)
        if expected.error is not None:
            continue
        again = ir.fold(parse_stream(anthropic.Renderer().render(events)))
        assert told(again) == told(expected), exchange["id"]
        whole = anthropic.render_response(expected)
        if any(isinstance(arguments(call.text), str) for call in calls(expected)):
            assert [loss.how for loss in whole.losses] == ["rewritten"]
            continue
        assert told(ir.fold(anthropic.parse_response(whole.body))) == told(expected), exchange["id"]


def test_every_recorded_error_keeps_its_status_type_message_and_request_id():
    for exchange in REFUSED:
        status, body = exchange["response"]["status"], corpus.body(exchange["response"])
        error = anthropic.parse_error(status, body)
        assert error.status == status
        try:
            said = json.loads(body)
        except ValueError:
            assert (error.message, error.kind) == (body.decode(), ""), exchange["id"]
            continue
        assert (error.kind, error.message) == (said["error"]["type"], said["error"]["message"])
        assert anthropic.request_id(body) == said.get("request_id", "")
        again = json.loads(anthropic.render_error(error, anthropic.request_id(body)))
        assert again["error"] == {"type": error.kind, "message": error.message}
        assert again.get("request_id", "") == said.get("request_id", "")
    report("errors", REFUSED, REFUSED)


@pytest.mark.parametrize(("kind", "tried"), [("requests", ASKED), ("answers", ANSWERED + STREAMED)])
def test_skips_are_few_and_each_has_a_reason(kind, tried):
    skipped = [exchange for exchange in tried if exchange["id"] in SKIPS[kind]]
    assert {exchange["id"] for exchange in skipped} == set(SKIPS[kind])
    for api, count in counts(skipped).items():
        assert count <= SKIPPED_SHARE_MAX * counts(tried)[api], api
    assert all(len(reason) > 20 for reason in SKIPS[kind].values())
