"""Requests in: what a Chat Completions body means, and the cheap look at one that is passed on as it is.

Everything the wire types do not name is carried: per message, per part, per tool, and for the whole.
"""

import re

from msgspec import MsgspecError, Raw
from msgspec.structs import replace

from torana.dialects.interface import Edits, Envelope, Head
from torana.dialects.openai_chat import wire
from torana.dialects.openai_chat.contents import mark, parse_content
from torana.dialects.openai_chat.parts import assistant_parts, citations_into
from torana.dialects.openai_chat.tools import arguments_text, is_known_choice, parse_choice, parse_tools
from torana.dialects.openai_chat.wire import (
    Message,
    Template,
    names,
    nested,
    object_decoder,
    objects_decoder,
    present,
    unknown,
)
from torana.errors import InvalidRequest
from torana.ir import (
    Extra,
    Format,
    Part,
    Reasoning,
    Refusal,
    Request,
    Role,
    Sampling,
    Speech,
    Text,
    ToolCall,
    ToolResult,
)
from torana.ir import Message as Turn
from torana.wire import json
from torana.wire.json import Object

DIALECT = "openai_chat"
REQUEST, MESSAGE = names(wire.Request), names(Message)
EFFORT, THINKING, TEMPLATE = names(wire.Effort), names(wire.Thinking), names(Template)
FORMAT, SCHEMA, AUDIO = names(wire.Format), names(wire.Schema), names(wire.Audio)
OPTIONS, BUDGET = names(wire.Options), names(wire.Budget)
_place = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


def decode(body: bytes | Raw) -> wire.Request:
    """The whole body against its types; the error names the field."""
    try:
        return json.read(wire.request_decoder, body, InvalidRequest)
    except InvalidRequest as error:
        found = _place.search(error.message)
        if found is not None and found["path"]:
            said = error.message[: found.start()]
            raise InvalidRequest(f"{said} in `{found['path']}`", param=found["path"]) from None
        missing = re.search(r"required field `(?P<name>\w+)`", error.message)
        raise InvalidRequest(error.message, param=missing["name"] if missing else None) from None


# ---------------------------------------------------------------- the envelope


def read_envelope(body: bytes, head: Head = Head()) -> Envelope:
    _ = head  # nothing of the head matters to this dialect
    object = Object(body)
    request = decode(body)
    options = request.stream_options
    maximum = request.max_completion_tokens
    return Envelope(
        object,
        request.model or "",
        request.stream is True,
        options is not None and options.include_usage is True,
        request.user or "",
        object.fields["metadata"] if request.metadata is not None else wire.NOTHING,
        request.n or 1,
        request.max_tokens if maximum is None else maximum,
        request,
    )


def splice(envelope: Envelope, edits: Edits) -> bytes:
    values: dict[str, bytes | None] = dict.fromkeys(edits.drop)
    if edits.model:
        values["model"] = json.encode(edits.model)
    if edits.want_usage and envelope.stream and not envelope.want_usage:
        values["stream_options"] = _with_usage(envelope.object.fields.get("stream_options"))
    return envelope.object.splice(values, edits.rename)


def _with_usage(options: Raw | None) -> bytes:
    if not present(options):
        return b'{"include_usage":true}'
    assert options is not None
    return Object(bytes(options)).splice({"include_usage": b"true"})


# ---------------------------------------------------------------- the whole


def parse_request(body: bytes, head: Head = Head(), envelope: Envelope | None = None) -> Request:
    _ = head
    if envelope is not None and isinstance(envelope.said, wire.Request):
        fields, said = envelope.object.fields, envelope.said
    else:
        fields, said = Object(body).fields, decode(body)
    try:
        return _request(said, fields)
    except (MsgspecError, RecursionError) as broken:  # numbers and escapes that were skipped until now
        raise InvalidRequest(f"the body cannot be read: {broken}") from None


