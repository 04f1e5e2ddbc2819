"""A provider that answers with what was recorded, behind a whole Torana; and what each recording says.

The readings of a recording (`said`, `spelled`, `refusal`) know `json` and loops, and nothing of the dialects."""

import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from provider import LAST, Asked, Provider, chunk, head
from running import Running, provider

import corpus

SEED = 20260822
CUTS_MAX = 12  # pieces a recorded stream is cut into where its own chunk sizes were not recorded
PATH = {"openai_chat": "/v1/chat/completions", "anthropic": "/v1/messages"}
ROW = {"openai_chat": "replay", "anthropic": "replay-messages"}  # the provider's name in the configuration
ASK = {
    "model": "m",
    "max_tokens": 4096,
    "messages": [{"role": "user", "content": "hi"}],
}


def exchanges(dialect: str) -> list[dict]:
    """Every exchange of a dialect, Ollama's by its path."""
    found = list(corpus.exchanges(dialect))
    if dialect == "openai_chat":
        ollama = [r for r in corpus.provider("ollama") if r["api"] == "ollama.chat"]
        found += [r for r in ollama if r["request"].get("path") == "/v1/chat/completions"]
    return found


def per_api(found: Iterable[dict]) -> Counter:
    return Counter(f"{r['provider']} {r['api']}" for r in found)


