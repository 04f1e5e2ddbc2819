"""Every recorded exchange of Chat Completions: OpenAI's own and everybody's who speaks it.

The oracle below is separate from the dialect and dumb on purpose: it knows `json` and loops. The file is long
because the oracle and the tests that rest on it are read together."""

import json
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from msgspec.json import encode
from msgspec.structs import replace

from torana import ir
from torana.dialects import openai_chat
from torana.dialects.interface import Context, Edits
from torana.errors import Error, InvalidRequest
from torana.records import Accent, Traits

import corpus


def is_ours(exchange: dict) -> bool:
    """Ollama's own API and its compatible one share a name: the path tells them apart."""
    path = exchange["request"].get("path")
    return path == "/v1/chat/completions" or (
        path is None and b'"choices"' in corpus.body(exchange["response"])
    )


EXCHANGES = corpus.exchanges("openai_chat") + [
    r for r in corpus.provider("ollama") if r["api"] == "ollama.chat" and is_ours(r)
]
SKIPS = tomllib.loads(Path(__file__).with_name("skips_openai_chat.toml").read_text())
SKIPPED_SHARE_MAX = 0.005
BYTES_PER_READ = (1, 7, 97, 4096)

KNOWN = [r for r in EXCHANGES if r["id"] not in SKIPS["strangers"]]
ASKED = [r for r in EXCHANGES if isinstance(r["request"].get("json"), dict)]
ANSWERED = [r for r in KNOWN if (r["response"]["status"] or 200) < 400 and not r["response"]["streaming"]]
STREAMED = [r for r in KNOWN if (r["response"]["status"] or 200) < 400 and r["response"]["streaming"]]
REFUSED = [r for r in KNOWN if (r["response"]["status"] or 200) >= 400]
STRANGERS = [r for r in EXCHANGES if r["id"] in SKIPS["strangers"]]

TOLD: list[str] = []  # pass counts, printed at the end by test_counts


def report(title: str, passed: list[dict], tried: list[dict]) -> None:
    done, all_ = counts(passed), counts(tried)
    for api in sorted(all_):
        assert all_[api] - done[api] <= max(1, all_[api] * SKIPPED_SHARE_MAX), (title, api)
        TOLD.append(f"{title:9} {api:44} {done[api]:4} of {all_[api]:4}")


def counts(exchanges: list[dict]) -> Counter:
    return Counter(f"{r['provider']} {r['api']}" for r in exchanges)


def stream_bytes(exchange: dict) -> bytes:
    """The recorded bytes; where only the payloads were kept, one a line, framed again."""
    body = corpus.body(exchange["response"])
    if exchange["stream"]["format"] != "ndjson":
        return body
    return b"".join([b"data: " + line + b"\n\n" for line in body.split(b"\n") if line.strip()])


# ---------------------------------------------------------------- the oracle: requests