def _request(said: wire.Request, fields: dict[str, Raw]) -> Request:
    options = said.stream_options
    maximum = said.max_tokens if said.max_completion_tokens is None else said.max_completion_tokens
    if maximum is None and said.n_predict is not None and said.n_predict >= 0:
        maximum = said.n_predict
    reasoning, extra = _reasoning(said, fields, _extra(said, fields))
    return Request(
        dialect=DIALECT,
        model=said.model or "",
        messages=_messages(said.messages, fields["messages"]),
        tools=parse_tools(said, fields),
        choice=parse_choice(said),
        sampling=_sampling(said, fields),
        max_tokens=maximum,
        n=said.n,
        logprobs=_logprobs(said),
        format=_format(said.response_format, fields),
        reasoning=reasoning,
        verbosity=said.verbosity or "",
        modalities=tuple(said.modalities or ()),
        speech=_speech(said.audio),
        stream=said.stream is True,
        want_usage=options is not None and options.include_usage is True,
        tier=said.service_tier or "",
        user=said.user or "",
        metadata=fields["metadata"] if said.metadata is not None else wire.NOTHING,
        store=said.store,
        cache=mark(said.cache_control),
        cache_key=said.prompt_cache_key or "",
        extra=extra,
    )


def _extra(said: wire.Request, fields: dict[str, Raw]) -> Extra:
    extra = unknown(fields, REQUEST)
    if said.stream_options is not None:
        extra = _inner(extra, fields, "stream_options", OPTIONS)
    if said.audio is not None:
        extra = _inner(extra, fields, "audio", AUDIO)
        if isinstance(said.audio.voice, dict):
            extra = nested(extra, "audio", {"voice": object_decoder.decode(fields["audio"])["voice"]})
    if not is_known_choice(said):
        extra = {**(extra or {}), "tool_choice": fields["tool_choice"]}
    if said.n_predict is not None and said.n_predict < 0:  # "until the end": no number says that
        extra = {**(extra or {}), "n_predict": fields["n_predict"]}
    return extra


def _inner(extra: Extra, fields: dict[str, Raw], name: str, known: frozenset[str]) -> Extra:
    return nested(extra, name, unknown(object_decoder.decode(fields[name]), known))


def _sampling(said: wire.Request, fields: dict[str, Raw]) -> Sampling:
    stop = (said.stop,) if isinstance(said.stop, str) else tuple(said.stop or ())
    return Sampling(
        said.temperature,
        said.top_p,
        said.top_k,
        said.min_p,
        said.random_seed if said.seed is None else said.seed,
        said.frequency_penalty,
        said.presence_penalty,
        said.repetition_penalty,
        stop,
        wire.NOTHING if said.logit_bias is None else fields["logit_bias"],
    )


def _logprobs(said: wire.Request) -> int | None:
    """`true` and a count beside it, or Together's bare count."""
    if said.logprobs is None or said.logprobs is False:
        return None
    if said.logprobs is True:
        return said.top_logprobs or 0
    return said.logprobs


def _speech(audio: wire.Audio | None) -> Speech | None:
    if audio is None:
        return None
    return Speech(audio.voice if isinstance(audio.voice, str) else "", audio.format or "")


def _format(said: wire.Format | None, fields: dict[str, Raw]) -> Format | None:
    if said is None:
        return None
    held = object_decoder.decode(fields["response_format"])
    extra = unknown(held, FORMAT)
    match said.type:
        case "text":
            return Format("text", extra=extra)
        case "json_object":
            return Format("json", extra=extra)
        case "json_schema":
            return _schema(said, held, extra)
    # {"type": "json", "value": {...}} and whatever comes: the word itself goes home
    return Format("json", extra={**(extra or {}), "type": held["type"]})


def _schema(said: wire.Format, held: dict[str, Raw], extra: Extra) -> Format:
    """json_schema{name,schema,strict}; Together's `schema` beside it; or the bare schema with a name in it."""
    inner = said.json_schema
    if inner is None:
        return Format("schema", said.schema, extra=extra)
    left = unknown(object_decoder.decode(held["json_schema"]), SCHEMA)
    schema = inner.schema
    if not schema and left:
        schema, left = Raw(json.encode(left)), None
    extra = nested(extra, "json_schema", left)
    return Format("schema", schema, inner.name or "", inner.description or "", inner.strict, extra)


