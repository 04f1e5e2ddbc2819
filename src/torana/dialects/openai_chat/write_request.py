"""Requests out: the canonical model as a Chat Completions body, in the accent of one target.

A setting the target cannot carry is named in the losses; a part of the conversation it cannot carry raises
UnsupportedContent. `home` below means that the request came from this dialect, so what only this dialect
understands goes back where it was.
"""

from msgspec import Struct

from torana.dialects.interface import Accent, Rendered, Traits, Undo
from torana.dialects.openai_chat.tools import render_choice, render_tool
from torana.dialects.openai_chat.wire import any_decoder, merged, object_decoder, present
from torana.dialects.openai_chat.write_messages import Names, Voice, render_messages
from torana.errors import UnsupportedContent
from torana.ir import Format, HostedTool, Loss, Reasoning, Request
from torana.ir import Tool as Offered
from torana.wire import json

DIALECT = "openai_chat"
PATH = "/chat/completions"
EFFORTS = (("low", 2048), ("medium", 8192), ("high", 16384))
# A thinking budget as an effort: the first level whose tokens suffice. The inverse of what gateways send.

Body = dict[str, object]


def path(model: str, *, stream: bool) -> str:
    """The model and the stream are named in the body."""
    _ = model, stream
    return PATH


def render_request(request: Request, traits: Traits = Traits()) -> Rendered:  # noqa: B008  # frozen
    losses: list[Loss] = []
    home = request.dialect == DIALECT
    named = Names.of(request, home=home)
    voice = Voice(traits, losses, named, home=home)
    body: Body = {"model": request.model, "messages": render_messages(request.messages, voice)}
    _say_tools(body, request, voice)
    _say_settings(body, request, traits, losses)
    _say_format(body, request.format, traits, losses, home=home)
    _say_reasoning(body, request.reasoning, traits.accent, losses)
    _say_stream(body, request, traits.accent, home=home)
    _say_extra(body, request, losses)
    body = _accented(body, traits.accent, losses)
    undo = Undo(named.undo) if named.undo else None
    return Rendered(json.encode(body), PATH, losses=tuple(losses), undo=undo)


# ---------------------------------------------------------------- tools


def _say_tools(body: Body, request: Request, voice: Voice) -> None:
    tools: list[object] = []
    for tool in request.tools or ():
        if isinstance(tool, Offered):
            tools.append(
                render_tool(
                    tool, voice.names.sent(tool.name, tool.namespace), home=voice.home, cached=voice.cached
                )
            )
            voice.lost_extra(tool.extra, f"tools[{tool.name}]")
            if tool.cache and not voice.cached:
                voice.lose(f"tools[{tool.name}].cache_control", "the target takes no cache marks")
            if tool.deferred:
                voice.lose(f"tools[{tool.name}].defer_loading", "Chat Completions loads every tool at once")
        elif voice.home:
            tools.append(tool.config)
        else:
            _say_hosted(body, tool, voice)
    if tools or (request.tools is not None and voice.home):
        body["tools"] = tools
    if (choice := request.choice) is not None and (tools or voice.home):
        customs = {
            tool.name for tool in request.tools or () if isinstance(tool, Offered) and tool.kind == "custom"
        }
        if choice.mode != "auto" or choice.names or choice.parallel is None:
            body["tool_choice"] = render_choice(choice, voice.names.chosen, customs)
        if choice.parallel is not None:
            body["parallel_tool_calls"] = choice.parallel
        voice.lost_extra(choice.extra, "tool_choice")


class _Place(Struct):
    city: str | None = None
    region: str | None = None
    country: str | None = None
    timezone: str | None = None


