"""The official clients against a whole Torana in front of one provider of each dialect."""

import json
from types import SimpleNamespace

import pytest

from provider import (
    CHAT,
    CHAT_DONE,
    CHAT_STREAM,
    CHAT_USAGE,
    MESSAGE,
    MESSAGE_START,
    MESSAGE_STREAM,
    Asked,
    Provider,
    chat_chunk,
    events,
    message_event,
    reply,
)
from running import SECRET, Running, provider

CITY = '{"city":"Oslo"}'
CHAT_CALL = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": CITY}}
CHAT_TOOLS = CHAT | {
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": None, "tool_calls": [CHAT_CALL]},
            "finish_reason": "tool_calls",
        }
    ]
}
CHAT_TOOLS_STREAM = (
    chat_chunk({"role": "assistant", "content": None}),
    chat_chunk(
        {"tool_calls": [{"index": 0, **CHAT_CALL, "function": {"name": "get_weather", "arguments": ""}}]}
    ),
    chat_chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"city":'}}]}),
    chat_chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Oslo"}'}}]}),
    chat_chunk({}, "tool_calls"),
    CHAT_USAGE,
    CHAT_DONE,
)
USE = {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"city": "Oslo"}}
MESSAGE_TOOLS = MESSAGE | {"content": [USE], "stop_reason": "tool_use"}
MESSAGE_TOOLS_STREAM = (
    MESSAGE_START,
    message_event("content_block_start", index=0, content_block=USE | {"input": {}}),
    message_event("ping"),
    message_event(
        "content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": '{"city":'}
    ),
    message_event(
        "content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": '"Oslo"}'}
    ),
    message_event("content_block_stop", index=0),
    message_event(
        "message_delta", delta={"stop_reason": "tool_use", "stop_sequence": None}, usage={"output_tokens": 2}
    ),
    message_event("message_stop"),
)


def chat_provider(asked: Asked):
    return _answer(asked, (CHAT, CHAT_STREAM, CHAT_TOOLS, CHAT_TOOLS_STREAM))


def messages_provider(asked: Asked):
    return _answer(asked, (MESSAGE, MESSAGE_STREAM, MESSAGE_TOOLS, MESSAGE_TOOLS_STREAM))


def _answer(asked: Asked, answers):
    """Calls the tool if there is one and its result has not come; breaks off for the text "cut"."""
    body = asked.json
    resulted = '"role": "tool"' in json.dumps(body) or "tool_result" in json.dumps(body)
    whole, stream = answers[2:] if body.get("tools") and not resulted else answers[:2]
    if '"cut' in json.dumps(body["messages"]):
        return events(*stream[:3])(asked)
    return (events(*stream) if body.get("stream") else reply(whole))(asked)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("torana")
    with Provider(chat_provider) as mock, Provider(messages_provider) as ant:
        providers = {"mock": provider(mock.url), "ant": provider(ant.url, "anthropic", auth="x-api-key")}
        with Running(folder, providers=providers) as torana:
            yield SimpleNamespace(torana=torana, mock=mock, ant=ant, key=SECRET)
