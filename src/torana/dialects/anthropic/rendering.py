"""A request, written for Anthropic: from our own dialect as it stands, from another adapted and every change named.

https://platform.claude.com/docs/en/api/messages
"""

from torana.dialects.anthropic.draft import Draft
from torana.dialects.anthropic.reasoning import (
    adapt_reasoning,
    adapt_sampling,
    own_reasoning,
    set_sampling,
    thinks,
)
from torana.dialects.anthropic.requests import BILLING, path
from torana.dialects.anthropic.schemas import answer_schema, is_plain_object
from torana.dialects.anthropic.spelling import block_of, cache_control
from torana.dialects.anthropic.tooling import (
    adapted_choice,
    adapted_tools,
    customs,
    forces,
    own_choice,
    own_tool,
    remembered_tools,
    reserve_names,
)
from torana.dialects.anthropic.turns import Turn, adapted_turns, own_turns
from torana.dialects.anthropic.wire import DIALECT
from torana.dialects.interface import Rendered, Undo
from torana.errors import InvalidRequest
from torana.ir import Opaque, Part, Request, Text
from torana.records import Traits
from torana.wire.json import encode, fields

VERSION = "2023-06-01"  # what a request speaks when nobody says otherwise: https://platform.claude.com/docs/en/api/versioning
ANSWER_TOOL = "json_answer"
ASK_OBJECT = "Answer with one JSON object and nothing else: no other text, no code fence."
ASK_SCHEMA = (
    "Answer with JSON that matches this JSON Schema and nothing else: no other text, no code fence.\n{}"
)
USER_CHARS_MAX = 256  # "Maximum length 256"
TIERS = {"auto": "auto", "default": "standard_only", "standard_only": "standard_only"}


def render_request(request: Request, traits: Traits = Traits()) -> Rendered:
    draft = Draft(request, traits)
    body: dict[str, object] = {"model": request.model} if request.model else {}
    undo = None
    if draft.own:
        _own(draft, body)
    else:
        undo = _adapt(draft, body)
    if request.stream:
        body["stream"] = True
    headers = [("anthropic-version", traits.version or VERSION)]
    if draft.betas:
        headers.append(("anthropic-beta", ",".join(dict.fromkeys(draft.betas))))
    return Rendered(
        encode(body), path(request.model, stream=request.stream), tuple(headers), tuple(draft.losses), undo
    )


def _set_system(body: dict[str, object], parts: list[Part]) -> None:
    if len(parts) == 1 and isinstance(parts[0], Text) and parts[0] == Text(parts[0].text):
        body["system"] = parts[0].text
    elif parts:
        body["system"] = [block_of(part) for part in parts]


# ---------------------------------------------------------------- our own dialect


def _own(draft: Draft, body: dict[str, object]) -> None:
    request, sampling = draft.request, draft.request.sampling
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    system, body["messages"] = own_turns(draft)
    if request.extra and BILLING in request.extra:
        system = [Opaque(DIALECT, request.extra[BILLING]), *system]
    _set_system(body, system)
    if request.tools is not None:
        body["tools"] = [own_tool(tool) for tool in request.tools]
    if request.choice is not None:
        body["tool_choice"] = own_choice(request.choice)
    set_sampling(draft, body, sampling.temperature, sampling.top_p, sampling.top_k)
    if sampling.stop:
        body["stop_sequences"] = sampling.stop
    if request.tier:
        body["service_tier"] = request.tier
    if request.cache:
        body["cache_control"] = cache_control(request.cache)
    metadata = fields(request.metadata) if request.metadata else {}
    if request.user or metadata:
        body["metadata"] = ({"user_id": request.user} if request.user else {}) | metadata
    _own_output(draft, body)


def _own_output(draft: Draft, body: dict[str, object]) -> None:
    extra = {name: value for name, value in (draft.request.extra or {}).items() if name != BILLING}
    output: dict[str, object] = {}
    own_reasoning(draft.request.reasoning, body, output)
    if (format := draft.request.format) is not None:
        more = dict(format.extra or {})
        output["format"] = more.pop("format", None) or {
            "type": "json_schema",
            "schema": format.schema,
            **more,
        }
    if "output_config" in extra:
        output |= fields(extra.pop("output_config"))
    if output:
        body["output_config"] = output
    body |= extra


# ---------------------------------------------------------------- another dialect


