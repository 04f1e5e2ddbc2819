"""Requests as Anthropic's callers write them: read whole, read as an envelope, edited in place.

Tool results ride in user messages, the system prompt sits outside the list (and, for Claude Code, inside it too),
max_tokens is mandatory. Vertex and Bedrock name the model in the path.
"""

import re
from typing import Annotated

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder

from torana.dialects.anthropic import wire
from torana.dialects.anthropic.blocks import parse_cache, parse_content
from torana.dialects.anthropic.settings import (
    parse_choice,
    parse_metadata,
    parse_output,
    parse_reasoning,
    parse_tool,
)
from torana.dialects.anthropic.spelling import block_of
from torana.dialects.anthropic.wire import DIALECT, MESSAGES_MAX, TOOLS_MAX, Number, Tokens, said
from torana.dialects.interface import Edits, Envelope, Head
from torana.errors import InvalidRequest
from torana.ir import HostedTool, Message, Request, Sampling, Text, Tool
from torana.wire.json import Object, encode, read

BILLING = "x-anthropic-billing-header"
# Claude Code opens its system prompt with a line for Anthropic's books, which changes with every release. It is no
# word to the model: `extra` has the block under this name, and only Anthropic gets it back.

_PATH_MODEL = re.compile(r"/models?/([^/:]{1,256})(?::(\w+)|/(invoke[\w-]*))$")
# .../publishers/anthropic/models/MODEL:streamRawPredict, .../model/MODEL/invoke-with-response-stream


def named_by(path: str) -> tuple[str, bool]:
    """The model a path names and whether it streams."""
    match = _PATH_MODEL.search(path)
    if match is None:
        return "", False
    verb = match[2] or match[3]
    return match[1], "stream" in verb


def path(model: str, *, stream: bool) -> str:  # noqa: ARG001  the interface's: other dialects name both in the path
    return "/v1/messages"


# ---------------------------------------------------------------- the whole of it


def parse_request(body: bytes, head: Head = Head(), envelope: Envelope | None = None) -> Request:
    _ = envelope  # an outline, from which nothing of the conversation can be taken over
    wire.check_utf8(body, InvalidRequest)
    fields, extra = wire.REQUEST.read(body, InvalidRequest)
    model, streams = named_by(head.path)
    if not (fields.model or model):
        raise InvalidRequest("the request names no model", param="model")
    cache, extra = parse_cache(fields.cache_control, extra, InvalidRequest)
    effort, format, more = parse_output(fields.output_config, fields.output_format)
    user, metadata = parse_metadata(fields.metadata)
    billing: dict[str, Raw] = {}
    return Request(
        dialect=DIALECT,
        model=fields.model or model,
        messages=_messages(fields, billing),
        tools=_tools(fields.tools),
        choice=parse_choice(fields.tool_choice),
        sampling=Sampling(
            temperature=fields.temperature,
            top_p=fields.top_p,
            top_k=fields.top_k,
            stop=tuple(fields.stop_sequences or ()),
        ),
        max_tokens=fields.max_tokens,
        format=format,
        reasoning=parse_reasoning(fields.thinking, effort),
        stream=bool(fields.stream) or streams,
        want_usage=True,
        tier=fields.service_tier or "",
        user=user,
        metadata=metadata,
        cache=cache,
        extra={**(extra or {}), **(more or {}), **billing} or None,
    )


def _messages(fields: wire.RequestFields, billing: dict[str, Raw]) -> list[Message]:
    messages = _system(fields.system, billing)
    for at, raw in enumerate(fields.messages):
        where = f"messages.{at}"
        try:
            message, extra = wire.MESSAGE.read(raw, InvalidRequest)
        except InvalidRequest as exc:
            raise InvalidRequest(f"{where}: {exc.message}", param=where) from None
        parts = parse_content(message.content, InvalidRequest, f"{where}.content")
        messages.append(Message(message.role, parts, extra=extra))
    return messages


def _system(raw: Raw, billing: dict[str, Raw]) -> list[Message]:
    if not said(raw):
        return []
    parts = parse_content(raw, InvalidRequest, "system")
    if parts and isinstance(first := parts[0], Text) and first.text.startswith(BILLING):
        in_list = wire.first_byte(raw) == wire.BRACKET
        block = read(wire.LIST, raw, InvalidRequest)[0] if in_list else Raw(encode(block_of(first)))
        billing[BILLING] = block
        parts = parts[1:]
    return [Message("system", parts)] if parts else []


def _tools(raws: list[Raw] | None) -> list[Tool | HostedTool] | None:
    if raws is None:
        return None
    tools = []
    for at, raw in enumerate(raws):
        try:
            tools.append(parse_tool(raw))
        except InvalidRequest as exc:
            raise InvalidRequest(f"tools.{at}: {exc.message}", param=f"tools.{at}") from None
    return tools


# ---------------------------------------------------------------- the envelope


class _Block(Struct):
    """What any known block holds where its type is a string. A block that holds something else is read again by
    parse_request, which knows whether its type is one of ours."""

    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    id: str | None = None
    name: str | None = None
    tool_use_id: str | None = None
    is_error: bool | None = None


class _Message(Struct):
    role: wire.Role
    content: str | list[_Block]


class _Tool(Struct):
    type: str | None = None
    name: str | None = None
    description: str | None = None
    input_schema: dict[str, Raw] | None = None


class _Metadata(Struct):
    user_id: str | None = None


class _Thinking(Struct):
    type: str
    budget_tokens: Tokens | None = None


class _Choice(Struct):
    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Outline(Struct, kw_only=True):
    messages: Annotated[list[_Message], Meta(max_length=MESSAGES_MAX)]
    model: str | None = None
    max_tokens: Tokens | None = None
    stream: bool | None = None
    system: str | list[_Block] | None = None
    tools: Annotated[list[_Tool], Meta(max_length=TOOLS_MAX)] | None = None
    tool_choice: _Choice | None = None
    temperature: Number | None = None
    top_p: Number | None = None
    top_k: Number | None = None
    stop_sequences: list[str] | None = None
    thinking: _Thinking | None = None
    metadata: _Metadata | None = None
    service_tier: str | None = None


_outline = Decoder(_Outline)


def read_envelope(body: bytes, head: Head = Head()) -> Envelope:
    object = Object(body)
    try:
        outline = read(_outline, body, InvalidRequest)
    except InvalidRequest:
        request = parse_request(body, head)  # says which field is wrong, or that it is no field of ours
        return Envelope(
            object,
            request.model,
            request.stream,
            want_usage=True,
            user=request.user,
            metadata=object.fields.get("metadata", Raw(b"")),
            max_tokens=request.max_tokens,
        )
    model, streams = outline.model or "", bool(outline.stream)
    if head.path and (not model or not streams):
        named, streaming = named_by(head.path)
        model, streams = model or named, streams or streaming
    if not model:
        raise InvalidRequest("the request names no model", param="model")
    user = (outline.metadata.user_id or "") if outline.metadata is not None else ""
    metadata = object.fields.get("metadata", Raw(b""))
    return Envelope(object, model, streams, True, user, metadata, 1, outline.max_tokens)


def splice(envelope: Envelope, edits: Edits) -> bytes:
    """Usage needs no asking here: every stream of Anthropic's has it."""
    values: dict[str, bytes | None] = dict.fromkeys(edits.drop)
    if edits.model:
        values["model"] = encode(edits.model)
    return envelope.object.splice(values, edits.rename)
