"""What is said in a benchmark: requests and answers of about 1 KB in the two wire formats, built once.

Shapes follow the providers' public API references; the words are ours. Knows nothing of sockets or gateways.
"""

import json
from collections.abc import Iterable
from typing import Any

MARK = "Torana carries the words"  # every whole answer holds it, so that an error page cannot pass for one
_WORDS = f"{MARK} of the river past the gate, and the gate keeps the count of them. "
_QUESTION = "Say in plain words what a gateway between callers and providers has to remember, and why. "
_USAGE_CHAT = {"prompt_tokens": 212, "completion_tokens": 128, "total_tokens": 340}
_USAGE_ANTHROPIC = {"input_tokens": 212, "output_tokens": 128}


def _json(value: Any) -> bytes:  # any JSON object
    return json.dumps(value, separators=(",", ":")).encode()


def chat_request(model: str, *, stream: bool) -> bytes:
    body = {
        "model": model,
        "messages": [
            {"role": "system", "content": "You answer briefly. " + _QUESTION * 3},
            {"role": "user", "content": _QUESTION * 6},
        ],
        "max_tokens": 256,
        "temperature": 0.2,
    }
    return _json(body | {"stream": True} if stream else body)


def messages_request(model: str, *, stream: bool) -> bytes:
    body = {
        "model": model,
        "system": "You answer briefly. " + _QUESTION * 3,
        "messages": [{"role": "user", "content": _QUESTION * 6}],
        "max_tokens": 256,
    }
    return _json(body | {"stream": True} if stream else body)


def chat_answer() -> bytes:
    message: dict[str, Any] = {"role": "assistant", "content": _WORDS * 7, "refusal": None, "annotations": []}
    return _json(
        {
            "id": "chatcmpl-bench000000000000000000000000",
            "object": "chat.completion",
            "created": 1760000000,
            "model": "gpt-bench",
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": _USAGE_CHAT
            | {
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
            },
            "service_tier": "default",
            "system_fingerprint": "fp_bench",
        }
    )


def messages_answer() -> bytes:
    return _json(
        {
            "id": "msg_bench000000000000000000",
            "type": "message",
            "role": "assistant",
            "model": "claude-bench",
            "content": [{"type": "text", "text": _WORDS * 7}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": _USAGE_ANTHROPIC | {"cache_creation_input_tokens": 0, "cache_read_input_tokens": 0},
        }
    )


def _chat_chunk(choices: list[dict[str, Any]], extra: dict[str, Any]) -> bytes:  # chat.completion.chunk
    chunk = {
        "id": "chatcmpl-bench000000000000000000000000",
        "object": "chat.completion.chunk",
        "created": 1760000000,
        "model": "gpt-bench",
        "service_tier": "default",
        "system_fingerprint": "fp_bench",
        "choices": choices,
    }
    return b"data: " + _json(chunk | extra) + b"\n\n"


def _chat_choice(delta: dict[str, str | None], finish: str | None = None) -> list[dict[str, Any]]:
    return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]


def _words(count: int) -> Iterable[str]:
    words = _WORDS.split()
    return (f"{words[index % len(words)]} " for index in range(count))


def chat_events(count: int, *, usage: bool) -> list[bytes]:
    """`count` text deltas between the opening and the closing events."""
    silent: dict[str, Any] = {"usage": None} if usage else {}  # as the API does when usage was asked for
    events = [_chat_chunk(_chat_choice({"role": "assistant", "content": "", "refusal": None}), silent)]
    events += [_chat_chunk(_chat_choice({"content": word}), silent) for word in _words(count)]
    events.append(_chat_chunk(_chat_choice({}, "stop"), silent))
    if usage:
        events.append(_chat_chunk([], {"usage": _USAGE_CHAT}))
    events.append(b"data: [DONE]\n\n")
    return events


def messages_events(count: int) -> list[bytes]:
    """`count` text deltas between the opening and the closing events."""
    message = json.loads(messages_answer()) | {"content": [], "stop_reason": None}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ]
    events += [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}
        for word in _words(count)
    ]
    events += [
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 128},
        },
        {"type": "message_stop"},
    ]
    return [b"event: %s\ndata: %s\n\n" % (event["type"].encode(), _json(event)) for event in events]