def _adapt(draft: Draft, body: dict[str, object]) -> Undo | None:
    if draft.request.previous:
        raise InvalidRequest(
            "previous_response_id names a conversation that is not here: send its messages",
            param="previous_response_id",
        )
    reserve_names(draft)
    system, turns = adapted_turns(draft)
    tools, choice = adapted_tools(draft), adapted_choice(draft)
    if not tools:
        tools = remembered_tools(draft)
        choice = {"type": "none"} if tools else None
    output: dict[str, object] = {}
    adapt_reasoning(draft, body, output, _why_not_think(draft, choice, turns))
    answer_tool = _adapt_format(draft, body, output, system, tools)
    if answer_tool is not None:
        tools, choice = [answer_tool], {"type": "tool", "name": ANSWER_TOOL}
    adapt_sampling(draft, body)
    _set_system(body, system)
    body["messages"] = turns
    written = {"tools": tools, "tool_choice": choice, "output_config": output}
    body |= {name: value for name, value in written.items() if value}
    _adapt_rest(draft, body)
    undo = Undo(draft.names.changed(), customs(draft), ANSWER_TOOL if answer_tool is not None else "")
    return None if undo == Undo() else undo


def _why_not_think(draft: Draft, choice: dict[str, object] | None, turns: list[Turn]) -> str:
    if forces(choice):
        return "a model that is made to call a tool cannot think first"
    if draft.traits.thinking == "budget" and _in_silent_loop(turns):
        return "the call being answered came without its thoughts, which a thinking model wants back"
    return ""


def _in_silent_loop(turns: list[Turn]) -> bool:
    """The last turn answers calls, and the turn that made them holds no thought."""
    if len(turns) < 2 or not _holds(turns[-1], "tool_result"):
        return False
    return not _holds(turns[-2], "thinking") and not _holds(turns[-2], "redacted_thinking")


def _holds(turn: Turn, kind: str) -> bool:
    content = turn["content"]
    return isinstance(content, list) and any(
        isinstance(block, dict) and block.get("type") == kind for block in content
    )


def _adapt_format(
    draft: Draft,
    body: dict[str, object],
    output: dict[str, object],
    system: list[Part],
    tools: list[dict[str, object]],
) -> dict[str, object] | None:
    """By the model's own means, else by a tool it has to call, else by asking. Returns that tool."""
    format = draft.request.format
    if format is None or format.kind == "text":
        return None
    if format.kind == "json" or not format.schema:
        system.append(Text(ASK_OBJECT))
        draft.change("response_format", "Anthropic has no JSON mode, so the model was asked for an object")
        return None
    if draft.traits.structured:
        schema, changed = answer_schema(format.schema)
        output["format"] = {"type": "json_schema", "schema": schema}
        if changed:
            draft.change(
                "response_format", "bounds that Anthropic does not enforce were put into descriptions"
            )
        return None
    if tools or thinks(body) or not is_plain_object(format.schema):
        system.append(Text(ASK_SCHEMA.format(bytes(format.schema).decode())))
        draft.change("response_format", "the model is not known to keep to a schema, so it was asked to")
        return None
    draft.change("response_format", "the model answers through a tool that has the schema")
    return {
        "name": ANSWER_TOOL,
        "description": format.description or "Give the answer through this tool.",
        "input_schema": format.schema,
    }


def _adapt_rest(draft: Draft, body: dict[str, object]) -> None:
    request = draft.request
    stops = [stop for stop in request.sampling.stop if stop.strip()]
    if len(stops) < len(request.sampling.stop):
        draft.lose("stop", "Anthropic refuses stop sequences of white space")
    if stops:
        body["stop_sequences"] = stops
    if request.tier in TIERS:
        body["service_tier"] = TIERS[request.tier]
    elif request.tier:
        draft.lose("service_tier", f"Anthropic has no tier {request.tier!r}")
    if request.cache in ("default", "5m", "1h"):
        body["cache_control"] = cache_control(request.cache)
    elif request.cache:
        draft.lose("prompt_cache_options", "Anthropic keeps a prompt for 5m or 1h")
    if request.user and "@" not in request.user and len(request.user) <= USER_CHARS_MAX:
        body["metadata"] = {"user_id": request.user}
    elif request.user:
        draft.lose("user", "metadata.user_id must not name a person and has at most 256 characters")
    _name_the_lost(draft)


def _name_the_lost(draft: Draft) -> None:
    request = draft.request
    lost = {
        "n": request.n is not None and request.n > 1,
        "logprobs": request.logprobs is not None,
        "modalities": bool(set(request.modalities) - {"text"}),
        "audio": request.speech is not None,
        "verbosity": bool(request.verbosity),
        "metadata": bool(request.metadata),
        "store": bool(request.store),
        "prompt_cache_key": bool(request.cache_key),
    }
    for where in (*[name for name, is_lost in lost.items() if is_lost], *(request.extra or ())):
        draft.lose(where, "Anthropic has no such setting")
