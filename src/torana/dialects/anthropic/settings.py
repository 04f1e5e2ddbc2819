"""The settings of a request: tools, their choice, thinking, the shape of the answer. Read only; `rendering` writes.

https://platform.claude.com/docs/en/api/messages, and the pages on tool use, extended thinking and structured outputs.
"""

import re
from types import MappingProxyType

from msgspec import Raw

from torana.dialects.anthropic import wire
from torana.dialects.anthropic.blocks import parse_cache
from torana.dialects.anthropic.wire import BRACE, first_byte, said
from torana.errors import InvalidRequest
from torana.ir import Extra, Format, HostedTool, Reasoning, Tool, ToolChoice
from torana.wire.json import encode, read

HOSTED: MappingProxyType[str, str] = MappingProxyType(
    {
        "web_search": "web_search",
        "web_fetch": "web_fetch",
        "code_execution": "code_execution",
        "computer": "computer",
        "bash": "shell",
        "text_editor": "text_editor",
        "memory": "memory",
        "tool_search_tool_bm25": "tool_search",
        "tool_search_tool_regex": "tool_search",
        "mcp_toolset": "mcp",
    }
)
# a type without its date -> the name all dialects share

_DATE = re.compile(r"_\d{8}$")


def parse_tool(raw: Raw) -> Tool | HostedTool:
    kind = read(wire.TOOL_TYPE, raw, InvalidRequest)
    if kind.type not in (None, "custom"):
        cache, _ = parse_cache(kind.cache_control, None, InvalidRequest)
        return HostedTool(kind.type or "", HOSTED.get(_DATE.sub("", kind.type or ""), ""), raw, cache)
    tool, extra = wire.TOOL.read(raw, InvalidRequest)
    if said(tool.input_schema) and first_byte(tool.input_schema) != BRACE:
        raise InvalidRequest(f"the input_schema of {tool.name!r} is not an object", param="tools")
    cache, extra = parse_cache(tool.cache_control, extra, InvalidRequest)
    return Tool(
        tool.name,
        tool.description or "",
        tool.input_schema if said(tool.input_schema) else Raw(b""),
        tool.strict,
        deferred=bool(tool.defer_loading),
        cache=cache,
        extra=extra,
    )


def parse_choice(raw: Raw) -> ToolChoice | None:
    if not said(raw):
        return None
    choice, extra = wire.CHOICE.read(raw, InvalidRequest)
    serial = choice.disable_parallel_tool_use
    parallel = None if serial is None else not serial
    match choice.type:
        case "auto" | "none" as mode:
            return ToolChoice("auto" if mode == "auto" else "none", (), parallel, extra)
        case "any":
            return ToolChoice("required", (), parallel, extra)
        case "tool" if choice.name:
            return ToolChoice("required", (choice.name,), parallel, extra)
    raise InvalidRequest("tool_choice is auto, any, none or a tool by name", param="tool_choice.type")


SHOW: MappingProxyType[str, str] = MappingProxyType({"summarized": "auto", "omitted": "none"})


def parse_reasoning(raw: Raw, effort: str) -> Reasoning | None:
    """`adaptive` is thinking without a budget. A way to think that is new to us goes home whole."""
    if not said(raw):
        return Reasoning(effort=effort) if effort else None
    thinking, extra = wire.THINKING.read(raw, InvalidRequest)
    show = SHOW.get(thinking.display or "", "")
    if thinking.display and not show:
        extra = {**(extra or {}), "display": Raw(encode(thinking.display))}
    match thinking.type:
        case "enabled":
            return Reasoning(True, effort, thinking.budget_tokens, show, extra)
        case "adaptive":
            return Reasoning(True, effort, None, show, extra)
        case "disabled":
            return Reasoning(False, effort, None, show, extra)
    return Reasoning(None, effort, extra={"thinking": raw})


def parse_format(raw: Raw, where: str) -> Format | None:
    if not said(raw):
        return None
    try:
        format, extra = wire.FORMAT.read(raw, InvalidRequest)
    except InvalidRequest as exc:
        raise InvalidRequest(f"{where}: {exc.message}", param=where) from None
    if format.type == "json_schema":
        return Format("schema", format.schema, extra=extra)
    return Format("text", extra={"format": raw})


def parse_output(raw: Raw, older: Raw) -> tuple[str, Format | None, Extra]:
    """Effort, format, and what else `output_config` holds. `output_format` is the older spelling of its format."""
    if not said(raw):
        return "", parse_format(older, "output_format"), None
    config, more = wire.OUTPUT.read(raw, InvalidRequest)
    format = parse_format(config.format, "output_config.format") or parse_format(older, "output_format")
    extra = {"output_config": Raw(encode(more))} if more else None
    return config.effort or "", format, extra


def parse_metadata(raw: Raw) -> tuple[str, Raw]:
    """The user's id, and what else the caller put beside it."""
    if not said(raw):
        return "", Raw(b"")
    metadata, extra = wire.METADATA.read(raw, InvalidRequest)
    return metadata.user_id or "", Raw(encode(extra)) if extra else Raw(b"")
