"""Tools and calls: function, custom and hosted; the legacy `functions` read as what replaced them."""

from collections.abc import Callable
from typing import Literal

from msgspec import Raw

from torana.dialects.openai_chat.contents import control, mark
from torana.dialects.openai_chat.wire import (
    Call,
    CalledCustom,
    CalledFunction,
    Choice,
    Custom,
    Function,
    Request,
    Tool,
    merged,
    names,
    nested,
    object_decoder,
    objects_decoder,
    unknown,
)
from torana.errors import InvalidRequest
from torana.ir import HostedTool, Seal, ToolCall, ToolChoice
from torana.ir import Tool as Offered
from torana.wire import json

CALL, TOOL = names(Call), names(Tool)
FUNCTION, CUSTOM = names(Function), names(Custom)
CALLED, CALLED_CUSTOM = names(CalledFunction), names(CalledCustom)
HOSTED = {
    "web_search": "web_search",
    "web_search_preview": "web_search",
    "openrouter:web_search": "web_search",
    "browser_search": "web_search",
    "visit_website": "web_fetch",
    "code_interpreter": "code_execution",
    "code_execution": "code_execution",
    "file_search": "file_search",
    "image_generation": "image_generation",
    "mcp": "mcp",
    "tool_search": "tool_search",
    "x_search": "x_search",
}
NOTHING = Raw(b"")

# ---------------------------------------------------------------- offered


def parse_tools(wire: Request, fields: dict[str, Raw]) -> list[Offered | HostedTool] | None:
    if wire.tools is None and wire.functions is None:
        return None
    tools: list[Offered | HostedTool] = []
    if wire.tools:
        raws = objects_decoder.decode(fields["tools"])
        tools = [
            _parse_tool(tool, raw, i) for i, (tool, raw) in enumerate(zip(wire.tools, raws, strict=True))
        ]
    if wire.functions:
        raws = objects_decoder.decode(fields["functions"])
        for function, raw in zip(wire.functions, raws, strict=True):
            tools.append(_offered(function, raw, "", unknown(raw, FUNCTION)))
    return tools


def _parse_tool(tool: Tool, raw: dict[str, Raw], place: int) -> Offered | HostedTool:
    cache = mark(tool.cache_control)
    if tool.function is not None and tool.type in (None, "function"):
        function = object_decoder.decode(raw["function"])
        extra = nested(unknown(raw, TOOL), "function", unknown(function, FUNCTION))
        return _offered(tool.function, function, cache, extra)
    if tool.custom is not None and tool.type == "custom":
        custom = object_decoder.decode(raw["custom"])
        extra = nested(unknown(raw, TOOL), "custom", unknown(custom, CUSTOM))
        grammar = NOTHING if tool.custom.format is None else custom["format"]
        return Offered(
            tool.custom.name,
            tool.custom.description or "",
            kind="custom",
            grammar=grammar,
            cache=cache,
            extra=extra,
        )
    if tool.type in (None, "function", "custom"):
        where = f"tools[{place}].{tool.type or 'function'}"
        raise InvalidRequest(f"`{where}` is missing", param=where)
    return HostedTool(tool.type, HOSTED.get(tool.type, ""), Raw(json.encode(raw)), cache)


def _offered(function: Function, raw: dict[str, Raw], cache: str, extra: dict[str, Raw] | None) -> Offered:
    schema = NOTHING if function.parameters is None else raw["parameters"]
    return Offered(
        function.name,
        function.description or "",
        schema,
        function.strict,
        cache=cache,
        extra=extra,
    )


def render_tool(tool: Offered, name: str, *, home: bool, cached: bool) -> dict[str, object]:
    function: dict[str, object] = {"name": name}
    if tool.description:
        function["description"] = tool.description
    if tool.kind == "custom":
        if tool.grammar:
            function["format"] = tool.grammar
        body: dict[str, object] = {"type": "custom", "custom": function}
    else:
        if tool.schema:
            function["parameters"] = tool.schema
        if tool.strict is not None:
            function["strict"] = tool.strict
        body = {"type": "function", "function": function}
    if tool.cache and cached:
        body["cache_control"] = control(tool.cache)
    return merged(body, tool.extra) if home else body


# ---------------------------------------------------------------- chosen