def _say_hosted(body: Body, tool: HostedTool, voice: Voice) -> None:
    """Search is the one hosted tool that Chat Completions knows, as an option of search models."""
    if tool.name != "web_search":
        raise UnsupportedContent(
            f"Chat Completions has no hosted tool {tool.type!r}; leave it out or call a provider that has it",
            param="tools",
        )
    fields = object_decoder.decode(tool.config) if tool.config else {}
    options: Body = {}
    located = fields.get("user_location")
    if located is not None and present(located):
        place = any_decoder.decode(located)  # {type: approximate, city, region, country, timezone}
        kept = {name: place[name] for name in _Place.__struct_fields__ if place.get(name)}
        options["user_location"] = {"type": "approximate", "approximate": kept}
    if present(size := fields.get("search_context_size")):
        options["search_context_size"] = size
    body["web_search_options"] = options
    voice.rewrite("tools[web_search]", "asked for as web_search_options")
    for name in fields.keys() - {"type", "name", "user_location", "search_context_size"}:
        voice.lose(f"tools[web_search].{name}", "web_search_options has no such setting")


# ---------------------------------------------------------------- settings


def _say_settings(body: Body, request: Request, traits: Traits, losses: list[Loss]) -> None:
    sampling = request.sampling
    for name in ("temperature", "top_p", "top_k", "min_p"):
        value = getattr(sampling, name)
        if value is not None and traits.sampling:
            body[name] = value
        elif value is not None:
            losses.append(Loss(name, "dropped", "the model does not take sampling settings"))
    for name in ("seed", "frequency_penalty", "presence_penalty", "repetition_penalty"):
        if (value := getattr(sampling, name)) is not None:
            body[name] = value
    if sampling.stop:
        body["stop"] = sampling.stop
    if sampling.logit_bias:
        body["logit_bias"] = sampling.logit_bias
    if request.max_tokens is not None:
        body["max_completion_tokens"] = request.max_tokens
    if request.n is not None:
        body["n"] = request.n
    if request.logprobs is not None:
        body["logprobs"] = True
        if request.logprobs:
            body["top_logprobs"] = request.logprobs
    _say_identity(body, request, losses)


def _say_identity(body: Body, request: Request, losses: list[Loss]) -> None:
    for name, value in (
        ("verbosity", request.verbosity),
        ("modalities", request.modalities),
        ("service_tier", request.tier),
        ("user", request.user),
        ("metadata", request.metadata),
        ("prompt_cache_key", request.cache_key),
    ):
        if value:
            body[name] = value
    if request.speech is not None:
        body["audio"] = {
            name: value
            for name, value in (("voice", request.speech.voice), ("format", request.speech.format))
            if value
        }
    if request.store is not None:
        body["store"] = request.store
    if request.cache and request.dialect == DIALECT:
        ttl = {} if request.cache == "default" else {"ttl": request.cache}
        body["cache_control"] = {"type": "ephemeral", **ttl}
    elif request.cache:
        losses.append(
            Loss("cache_control", "dropped", "Chat Completions has no cache mark for a whole request")
        )
    if request.previous:
        raise UnsupportedContent(
            "Chat Completions keeps no conversation: send the messages themselves instead of previous_response_id",
            param="previous_response_id",
        )


def _say_format(body: Body, format: Format | None, traits: Traits, losses: list[Loss], *, home: bool) -> None:
    if format is None:
        return
    said: Body = {"type": {"text": "text", "json": "json_object", "schema": "json_schema"}[format.kind]}
    if format.kind == "schema" and traits.structured is False:
        _ask_for_schema(body, format)
        said = {"type": "json_object"}
        losses.append(
            Loss("response_format", "rewritten", "the model takes no schema: asked for in the prompt")
        )
    elif format.kind == "schema":
        schema: Body = {} if home and not format.name else {"name": format.name or "answer"}
        if format.description:
            schema["description"] = format.description
        if format.schema:
            schema["schema"] = format.schema
        if format.strict is not None:
            schema["strict"] = format.strict
        said["json_schema"] = schema
    body["response_format"] = merged(said, format.extra) if home else said