def plain(value: object) -> object:
    """Null and absent are one."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if item is not None}
    return value


def plain_request(body: dict) -> dict:
    """JSON up to the spellings that say the same."""
    kept = plain(body)
    kept["messages"] = plain_messages(kept["messages"])
    for old in ("max_tokens", "n_predict"):
        if kept.get(old, -1) >= 0:
            kept.setdefault("max_completion_tokens", kept.pop(old))
    if "random_seed" in kept:
        kept["seed"] = kept.pop("random_seed")
    plain_tools(kept)
    plain_reasoning(kept)
    plain_format(kept)
    if isinstance(kept.get("stop"), str):
        kept["stop"] = [kept["stop"]]
    if isinstance(kept.get("logprobs"), int) and not isinstance(kept["logprobs"], bool):
        kept["logprobs"], kept["top_logprobs"] = True, kept["logprobs"]
    for key in ("stop", "logprobs", "stream", "stream_options", "tools", "top_logprobs", "audio", "model"):
        if kept.get(key) in ([], False, {}, {"include_usage": False}, 0, ""):
            kept.pop(key)
    return kept


def plain_tools(kept: dict) -> None:
    for function in kept.pop("functions", []):
        kept.setdefault("tools", []).append({"type": "function", "function": function})
    for tool in kept.get("tools", []):
        tool.setdefault("type", "function")
        if tool["type"] == "function":
            tool["function"] = {k: v for k, v in tool["function"].items() if (k, v) != ("description", "")}
    choice = kept.pop("function_call", None) or kept.pop("tool_choice", None)
    if isinstance(choice, dict):
        choice = ["one", (choice.get("function") or choice)["name"]]
    choice = "required" if choice == "any" else choice
    if choice and not (choice == "auto" and "parallel_tool_calls" in kept):
        kept["tool_choice"] = choice


def plain_reasoning(kept: dict) -> None:
    """Seven spellings of one wish."""
    said = {}
    if "enable_thinking" in kept:
        said["enabled"] = kept.pop("enable_thinking")
    for name in ("chat_template_kwargs", "chat_template_args"):
        if "enable_thinking" in kept.get(name, {}):
            said["enabled"] = kept[name].pop("enable_thinking")
            if not kept[name]:
                del kept[name]
    if "type" in kept.get("thinking", {}):
        said["enabled"] = kept["thinking"].pop("type") != "disabled"
        said |= {f"thinking.{key}": value for key, value in kept.pop("thinking").items()}
    if "reasoning_effort" in kept:
        said["effort"] = kept.pop("reasoning_effort")
    if "reasoning" in kept:
        said |= kept.pop("reasoning")
    kept["reasoning"] = said


def plain_format(kept: dict) -> None:
    asked = kept.get("response_format", {})
    if "schema" in asked:
        asked["json_schema"] = {"schema": asked.pop("schema")}
    schema = asked.get("json_schema")
    for name in ("name", "description"):
        if schema and schema.get(name) == "":
            del schema[name]
    if schema and "schema" not in schema:
        name = {"name": schema.pop("name")} if "name" in schema else {}
        asked["json_schema"] = name | {"schema": schema}


def plain_messages(messages: list[dict]) -> list[dict]:
    return [plain_message(dict(message)) for message in messages]


def plain_message(message: dict) -> dict:
    content = message.pop("content", [])
    content = content if isinstance(content, list) else [content]
    content = [{"type": "text", "text": c} if isinstance(c, str) else dict(c) for c in content]
    thoughts = ["".join(t["text"] for t in c["thinking"]) for c in content if c["type"] == "thinking"]
    content = [plain_element(c) for c in content if c["type"] != "thinking"]
    calls = [plain_call(dict(call)) for call in message.pop("tool_calls", [])]
    if calls:
        content = [c for c in content if c.get("text") != ""]
    plain_thoughts(message, thoughts)
    if "cache_control" in message and message["role"] != "tool":
        (calls or content)[-1]["cache_control"] = message.pop("cache_control")
    if message.get("annotations") == []:
        del message["annotations"]
    return message | {"content": content, "tool_calls": calls}


def plain_thoughts(message: dict, thoughts: list[str]) -> None:
    plain_text = message.pop("reasoning_content", "") or message.get("reasoning", "")
    message.pop("reasoning", None)
    details = [{k: v for k, v in d.items() if k != "index"} for d in message.pop("reasoning_details", [])]
    said = "".join(d.get("text") or d.get("summary") or "" for d in details)
    message["thoughts"] = thoughts or ([] if said or not plain_text else [plain_text])
    message["details"] = details


def plain_call(call: dict) -> dict:
    call.pop("index", None)
    function = dict(call["function"])
    arguments = function.get("arguments", "")
    function["arguments"] = arguments if isinstance(arguments, str) else json.dumps(arguments)
    function["arguments"] = canonical(function["arguments"] or "{}")
    return {"id": ""} | call | {"function": function}


def canonical(arguments: str) -> object:
    try:
        return json.loads(arguments)
    except ValueError:
        return arguments


def plain_element(element: dict) -> dict:
    kind = element["type"]
    held = element.get(kind)
    if kind in ("image_url", "video_url", "audio_url") and isinstance(held, str):
        return element | {kind: {"url": held}}
    if kind in ("document_url", "file_url"):
        url = held["url"] if isinstance(held, dict) else held
        file = {"file_data": url, "filename": "document.pdf"} if url.startswith("data:") else None
        return {"type": "file", "file": file} if file else {"type": "document_url", "document_url": url}
    return element


def accent_of(asked: dict) -> Accent:
    """The accent of a provider that is asked in this spelling."""
    spellings = {
        "thinking": "thinking",
        "enable_thinking": "enable_thinking",
        "chat_template_kwargs": "template",
        "chat_template_args": "template",
        "reasoning": "object",
    }
    found = [accent for key, accent in spellings.items() if key in asked]
    return Accent(reasoning=found[0] if found else "effort")


# ---------------------------------------------------------------- the oracle: answers


def replay(body: bytes) -> dict:
    """The whole answer that a stream spells out, put together from its chunks."""
    answer = {"id": None, "model": None, "choices": {}, "usage": None, "error": None}
    for line in body.decode().replace("\r\n", "\n").split("\n"):
        if not line.startswith("data:") or line[5:].strip() in ("", "[DONE]"):
            continue
        chunk = json.loads(line[5:])
        if answer["id"] is None and (chunk.get("id") or chunk.get("choices")):
            answer["id"], answer["model"] = chunk.get("id") or "", chunk.get("model") or ""
        usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage")
        answer["usage"] = usage or answer["usage"]
        answer["error"] = chunk.get("error") or answer["error"]
        for said in chunk.get("choices") or []:
            hear(answer["choices"].setdefault(said["index"], empty()), said, said.get("delta") or {})
    return answer


def empty() -> dict:
    return {"text": "", "thought": "", "refusal": "", "calls": [], "finish": "", "sealed": [], "error": None}


def hear(choice: dict, said: dict, turn: dict) -> None:
    content = turn.get("content")
    choice["text"] += content if isinstance(content, str) else ""
    for element in content if isinstance(content, list) else []:
        choice["thought" if element["type"] == "reasoning" else "text"] += element.get("text") or ""
        inner = element.get("thinking") or element.get("summary") or []
        choice["thought"] += "".join(chunk["text"] for chunk in inner)
    if isinstance(content, dict):
        choice["text"] += json.dumps(content)
    details = turn.get("reasoning_details") or []
    told = "".join(d.get("text") or d.get("summary") or "" for d in details)
    choice["thought"] += told or turn.get("reasoning_content") or turn.get("reasoning") or ""
    choice["sealed"] += [d.get("signature") or d.get("data") for d in details]
    choice["refusal"] += turn.get("refusal") or ""
    for call in turn.get("tool_calls") or []:
        hear_call(choice["calls"], call)
    if (turn.get("function_call") or {}).get("name"):
        hear_call(choice["calls"], {"function": turn["function_call"], "index": 0})
    choice["finish"] = said.get("finish_reason") or choice["finish"]
    choice["error"] = said.get("error") or choice["error"]


def hear_call(calls: list[list], call: dict) -> None:
    """[index, id, name, arguments]: the last call of that index goes on, unless a new id comes."""
    function = call.get("function") or {}
    same = [known for known in calls if known[0] == call.get("index")]
    begins = not same or (call.get("id") and same[-1][1] and call["id"] != same[-1][1])
    if call.get("index") is None:
        begins = bool(call.get("id"))
        same = calls[-1:]
    if begins:
        calls.append([call.get("index"), call.get("id") or "", "", ""])
        same = calls[-1:]
    same[-1][2] = same[-1][2] or function.get("name") or ""
    arguments = function.get("arguments") or ""
    same[-1][3] += arguments if isinstance(arguments, str) else json.dumps(arguments)


FINISH = {
    "": "", "stop": "stop", "eos": "stop", "length": "length", "tool_calls": "tool_calls",
    "tool_call": "tool_calls", "function_call": "tool_calls", "content_filter": "filtered",
    "stop_sequence": "stop_sequence", "error": "failed",
}  # fmt: skip


def tell_choice(choice: dict, stopped: object) -> dict:
    finish = FINISH[choice["finish"]]
    if finish == "stop":
        finish = "tool_calls" if choice["calls"] else "refused" if choice["refusal"] else finish
        finish = "stop_sequence" if finish == "stop" and isinstance(stopped, str) else finish
    calls = [[id, name, arguments] for _, id, name, arguments in choice["calls"]]
    names = ("text", "thought", "refusal")
    said = {name: choice[name] for name in names}
    return said | {"calls": calls, "finish": finish, "sealed": sorted(filter(None, choice["sealed"]))}


def tell_usage(usage: dict | None) -> dict | None:
    """Prompt, completion, cached, written, thought; cut to the whole where a part is larger."""
    if usage is None:
        return None
    before = usage.get("prompt_tokens_details") or usage.get("prompt_token_details") or {}
    after = usage.get("completion_tokens_details") or {}
    number = lambda holder, *names: max([holder.get(name) or 0 for name in names])
    prompt, completion = number(usage, "prompt_tokens"), number(usage, "completion_tokens")
    thought = max(number(after, "reasoning_tokens"), number(usage, "reasoning_tokens"))
    places = ("prompt_cache_hit_tokens", "cached_tokens", "num_cached_tokens", "cache_read_input_tokens")
    cached = max(number(usage, *places), number(before, "cached_tokens", "cache_read_input_tokens"))
    written = number(before, "cache_write_tokens", "cache_creation_input_tokens")
    written = max(written, number(usage, "cache_creation_input_tokens"))
    beside = thought and usage.get("total_tokens") == prompt + completion + thought
    cached = min(cached, prompt)
    return {
        "prompt": prompt,
        "completion": completion + (thought if beside else 0),
        "cached": cached,
        "written": min(written, prompt - cached),
        "thought": thought if beside else min(thought, completion),
        "total": usage.get("total_tokens"),
    }


# ---------------------------------------------------------------- what the dialect says, in the oracle's words


def heard_choice(choice: ir.Choice) -> dict:
    said = {"text": "", "thought": "", "refusal": "", "calls": [], "finish": choice.finish, "sealed": []}
    for part in choice.parts:
        match part:
            case ir.Text(text):
                said["text"] += text
            case ir.Thinking(text):
                said["thought"] += text
            case ir.Refusal(text):
                said["refusal"] += text
            case ir.Data(value):
                said["text"] += json.dumps(json.loads(bytes(value)))
            case ir.ToolCall(id, name, text):
                legacy = bool(part.extra and "function_call" in part.extra)
                said["calls"].append(["" if legacy else id, name, text])
        seal = getattr(part, "seal", None)
        said["sealed"] += [seal.data] if seal and "extra_content" not in (part.extra or {}) else []
    return said | {"sealed": sorted(said["sealed"])}


def heard_usage(usage: ir.Usage | None, stated: dict | None) -> dict | None:
    if usage is None:
        return None
    names = ("input", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning", "tool_input")
    assert all(getattr(usage, name) >= 0 for name in names)
    if usage.total is not None:
        assert sum(getattr(usage, name) for name in names) + usage.other == usage.total
    return {
        "prompt": usage.prompt,
        "completion": usage.completion,
        "cached": usage.cache_read,
        "written": usage.cache_write + usage.cache_write_1h,
        "thought": usage.reasoning,
        "total": usage.total,
    }


def told(response: ir.Response) -> tuple:
    """Errors are compared by what they say."""
    error = response.error
    return json.loads(encode(replace(response, error=None))), error and (
        error.message,
        error.kind,
        error.status,
    )


def parse_stream(body: bytes, size: int = 0) -> list[ir.Event]:
    parser = openai_chat.Parser()
    pieces = [body[at : at + size] for at in range(0, len(body), size)] if size else [body]
    events = [event for piece in pieces for event in parser.feed(piece)]
    return events + parser.close()


# ---------------------------------------------------------------- requests


def test_every_recorded_request_is_read_and_written_again_alike():
    passed = []
    for exchange in ASKED:
        body = corpus.body(exchange["request"])
        if exchange["id"] in SKIPS["requests"]:
            assert exchange["response"]["status"] == 400
            with pytest.raises(InvalidRequest):
                openai_chat.parse_request(body)
            continue
        asked = exchange["request"]["json"]
        traits = Traits(accent_of(asked))
        rendered = openai_chat.render_request(openai_chat.parse_request(body), traits)
        written = json.loads(rendered.body)
        assert plain_request(written) == plain_request(asked), exchange["id"]
        assert rendered.losses == (), exchange["id"]
        passed.append(exchange)
    report("requests", passed, ASKED)


def test_every_recorded_request_passes_as_an_envelope_and_keeps_its_bytes():
    for exchange in ASKED:
        if exchange["id"] in SKIPS["requests"]:
            continue
        body, asked = corpus.body(exchange["request"]), exchange["request"]["json"]
        envelope = openai_chat.read_envelope(body)
        assert (envelope.model, envelope.stream) == (asked.get("model") or "", bool(asked.get("stream")))
        assert openai_chat.splice(envelope, Edits()) == body
        edited = json.loads(openai_chat.splice(envelope, Edits(model="other", want_usage=True)))
        expected = {**asked, "model": "other"}
        if asked.get("stream"):
            expected["stream_options"] = {**(asked.get("stream_options") or {}), "include_usage": True}
        assert edited == expected, exchange["id"]


# ---------------------------------------------------------------- answers


def test_every_recorded_answer_says_what_its_json_says():
    passed = []
    for exchange in ANSWERED:
        body = corpus.body(exchange["response"])
        if exchange["id"] in SKIPS["answers"]:
            with pytest.raises(Error):
                openai_chat.parse_response(body)
            continue
        check_answer(exchange, body)
        passed.append(exchange)
    report("answers", passed, ANSWERED)


def check_answer(exchange: dict, body: bytes) -> None:
    answer = json.loads(body)
    response = ir.fold(openai_chat.parse_response(body))
    glance = openai_chat.glance(body)
    assert [heard_choice(choice) for choice in response.choices] == tell_whole(answer), exchange["id"]
    assert heard_usage(response.usage, answer.get("usage")) == tell_usage(answer.get("usage")), exchange["id"]
    assert (response.id, response.model) == (answer.get("id") or "", answer.get("model") or "")
    assert response.ended
    assert told(ir.fold(ir.unfold(response))) == told(response), exchange["id"]
    assert (glance.id, glance.model) == (response.id, response.model)
    assert glance.finish == (response.choices[0].finish if response.choices else "")
    assert bare(glance.usage) == bare(response.usage)
    assert (glance.error is None) == (not answer.get("error"))


def bare(usage: ir.Usage | None) -> ir.Usage | None:
    """Without the fields nobody understands, which the ledger does not ask for."""
    return usage and replace(usage, extra=None)


def tell_whole(answer: dict) -> list[dict]:
    choices = []
    for said in sorted(answer.get("choices") or [], key=lambda said: said.get("index", 0)):
        choice = empty()
        for place, call in enumerate((said.get("message") or {}).get("tool_calls") or []):
            call["index"] = place
        hear(choice, said, said.get("message") or {})
        choices.append(tell_choice(choice, said.get("stop_reason")))
    return choices


def test_every_recorded_stream_folds_into_what_its_chunks_say():
    passed = []
    for exchange in STREAMED:
        body = stream_bytes(exchange)
        answer = replay(body)
        response = ir.fold(parse_stream(body))
        stopped = b'"stop_reason":"' in body
        expected = [
            tell_choice(answer["choices"][i], "x" if stopped else None) for i in sorted(answer["choices"])
        ]
        assert [heard_choice(choice) for choice in response.choices] == expected, exchange["id"]
        assert heard_usage(response.usage, answer["usage"]) == tell_usage(answer["usage"]), exchange["id"]
        assert (response.id, response.model) == (answer["id"] or "", answer["model"] or ""), exchange["id"]
        assert told(ir.fold(ir.unfold(response))) == told(response), exchange["id"]
        failed = answer["error"] or any(choice["finish"] == "error" for choice in answer["choices"].values())
        assert (response.error is not None) == bool(failed), exchange["id"]
        passed.append(exchange)
    report("streams", passed, STREAMED)
    assert len(passed) == len(STREAMED)


def test_a_stream_recorded_as_incomplete_is_never_a_success():
    incomplete = [r for r in STREAMED if not r["stream"]["complete"]]
    assert incomplete
    for exchange in incomplete:
        response = ir.fold(parse_stream(stream_bytes(exchange)))
        assert response.error is not None, exchange["id"]


def test_a_recorded_stream_cut_before_its_finish_raises_for_parser_and_watch():
    for exchange in STREAMED[::7]:
        body = stream_bytes(exchange)
        found = [body.find(mark) for mark in (b'"finish_reason":"', b'"finish_reason": "', b'"error":')]
        end = min([at for at in found if at >= 0], default=body.find(b"[DONE]"))
        for cut in (end // 3, end // 2, end - 1):
            with pytest.raises(Error):
                parse_stream(body[:cut])
            watch = openai_chat.Watch()
            assert watch.feed(body[:cut]) == body[:cut]
            with pytest.raises(Error):
                watch.close()


def test_how_the_network_cut_a_recorded_stream_does_not_matter():
    for place, exchange in enumerate(STREAMED[::5]):
        body = stream_bytes(exchange)
        size = BYTES_PER_READ[place % len(BYTES_PER_READ)]
        assert told(ir.fold(parse_stream(body, size))) == told(ir.fold(parse_stream(body))), exchange["id"]


def test_every_watched_stream_passes_untouched_and_tells_what_the_parser_tells():
    for place, exchange in enumerate(STREAMED):
        body = stream_bytes(exchange)
        size = BYTES_PER_READ[1 + place % 3]
        watch, response = openai_chat.Watch(), ir.fold(parse_stream(body))
        passed = [watch.feed(body[at : at + size]) for at in range(0, len(body), size)]
        assert b"".join(passed) + watch.close() == body
        assert bare(watch.glance.usage) == bare(response.usage), exchange["id"]
        finish = response.choices[0].finish if response.choices else ""
        assert watch.glance.finish == finish, exchange["id"]
        assert (watch.glance.id or "", watch.glance.model) == (
            response.id or watch.glance.id,
            response.model or watch.glance.model,
        )
        assert (watch.glance.error is None) == (response.error is None or finish == "failed"), exchange["id"]


def test_a_hidden_usage_chunk_is_all_that_a_watched_stream_loses():
    for place, exchange in enumerate(STREAMED[::3]):
        body = stream_bytes(exchange)
        size = BYTES_PER_READ[place % 4]
        watch = openai_chat.Watch(hide_usage=True)
        passed = b"".join([watch.feed(body[at : at + size]) for at in range(0, len(body), size)])
        passed += watch.close()
        kept = [event for event in events_of(body) if not is_usage_only(event)]
        assert events_of(passed) == kept, exchange["id"]
        assert bare(watch.glance.usage) == bare(ir.fold(parse_stream(body)).usage)


def events_of(body: bytes) -> list[bytes]:
    return [event for event in body.replace(b"\r\n", b"\n").split(b"\n\n") if event.strip()]


def is_usage_only(event: bytes) -> bool:
    data = event[event.find(b"{") :]
    chunk = json.loads(data) if event.startswith(b"data:") and data.startswith(b"{") else {}
    usage = chunk.get("usage") or (chunk.get("x_groq") or {}).get("usage")
    return bool(usage) and not chunk.get("choices") and not chunk.get("error")


def test_every_rendered_recorded_answer_tells_its_story_again():
    for exchange in ANSWERED + STREAMED:
        if exchange["id"] in SKIPS["answers"]:
            continue
        whole = not exchange["response"]["streaming"]
        body = corpus.body(exchange["response"]) if whole else stream_bytes(exchange)
        response = ir.fold(openai_chat.parse_response(body) if whole else parse_stream(body))
        if response.error is not None:
            continue
        events = parse_stream(openai_chat.Renderer(Context()).render(ir.unfold(response)))
        back = ir.fold(openai_chat.parse_response(openai_chat.render_response(response).body))
        for again in (ir.fold(events), back):
            assert story(again) == story(response), exchange["id"]


def story(response: ir.Response) -> object:
    choices = [heard_choice(choice) for choice in response.choices]
    for choice in choices:
        choice["text"] = canonical(choice["text"])
        choice["finish"] = choice["finish"] or ("tool_calls" if choice["calls"] else "stop")
        choice["calls"] = [[id, name, canonical(text or "{}")] for id, name, text in choice["calls"]]
        if choice["finish"] == "stop_sequence":  # the wire has one word for both
            choice["finish"] = "stop"
    usage = response.usage and (response.usage.prompt, response.usage.completion, response.usage.cache_read)
    return choices, usage


# ---------------------------------------------------------------- errors and the rest


def test_every_recorded_error_keeps_its_status_message_type_param_and_code():
    for exchange in REFUSED:
        status, body = exchange["response"]["status"], corpus.body(exchange["response"])
        error = openai_chat.parse_error(status, body)
        assert error.status == status
        assert error.message == tell_message(body, status), exchange["id"]
        assert (error.kind, error.param, error.native_code) == tell_words(body), exchange["id"]
        rendered = json.loads(openai_chat.render_error(error, "req_1"))["error"]
        assert rendered["message"] == error.message
        assert (rendered["param"], rendered["code"]) == (error.param, error.native_code)
        assert rendered["type"] == error.kind or not error.kind
        assert rendered["request_id"] == "req_1"
    report("errors", REFUSED, REFUSED)


def tell_message(body: bytes, status: int) -> str:
    try:
        found = json.loads(body)
    except ValueError:
        return body.decode().strip()[:500] or f"the provider answered {status} without a word"
    held = found.get("error") or found
    held = held if isinstance(held, dict) else {"message": held}
    if isinstance(held.get("message"), dict):
        held = held["message"]
    detail = held.get("detail")
    if isinstance(detail, list):
        return "; ".join(f"{'.'.join(map(str, entry['loc']))}: {entry['msg']}" for entry in detail)
    return held.get("message") or detail or found.get("message") or held["reason"]


def tell_words(body: bytes) -> tuple:
    try:
        found = json.loads(body)
    except ValueError:
        return "", None, None
    held = found.get("error") if isinstance(found.get("error"), dict) else found
    held = held["message"] if isinstance(held.get("message"), dict) else held
    word = lambda name: held.get(name) if held.get(name) not in (None, "") else found.get(name)
    text = lambda value: None if value in (None, "") else str(value)
    return text(word("type")) or "", text(word("param")), text(word("code"))


def test_what_is_no_chat_answer_is_refused():
    for exchange in STRANGERS:
        whole = not exchange["response"]["streaming"]
        body = corpus.body(exchange["response"]) if whole else stream_bytes(exchange)
        with pytest.raises(Error):
            openai_chat.parse_response(body) if whole else parse_stream(body)


def test_counts(capsys):
    """Every exchange was judged by exactly one of the tests above."""
    assert len(ANSWERED) + len(STREAMED) + len(REFUSED) + len(STRANGERS) == len(EXCHANGES)
    known = {exchange["id"] for exchange in EXCHANGES}
    for ids in SKIPS.values():
        assert known >= ids.keys()
    with capsys.disabled():
        print("", *TOLD, sep="\n")
