"""Tools and their choice, written for Anthropic."""

from typing import (
    Any,
)  # the JSON of a foreign hosted tool: {"type": str, "filters": {...}, "user_location": {...}}

from msgspec import Raw
from msgspec.json import Decoder

from torana.dialects.anthropic.draft import Draft
from torana.dialects.anthropic.naming import full_name
from torana.dialects.anthropic.schemas import EMPTY, input_schema
from torana.dialects.anthropic.spelling import cache_control
from torana.dialects.anthropic.turns import calls_in
from torana.errors import InvalidRequest, UnsupportedContent
from torana.ir import HostedTool, Tool, ToolChoice
from torana.wire.json import read

CUSTOM_SCHEMA = Raw(b'{"type":"object","properties":{"input":{"type":"string"}},"required":["input"]}')
# a tool that takes free text becomes a function with this one string; the answer is unwrapped by `Undo.customs`
OURS = ("input_examples", "allowed_callers", "eager_input_streaming")
# fields of a tool that callers of other dialects write for Anthropic

HOSTED_TYPES = {
    "web_search": ("web_search_20250305", "web_search", ""),
    "web_fetch": ("web_fetch_20250910", "web_fetch", "web-fetch-2025-09-10"),
    "code_execution": ("code_execution_20250825", "code_execution", "code-execution-2025-08-25"),
}
# the shared name -> type, name and beta: the oldest version that does the work, which the most models take

_config = Decoder(dict[str, Any])


def own_tool(tool: Tool | HostedTool) -> dict[str, object] | Raw:
    if isinstance(tool, HostedTool):
        return tool.config
    return _tool(tool.name, tool.description, tool.schema) | _flags(tool) | (tool.extra or {})


def _tool(name: str, description: str, schema: Raw) -> dict[str, object]:
    fields: dict[str, object] = {"name": name}
    if description:
        fields["description"] = description
    return fields | ({"input_schema": schema} if schema else {})


def _flags(tool: Tool) -> dict[str, object]:
    fields: dict[str, object] = {}
    if tool.strict is not None:
        fields["strict"] = tool.strict
    if tool.deferred:
        fields["defer_loading"] = True
    if tool.cache:
        fields["cache_control"] = cache_control(tool.cache)
    return fields


# ---------------------------------------------------------------- another dialect's


def reserve_names(draft: Draft) -> None:
    tools = draft.request.tools or ()
    draft.names.reserve([full_name(tool.name, tool.namespace) for tool in tools if isinstance(tool, Tool)])


def adapted_tools(draft: Draft) -> list[dict[str, object]]:
    choice = draft.request.choice
    allowed = choice.names if choice is not None and not _forces_one(choice) else ()
    tools = []
    for at, tool in enumerate(draft.request.tools or ()):
        if allowed and tool.name not in allowed:
            continue
        where = f"tools.{at}"
        tools.append(
            _hosted(tool, draft, where) if isinstance(tool, HostedTool) else _adapted(tool, draft, where)
        )
    return tools


def _adapted(tool: Tool, draft: Draft, where: str) -> dict[str, object]:
    if not tool.name:
        raise InvalidRequest(f"{where}: a tool needs a name", param=where)
    name = draft.names.sent(full_name(tool.name, tool.namespace))
    extra: dict[str, object] = {}
    for key, value in (tool.extra or {}).items():
        if key in OURS:
            extra[key] = value
        else:
            draft.lose(f"{where}.{key}", "Anthropic's tools have no such field")
    if tool.kind == "custom":
        return _tool(name, _custom_description(tool, draft, where), CUSTOM_SCHEMA) | _marks(tool) | extra
    try:
        schema, changed = input_schema(tool.schema)
    except InvalidRequest as exc:
        raise InvalidRequest(
            f"{where}: the parameters are no JSON Schema: {exc.message}", param=where
        ) from None
    if changed:
        draft.change(f"{where}.parameters", "the variants at the schema's root were merged into one object")
    return _tool(name, tool.description, schema) | _strict(tool, draft, where) | _marks(tool) | extra


def _marks(tool: Tool) -> dict[str, object]:
    fields: dict[str, object] = {"defer_loading": True} if tool.deferred else {}
    return fields | ({"cache_control": cache_control(tool.cache)} if tool.cache else {})


