"""Parts written as content blocks, as they stand at home.

Every part that Anthropic has a block for is written here and nowhere else. What it has none for has to be changed
into something it has before it comes here: `adapting` does that for requests, `retelling` for answers.
"""

from msgspec import MsgspecError, Raw
from msgspec.json import format as format_json

from torana.dialects.anthropic.blocks import carry_seal
from torana.dialects.anthropic.citations import render_citation
from torana.dialects.anthropic.wire import OBJECT
from torana.ir import Data, Extra, Media, Opaque, Part, Refusal, Text, Thinking, ToolCall, ToolResult
from torana.wire.json import encode

Block = dict[str, object] | Raw

EMPTY = Raw(b"{}")
INVALID_JSON = "INVALID_JSON"
# https://platform.claude.com/docs/en/agents-and-tools/tool-use/fine-grained-tool-streaming: arguments that are not
# JSON go back to the model as {"INVALID_JSON": "<what it wrote>"}.


def block_of(part: Part) -> Block:
    match part:
        case Text(text, citations):
            block: dict[str, object] = {"type": "text", "text": text}
            if citations:
                block["citations"] = [render_citation(citation) for citation in citations]
            return _marked(block, part.cache, part.extra)
        case ToolCall():
            return _marked(_call(part), part.cache, part.extra)
        case ToolResult(kind="hosted"):
            return _marked(_hosted_result(part), part.cache, part.extra)
        case ToolResult():
            return _marked(_result(part), part.cache, part.extra)
        case Thinking():
            return _marked(_thought(part), "", part.extra)
        case Media():
            extra = {name: value for name, value in (part.extra or {}).items() if name != "content"}
            return _marked(_media(part), part.cache, extra)
        case Refusal(text):
            return {"type": "text", "text": text}
        case Data(value):
            return {"type": "text", "text": one_line(value)}
        case Opaque():
            return part.raw


def _marked(block: dict[str, object], cache: str, extra: Extra) -> dict[str, object]:
    if cache:
        block["cache_control"] = cache_control(cache)
    if extra:
        block |= extra
    return block


def cache_control(ttl: str) -> dict[str, object]:
    return {"type": "ephemeral"} if ttl == "default" else {"type": "ephemeral", "ttl": ttl}


def one_line(value: Raw) -> str:
    return (
        bytes(value).decode() if b"\n" not in bytes(value) else format_json(bytes(value), indent=-1).decode()
    )


def input_of(text: str) -> Raw | None:
    """A call's arguments as the object Anthropic wants; None when they are not one."""
    if not text or text.isspace() or text == "null":
        return EMPTY
    try:
        OBJECT.decode(text)
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return Raw(text.encode())


def input_or_wrapped(text: str) -> Raw:
    given = input_of(text)
    return given if given is not None else Raw(encode({INVALID_JSON: text}))


def _call(part: ToolCall) -> dict[str, object]:
    if part.kind == "custom":
        return {"type": "tool_use", "id": part.id, "name": part.name, "input": {"input": part.text}}
    kind = "tool_use" if part.kind == "function" else "mcp_tool_use" if part.namespace else "server_tool_use"
    block: dict[str, object] = {"type": kind, "id": part.id, "name": part.name}
    if kind == "mcp_tool_use":
        block["server_name"] = part.namespace
    return block | {"input": input_or_wrapped(part.text)}


def _result(part: ToolResult) -> dict[str, object]:
    block: dict[str, object] = {"type": "tool_result", "tool_use_id": part.id}
    match part.parts:
        case ():
            pass
        case (Text(text, citations=(), cache="", extra=None),):
            block["content"] = text
        case parts:
            block["content"] = [block_of(inner) for inner in parts]
    if part.failed:
        block["is_error"] = True
    return block


def _hosted_result(part: ToolResult) -> dict[str, object]:
    block: dict[str, object] = {"type": f"{part.name or 'server'}_tool_result", "tool_use_id": part.id}
    match part.parts:
        case (Data(value),):
            block["content"] = value
        case parts:
            block["content"] = [block_of(inner) for inner in parts]
    if part.name == "mcp":
        block["is_error"] = part.failed
    return block


def _thought(part: Thinking) -> dict[str, object]:
    seal = part.seal
    if seal is not None and seal.holds == "thought" and not part.text:
        return {"type": "redacted_thinking", "data": carry_seal(seal)}
    block: dict[str, object] = {"type": "thinking", "thinking": part.text}
    if seal is not None:
        block["signature"] = carry_seal(seal)
    return block


def _media(part: Media) -> dict[str, object]:
    block: dict[str, object] = {"type": part.kind, "source": _source(part)}
    if part.kind == "document":
        if part.name:
            block["title"] = part.name
        if part.cite:
            block["citations"] = {"enabled": True}
    return block


def _source(part: Media) -> dict[str, object]:
    if part.extra and "content" in part.extra:
        return {"type": "content", "content": part.extra["content"]}
    if part.url:
        return {"type": "url", "url": part.url}
    if part.file:
        return {"type": "file", "file_id": part.file}
    if part.data:
        return {"type": "base64", "media_type": part.mime, "data": part.data}
    return {"type": "text", "media_type": part.mime or "text/plain", "data": part.text}