def _reasoning(said: wire.Request, fields: dict[str, Raw], extra: Extra) -> tuple[Reasoning | None, Extra]:
    """One meaning of seven spellings. Their unknown inner fields stay in `extra` under the spelling's name."""
    enabled, effort, budget = said.enable_thinking, said.reasoning_effort or "", None
    seen = enabled is not None or bool(effort)
    if (asked := said.reasoning) is not None:
        seen, extra = True, _inner(extra, fields, "reasoning", EFFORT)
        effort = effort or asked.effort or ""
        budget = asked.max_tokens
        enabled = asked.enabled if enabled is None else enabled
    if (asked_budget := said.reasoning_options) is not None:
        seen, extra = True, _inner(extra, fields, "reasoning_options", BUDGET)
        budget = asked_budget.budget_tokens if budget is None else budget
    if (thinking := said.thinking) is not None:
        seen, extra = True, _inner(extra, fields, "thinking", THINKING)
        budget = thinking.budget_tokens if budget is None else budget
        if enabled is None and thinking.type in ("enabled", "disabled", "auto", "adaptive"):
            enabled = thinking.type != "disabled"
    for name in ("chat_template_kwargs", "chat_template_args"):
        template: Template | None = getattr(said, name)
        if template is not None:
            extra = _inner(extra, fields, name, TEMPLATE)
            if template.enable_thinking is not None:
                seen, enabled = True, template.enable_thinking if enabled is None else enabled
    return (Reasoning(enabled, effort, budget) if seen else None), extra


# ---------------------------------------------------------------- messages


class _Legacy:
    """Calls of the functions era have no ids; they are numbered, and results find the last call of their name."""

    __slots__ = ("count", "open")

    def __init__(self) -> None:
        self.count = 0
        self.open: dict[str, str] = {}

    def call(self, name: str) -> str:
        id = self.open[name] = f"call_{self.count}"
        self.count += 1
        return id


def _messages(said: list[Message], raw: Raw) -> list[Turn]:
    """Neighbouring tool messages become one user message: a tool's result is a part, not a speaker."""
    turns: list[Turn] = []
    legacy = _Legacy()
    results: list[Part] | None = None
    for message, fields in zip(said, objects_decoder.decode(raw), strict=True):
        if message.role in ("tool", "function"):
            if results is None:
                results = []
                turns.append(Turn("user", results))
            results.append(_result(message, fields, legacy))
            continue
        results = None
        turns.append(_turn(message.role, message, fields, legacy))
    return turns


def _turn(role: str, message: Message, fields: dict[str, Raw], legacy: _Legacy) -> Turn:
    extra = unknown(fields, MESSAGE)
    content = _content(message, fields)
    if role == "assistant":
        parts = assistant_parts(message, fields, content)
        if message.refusal:
            parts = _before_calls(parts, Refusal(message.refusal))
        if (called := message.function_call) is not None:
            id = legacy.call(called.name or "")
            parts.append(ToolCall(id, called.name or "", arguments_text(called.arguments)))
        if message.annotations:
            extra = citations_into(parts, message.annotations, fields["annotations"], extra)
    else:
        parts = content
        if message.tool_calls:
            extra = {**(extra or {}), "tool_calls": fields["tool_calls"]}
    if message.cache_control is not None:
        extra = _mark_last(parts, message, fields, extra)
    kind: Role = role  # type: ignore[assignment]  # "tool" and "function" were taken by the caller
    return Turn(kind, parts, message.name or "", extra)


def _before_calls(parts: list[Part], refusal: Refusal) -> list[Part]:
    at = next((i for i, part in enumerate(parts) if isinstance(part, ToolCall)), len(parts))
    return [*parts[:at], refusal, *parts[at:]]


def _mark_last(parts: list[Part], message: Message, fields: dict[str, Raw], extra: Extra) -> Extra:
    """A mark on a message is a mark after its last part."""
    if parts and isinstance(parts[-1], Text | ToolCall):
        parts[-1] = replace(parts[-1], cache=mark(message.cache_control))
        return extra
    return {**(extra or {}), "cache_control": fields["cache_control"]}


def _content(message: Message, fields: dict[str, Raw]) -> list[Part]:
    content = message.content
    if content is None:
        return []
    if isinstance(content, str):
        return [Text(content)]
    if not isinstance(content, list):  # a lone element outside its list
        return [parse_content(content, fields["content"])]
    raws = wire.raws_decoder.decode(fields["content"])
    return [
        Text(element) if isinstance(element, str) else parse_content(element, raw)
        for element, raw in zip(content, raws, strict=True)
    ]


def _result(message: Message, fields: dict[str, Raw], legacy: _Legacy) -> ToolResult:
    name = message.name or ""
    id = message.tool_call_id or ""
    if message.role == "function":
        id = legacy.open.get(name, "")
    return ToolResult(
        id,
        name,
        tuple(_content(message, fields)),
        cache=mark(message.cache_control),
        extra=unknown(fields, MESSAGE),
    )