def _strict(tool: Tool, draft: Draft, where: str) -> dict[str, object]:
    if not tool.strict:
        return {}
    if draft.traits.structured:
        return {"strict": True}
    draft.lose(f"{where}.strict", "the model is not known to keep to a schema strictly")
    return {}


def _custom_description(tool: Tool, draft: Draft, where: str) -> str:
    if not tool.grammar:
        return tool.description
    draft.change(f"{where}.format", "the grammar was put into the tool's description")
    note = f"The input must match this format: {bytes(tool.grammar).decode()}"
    return f"{tool.description}\n\n{note}".strip()


def _hosted(tool: HostedTool, draft: Draft, where: str) -> dict[str, object]:
    if tool.name not in HOSTED_TYPES:
        raise UnsupportedContent(f"{where}: Anthropic runs no tool like {tool.type!r}", param=where)
    kind, name, beta = HOSTED_TYPES[tool.name]
    if beta:
        draft.betas.append(beta)
    fields: dict[str, object] = {"type": kind, "name": name}
    if tool.cache:
        fields["cache_control"] = cache_control(tool.cache)
    config = read(_config, tool.config, InvalidRequest) if tool.config else {}
    return fields | _shared(config, draft, where)


def _shared(config: dict[str, Any], draft: Draft, where: str) -> dict[str, object]:
    """Domains, uses and location mean the same everywhere; the rest is named."""
    fields: dict[str, object] = {}
    for key, value in config.items():
        match key, value:
            case ("type" | "name" | "cache_control", _) | (_, None):
                pass
            case ("allowed_domains" | "blocked_domains" | "max_uses", _):
                fields[key] = value
            case ("filters", dict()):
                fields |= _shared(value, draft, f"{where}.filters")
            case ("user_location", dict()):
                inner = value.get("approximate")
                place = inner if isinstance(inner, dict) else value
                known = {
                    k: v for k, v in place.items() if k in ("city", "region", "country", "timezone") and v
                }
                fields[key] = {"type": "approximate", **known}
            case _:
                draft.lose(f"{where}.{key}", "Anthropic's tool has no such setting")
    return fields


# ---------------------------------------------------------------- the choice


def own_choice(choice: ToolChoice) -> dict[str, object]:
    fields: dict[str, object] = {"type": {"required": "any"}.get(choice.mode, choice.mode)}
    if choice.mode == "required" and choice.names:
        fields = {"type": "tool", "name": choice.names[0]}
    if choice.parallel is not None:
        fields["disable_parallel_tool_use"] = not choice.parallel
    return fields | (choice.extra or {})


def adapted_choice(draft: Draft) -> dict[str, object] | None:
    choice = draft.request.choice
    if choice is None:
        return None
    for name in choice.extra or ():
        draft.lose(f"tool_choice.{name}", "Anthropic has no such setting")
    fields: dict[str, object] = {"type": {"required": "any"}.get(choice.mode, choice.mode)}
    if _forces_one(choice):
        fields = {"type": "tool", "name": draft.names.sent(choice.names[0])}
    if choice.parallel is False and choice.mode != "none":
        return fields | {"disable_parallel_tool_use": True}
    return None if fields == {"type": "auto"} else fields


def _forces_one(choice: ToolChoice) -> bool:
    """Anthropic can name one tool; of several that are allowed, only those are sent."""
    return choice.mode == "required" and len(choice.names) == 1


def forces(choice: dict[str, object] | None) -> bool:
    return choice is not None and choice["type"] in ("any", "tool")


def remembered_tools(draft: Draft) -> list[dict[str, object]]:
    """A conversation with calls in it needs the tools defined, though the caller sends them no more."""
    names = dict.fromkeys(
        draft.names.sent(full_name(call.name, call.namespace)) for call in calls_in(draft.request.messages)
    )
    if names:
        draft.change(
            "tools", "Anthropic wants the tools of past calls defined: they are, and may not be called"
        )
    return [{"name": name, "input_schema": EMPTY} for name in names]


def customs(draft: Draft) -> frozenset[str]:
    tools = [tool for tool in draft.request.tools or () if isinstance(tool, Tool) and tool.kind == "custom"]
    return frozenset(draft.names.sent(full_name(tool.name, tool.namespace)) for tool in tools)