def parse_choice(wire: Request) -> ToolChoice | None:
    """A choice nobody knows is left to `extra` by the caller of this function: see `is_known_choice`."""
    parallel = wire.parallel_tool_calls
    chosen = wire.tool_choice
    if chosen is None and wire.function_call is not None:
        called = wire.function_call
        chosen = called if isinstance(called, str) else Choice("function", called.name)
    if isinstance(chosen, Choice):
        return _named(chosen, parallel)
    match chosen:
        case "auto" | "none" | "required":
            return ToolChoice(chosen, parallel=parallel)
        case "any":
            return ToolChoice("required", parallel=parallel)
    return None if parallel is None else ToolChoice(parallel=parallel)


def is_known_choice(wire: Request) -> bool:
    chosen = wire.tool_choice
    if isinstance(chosen, Choice):
        return chosen.allowed_tools is not None or bool(_name(chosen))
    return chosen in (None, "auto", "none", "required", "any")


def _named(chosen: Choice, parallel: bool | None) -> ToolChoice | None:
    if chosen.allowed_tools is not None:
        found = tuple([name for tool in chosen.allowed_tools.tools if (name := _name(tool))])
        mode: Literal["auto", "required"] = "required" if chosen.allowed_tools.mode == "required" else "auto"
        return ToolChoice(mode, found, parallel)
    if name := _name(chosen):
        return ToolChoice("required", (name,), parallel)
    return None if parallel is None else ToolChoice(parallel=parallel)


def _name(chosen: Choice) -> str:
    """{type, function{name}}, and the flat {type, name} of other APIs."""
    held = chosen.function or chosen.custom
    return (held.name if held else "") or chosen.name or ""


def render_choice(choice: ToolChoice, sent: Callable[[str], str], customs: set[str]) -> object:
    """`sent` makes of the caller's name of a tool the name as sent."""

    def one(name: str) -> dict[str, object]:
        kind = "custom" if name in customs else "function"
        return {"type": kind, kind: {"name": sent(name)}}

    if not choice.names:
        return choice.mode
    if choice.mode == "required" and len(choice.names) == 1:
        return one(choice.names[0])
    tools = [one(name) for name in choice.names]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": tools}}


# ---------------------------------------------------------------- called


def parse_call(call: Call, raw: dict[str, Raw], seal: Seal | None = None) -> ToolCall:
    extra = unknown(raw, CALL)
    cache = mark(call.cache_control)
    if call.extra_content:  # Google's endpoint signs calls here
        extra = {**(extra or {}), "extra_content": call.extra_content}
        seal = google_seal(call.extra_content) or seal
    if call.custom is not None and call.function is None:
        if "custom" in raw:
            extra = nested(extra, "custom", unknown(object_decoder.decode(raw["custom"]), CALLED_CUSTOM))
        called = call.custom
        return ToolCall(
            call.id or "",
            called.name or "",
            called.input or "",
            "custom",
            seal=seal,
            cache=cache,
            extra=extra,
        )
    function = call.function or CalledFunction()
    if "function" in raw:
        extra = nested(extra, "function", unknown(object_decoder.decode(raw["function"]), CALLED))
    return ToolCall(
        call.id or "",
        function.name or "",
        arguments_text(function.arguments),
        seal=seal,
        cache=cache,
        extra=extra,
    )


def arguments_text(arguments: str | dict[str, Raw] | None) -> str:
    """Some clients send the object itself instead of its text."""
    if isinstance(arguments, dict):
        return json.encode(arguments).decode()
    return arguments or ""


def google_seal(raw: Raw) -> Seal | None:
    """{"google": {"thought_signature": "..."}}"""
    if bytes(memoryview(raw)[:1]) != b"{":
        return None
    google = object_decoder.decode(raw).get("google", NOTHING)
    if bytes(memoryview(google)[:1]) != b"{":
        return None
    signature = bytes(object_decoder.decode(google).get("thought_signature", NOTHING)).strip(b'"').decode()
    return Seal(signature, "gemini") if signature and signature != "null" else None


def render_call(call: ToolCall, name: str, *, home: bool, cached: bool) -> dict[str, object]:
    """A call without arguments has the empty object: clients parse what they get."""
    if call.kind == "custom":
        body: dict[str, object] = {
            "id": call.id,
            "type": "custom",
            "custom": {"name": name, "input": call.text},
        }
    else:
        body = {
            "id": call.id,
            "type": "function",
            "function": {"name": name, "arguments": call.text or "{}"},
        }
    if call.cache and cached:
        body["cache_control"] = control(call.cache)
    return merged(body, call.extra) if home else body