def sample(found: list[dict], each: int) -> list[dict]:
    """Up to `each` of every api, spread over its recordings, always the same ones."""
    apis: dict[str, list[dict]] = {}
    for exchange in sorted(found, key=lambda r: r["id"]):
        apis.setdefault(exchange["api"] + exchange["provider"], []).append(exchange)
    return [r for rows in apis.values() for r in rows[:: max(1, -(-len(rows) // each))]]


# ---------------------------------------------------------------- the replay


class Replay:
    """`show(exchange)` decides what the provider answers next; `asked` is the request it got for it."""

    def __init__(self) -> None:
        self.provider = Provider(self._answer)
        self._steps: list[object] = []

    def show(self, exchange: dict, seed: int = SEED) -> None:
        self.provider.asked.clear()
        self._steps = list(steps(exchange, seed))

    @property
    def asked(self) -> list[Asked]:
        return self.provider.asked

    def _answer(self, _: Asked) -> Iterable[object]:
        return self._steps


@contextmanager
def replaying(folder: Path) -> Iterator[tuple[Running, Replay]]:
    replay = Replay()
    with replay.provider as server:
        rows = {name: provider(server.url, dialect) for dialect, name in ROW.items()}
        with Running(folder, providers=rows) as torana:
            yield torana, replay


def steps(exchange: dict, seed: int) -> Iterator[object]:
    """The recorded answer as a provider's script."""
    response, body = exchange["response"], answer_bytes(exchange)
    kind = {name.lower(): value for name, value in response["headers"].items()}.get("content-type")
    status = response["status"] or 200
    if not response["streaming"]:
        yield head(status, kind or "application/json", length=len(body)) + body
        return
    # Some recorders wrote application/json over a stream of events.
    yield head(status, kind if kind and "event-stream" in kind else "text/event-stream")
    for piece in pieces(
        body, exchange["stream"].get("chunk_sizes"), random.Random(f"{seed}{exchange['id']}")
    ):
        yield chunk(piece)
    yield LAST


def pieces(body: bytes, sizes: list[int] | None, dice: random.Random) -> list[bytes]:
    """The body cut where the network cut it, or at random places."""
    if sizes and sum(sizes) == len(body):
        cuts = [sum(sizes[:at]) for at in range(1, len(sizes))]
    else:
        cuts = sorted(dice.randrange(len(body) + 1) for _ in range(dice.randrange(CUTS_MAX)))
    ends = [0, *cuts, len(body)]
    return [body[a:b] for a, b in pairwise(ends) if a < b]


def answer_bytes(exchange: dict) -> bytes:
    """The recorded bytes; where only the payloads were kept, one a line, framed again."""
    body = corpus.body(exchange["response"])
    if not exchange["response"]["streaming"] or exchange["stream"]["format"] != "ndjson":
        return body
    lines = [line for line in body.split(b"\n") if line.strip()]
    named = [(json.loads(line).get("type", ""), line) for line in lines]
    return b"".join(
        [(f"event: {n}\n".encode() if n else b"") + b"data: " + line + b"\n\n" for n, line in named]
    )


def request(exchange: dict, dialect: str) -> dict:
    """The recorded request with a model that leads to the replay; the least one where none was recorded."""
    recorded = exchange["request"].get("json")
    asked = dict(recorded) if isinstance(recorded, dict) else dict(ASK)
    model = asked.get("model") or exchange["model"] or "m"
    asked["model"] = f"{ROW[dialect]}/{model}"
    if exchange["response"]["streaming"]:
        asked["stream"] = True  # some were asked for by path or by a header
    return asked


def crossing(exchange: dict, dialect: str) -> dict:
    """The least request of the other dialect's caller that leads to the replay of this one."""
    model = f"{ROW[dialect]}/{exchange['model'] or 'm'}"
    return ASK | {"model": model, "stream": bool(exchange["response"]["streaming"])}


# ---------------------------------------------------------------- what a recording says

Told = tuple[str, list[tuple[str, object]]]  # text, and (name, arguments) of each tool call


def said(exchange: dict, dialect: str) -> Told | None:
    """The text and tool calls of the first choice of a recorded answer; None where there is no answer in it."""
    try:
        return _said(exchange, dialect)
    except (ValueError, KeyError):  # no JSON; a delta of a block that was never opened
        return None


def _said(exchange: dict, dialect: str) -> Told | None:
    if exchange["response"]["streaming"]:
        frames = spelled(answer_bytes(exchange))
        whole = _chat_stream(frames) if dialect == "openai_chat" else _message_stream(frames)
    else:
        whole = json.loads(corpus.body(exchange["response"]))
        if dialect == "openai_chat":
            whole = next((c.get("message") or {} for c in whole.get("choices") or []), None)
    if whole is None:
        return None
    return _chat(whole) if dialect == "openai_chat" else _message(whole)


def spelled(body: bytes) -> list[dict]:
    """The JSON of each event of a stream."""
    lines = body.decode().replace("\r\n", "\n").split("\n")
    texts = [line[5:].strip() for line in lines if line.startswith("data:")]
    return [json.loads(text) for text in texts if text not in ("", "[DONE]")]


def _chat(message: dict) -> Told:
    content = message.get("content") or ""
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content if part["type"] == "text")
    if isinstance(content, dict):
        content = json.dumps(content, separators=(",", ":"))
    functions = [call["function"] for call in message.get("tool_calls") or []]
    functions += [message["function_call"]] if (message.get("function_call") or {}).get("name") else []
    text = content + (message.get("refusal") or "")
    return text, [(f["name"], canonical(f.get("arguments"))) for f in functions]


def _chat_stream(frames: list[dict]) -> dict | None:
    content, calls, seen = "", {}, False
    order: list[dict] = []
    for frame in frames:
        for choice in frame.get("choices") or []:
            if choice["index"] != 0:
                continue
            seen, delta = True, choice.get("delta") or {}
            content += _chat(delta | {"tool_calls": None, "function_call": None})[0]
            legacy = [{"index": 0, "function": delta["function_call"]}] if delta.get("function_call") else []
            for call in (delta.get("tool_calls") or []) + legacy:
                _grow(call, calls, order)
    return {"content": content, "tool_calls": order} if seen else None


def _grow(call: dict, calls: dict, order: list[dict]) -> None:
    """A call goes on under its index, until another id comes with it."""
    known = calls.get(call.get("index")) if call.get("index") is not None or not call.get("id") else None
    if known is None and order and call.get("index") is None and not call.get("id"):
        known = order[-1]
    if known is None or (call.get("id") and known["id"] and known["id"] != call["id"]):
        known = {"id": call.get("id") or "", "function": {"name": "", "arguments": ""}}
        calls[call.get("index")] = known
        order.append(known)
    function = call.get("function") or {}
    known["function"]["name"] = known["function"]["name"] or function.get("name") or ""
    arguments = function.get("arguments") or ""
    known["function"]["arguments"] += arguments if isinstance(arguments, str) else json.dumps(arguments)


def _message(message: dict) -> Told:
    blocks = message.get("content") or []
    text = "".join(block["text"] for block in blocks if block["type"] == "text")
    return text, [(b["name"], canonical(b.get("input"))) for b in blocks if b["type"] == "tool_use"]


def _message_stream(frames: list[dict]) -> dict | None:
    blocks: dict[int, dict] = {}
    done: list[dict] = []
    for frame in frames:
        match frame["type"]:
            case "message_start":
                done += frame["message"].get("content") or []
            case "content_block_start":
                blocks[frame["index"]] = dict(frame["content_block"])
                done.append(blocks[frame["index"]])
            case "content_block_delta":
                block, delta = blocks[frame["index"]], frame["delta"]
                block["text"] = block.get("text", "") + delta.get("text", "")
                block["json"] = block.get("json", "") + delta.get("partial_json", "")
    for block in done:
        if block.get("json"):
            block["input"] = canonical(block["json"])
    return {"content": done}


def canonical(arguments: object) -> object:
    """What arguments mean, however they are spaced; text that is no JSON stays text."""
    try:
        return json.loads(arguments) if isinstance(arguments, str) and arguments else arguments or {}
    except ValueError:
        return arguments


# ---------------------------------------------------------------- what a refusal says

WORDS = ("message", "detail", "msg", "reason", "error", "errors")


def refusal(body: bytes) -> list[str]:
    """The sentences a recorded error could be told in; [""] where it said nothing."""
    try:
        found = json.loads(body)
    except ValueError:
        return [body.decode("utf-8", "replace").strip()[:400]]
    return [text for text in _sentences(found) if text] or [""]


def _sentences(value: object, word: str = "message") -> Iterator[str]:
    if isinstance(value, str) and word in WORDS:
        yield value
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _sentences(inner, key)
    if isinstance(value, list):
        for inner in value:
            yield from _sentences(inner, word)


def in_band(exchange: dict) -> dict | None:
    """The error inside an answer whose status was 200."""
    if exchange["response"]["streaming"]:
        frames = spelled(answer_bytes(exchange))
        return next((f["error"] for f in frames if f.get("error")), None)
    try:
        return json.loads(corpus.body(exchange["response"])).get("error")
    except ValueError:
        return None


def failed_choice(exchange: dict) -> bool:
    """A provider's error in a place that no official client looks at: inside a choice of a stream."""
    frames = spelled(answer_bytes(exchange)) if exchange["response"]["streaming"] else []
    return any(choice.get("error") for frame in frames for choice in frame.get("choices") or [])


EVENT = re.compile(rb"(?s).*?(?:\r\n\r\n|\n\n)|.+\Z")


def without_usage(body: bytes) -> bytes:
    """A stream of chunks without those that hold usage and nothing else."""
    return b"".join([event for event in EVENT.findall(body) if not _is_usage(event)])


def _is_usage(event: bytes) -> bool:
    frames = spelled(event)
    found = frames[0] if frames else {}
    usage = found.get("usage") or (found.get("x_groq") or {}).get("usage")
    return bool(usage) and not found.get("choices") and not found.get("error")