def _ask_for_schema(body: Body, format: Format) -> None:
    schema = bytes(format.schema).decode() or "{}"
    asked = f"Answer with one JSON object that satisfies this JSON Schema, and nothing else:\n{schema}"
    messages = body["messages"]
    assert isinstance(messages, list)
    messages.insert(0, {"role": "system", "content": asked})


# ---------------------------------------------------------------- reasoning


def _say_reasoning(body: Body, asked: Reasoning | None, accent: Accent, losses: list[Loss]) -> None:
    if asked is None:
        return
    if asked.show:
        losses.append(Loss("reasoning.show", "dropped", "Chat Completions cannot ask for or hide summaries"))
    wanted = asked.enabled
    if wanted is None:
        wanted = asked.effort != "none" and asked.budget != 0
    match accent.reasoning:
        case "effort":
            _say_effort(body, asked, losses, wanted=wanted)
        case "object":
            body["reasoning"] = _object(asked)
        case "thinking":
            thinking: Body = {"type": "enabled" if wanted else "disabled"}
            if asked.budget:
                thinking["budget_tokens"] = asked.budget
            body["thinking"] = thinking
            if asked.effort and asked.effort != "none":
                body["reasoning_effort"] = asked.effort
        case "enable_thinking":
            body["enable_thinking"] = wanted
            _lost_detail(asked, losses)
        case "template":
            body["chat_template_kwargs"] = {"enable_thinking": wanted}
            _lost_detail(asked, losses)
        case "none":
            losses.append(Loss("reasoning", "dropped", "the provider takes no reasoning settings"))


def _say_effort(body: Body, asked: Reasoning, losses: list[Loss], *, wanted: bool) -> None:
    if asked.effort:
        body["reasoning_effort"] = asked.effort
    elif asked.budget:
        body["reasoning_effort"] = next((word for word, most in EFFORTS if asked.budget <= most), "high")
        losses.append(Loss("reasoning.max_tokens", "rewritten", "said as reasoning_effort"))
    elif not wanted:
        body["reasoning_effort"] = "none"
    else:
        losses.append(Loss("reasoning.enabled", "dropped", "the provider knows efforts only"))


def _object(asked: Reasoning) -> Body:
    said: Body = {}
    if asked.effort:
        said["effort"] = asked.effort
    if asked.budget is not None:
        said["max_tokens"] = asked.budget
    if asked.enabled is not None:
        said["enabled"] = asked.enabled
    return said


def _lost_detail(asked: Reasoning, losses: list[Loss]) -> None:
    if asked.effort not in ("", "none"):
        losses.append(Loss("reasoning.effort", "dropped", "the provider can only turn thinking on or off"))
    if asked.budget:
        losses.append(
            Loss("reasoning.max_tokens", "dropped", "the provider can only turn thinking on or off")
        )


# ---------------------------------------------------------------- the rest


def _say_stream(body: Body, request: Request, accent: Accent, *, home: bool) -> None:
    """A translated stream is always asked for its usage: the ledger needs it. A same-dialect one as it was."""
    if request.stream:
        body["stream"] = True
    if accent.stream_usage and (request.want_usage or (request.stream and not home)):
        body["stream_options"] = {"include_usage": True}


def _say_extra(body: Body, request: Request, losses: list[Loss]) -> None:
    if request.dialect == DIALECT:
        merged(body, request.extra)
        return
    why = "Chat Completions has no such parameter"
    losses += [Loss(name, "dropped", why) for name in request.extra or ()]


def _accented(body: Body, accent: Accent, losses: list[Loss]) -> Body:
    for name, words in accent.values.items():
        said = body.get(name)
        if isinstance(said, str) and said in words:
            body[name] = words[said]
    for name in accent.drop:
        if name in body:
            del body[name]
            losses.append(Loss(name, "dropped", "the provider does not take it"))
    if accent.rename:
        body = {accent.rename.get(name, name): value for name, value in body.items()}
    for name, value in accent.default.items():
        body.setdefault(name, value)
    return body
