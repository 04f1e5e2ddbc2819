"""Content blocks read as parts: what a message is made of, in requests and in answers alike.

A block whose type this dialect does not know is carried whole; a known one that has fields we do not know carries
those. Knows nothing of messages, turns or streams.
"""

from msgspec import MsgspecError, Raw
from msgspec.structs import replace

from torana.dialects.anthropic import wire
from torana.dialects.anthropic.citations import parse_citation
from torana.dialects.anthropic.wire import BLOCK, BLOCKS, DIALECT, ISSUER, QUOTE, first_byte, said, text_of
from torana.errors import Error
from torana.ir import Data, Extra, Media, Opaque, Part, Seal, Text, Thinking, ToolCall, ToolResult
from torana.wire.json import encode, read

CARRIED = "torana:"
# A seal of another issuer rides to an Anthropic client, which must return it untouched, in `signature` or `data` as
# torana:ISSUER:HOLDS:SEAL. No signature of Anthropic's own has a colon: they are base64.

DIRECT = {"type": Raw(b'"direct"')}
DEPTH_MAX = 4  # a result holds a document that holds blocks: the API knows no deeper nesting
ERROR_TAIL = "_tool_result_error"


def parse_content(content: Raw, refusal: type[Error], where: str, depth: int = 0) -> list[Part]:
    """A string and a list of one text are one thing."""
    if first_byte(content) == QUOTE:
        return [Text(read(wire.STRING, content, refusal))]
    if depth > DEPTH_MAX:
        raise refusal(f"{where}: blocks are nested deeper than {DEPTH_MAX}", param=where)
    try:
        blocks = read(wire.LIST, content, refusal)
    except refusal as exc:
        raise refusal(f"{where}: {exc.message}", param=where) from None
    return parse_blocks(blocks, refusal, where, depth)


def parse_blocks(blocks: list[Raw], refusal: type[Error], where: str, depth: int = 0) -> list[Part]:
    parts: list[Part] = []
    for at, raw in enumerate(blocks):
        try:
            parts.append(parse_block(raw, refusal, depth))
        except refusal as exc:
            path = f"{where}.{at}"
            raise refusal(f"{path}: {exc.message}", param=path) from None
    return parts


def parse_block(raw: Raw, refusal: type[Error], depth: int = 0) -> Part:
    try:
        block = BLOCK.decode(raw)
    except (MsgspecError, UnicodeDecodeError, RecursionError):
        return _strange(raw, refusal, depth)
    return _part(block, None, raw, refusal, depth)


def _strange(raw: Raw, refusal: type[Error], depth: int) -> Part:
    """A block that is not one of ours alone: it has fields we do not know, or is of another type, or is wrong."""
    kind = read(wire.BLOCK_TYPE, raw, refusal).type
    if (shape := BLOCKS.get(kind)) is not None:
        return _part(*shape.read(raw, refusal), raw, refusal, depth)
    if kind.endswith("_tool_result"):
        return _hosted_result(*wire.HOSTED_RESULT.read(raw, refusal), refusal, depth)
    return Opaque(DIALECT, raw)


def _part(block: wire.TaggedBlock, extra: Extra, raw: Raw, refusal: type[Error], depth: int) -> Part:
    match block:
        case wire.TextBlock(text, cited, cache):
            if cited is None and not cache:
                return Text(text, extra=extra)
            citations = tuple([parse_citation(item, refusal) for item in cited or ()])
            ttl, extra = parse_cache(cache, extra, refusal)
            return Text(text, citations, cache=ttl, extra=extra)
        case wire.ToolUse(id, name, given, caller, cache):
            ttl, extra = parse_cache(cache, _with_caller(extra, caller, refusal), refusal)
            return ToolCall(id, name, _arguments(given), cache=ttl, extra=extra)
        case wire.ToolResultBlock(id, content, failed, cache):
            ttl, extra = parse_cache(cache, extra, refusal)
            parts = tuple(parse_content(content, refusal, "content", depth + 1)) if said(content) else ()
            return ToolResult(id, parts=parts, failed=bool(failed), cache=ttl, extra=extra)
        case wire.ThinkingBlock(thinking, signature):
            return Thinking(thinking, seal=parse_seal(signature or ""), extra=extra)
        case wire.RedactedThinking(data):
            return Thinking(seal=parse_seal(data, "thought"), extra=extra)
        case wire.ServerToolUse(id, name, given, caller, cache):
            ttl, extra = parse_cache(cache, _with_caller(extra, caller, refusal), refusal)
            return ToolCall(id, name, _arguments(given), "hosted", cache=ttl, extra=extra)
        case wire.McpToolUse(id, name, server, given, cache):
            ttl, extra = parse_cache(cache, extra, refusal)
            return ToolCall(id, name, _arguments(given), "hosted", server, cache=ttl, extra=extra)
        case wire.ImageBlock(_, cache) | wire.DocumentBlock(_, _, _, cache):
            ttl, extra = parse_cache(cache, extra, refusal)
            media = _media(block, refusal, depth)
            return (
                Opaque(DIALECT, raw)
                if media is None
                else replace(media, cache=ttl, extra=_join(media.extra, extra))
            )


def _join(one: Extra, other: Extra) -> Extra:
    return {**(one or {}), **(other or {})} or None


def _arguments(given: Raw) -> str:
    return text_of(given) if said(given) else "{}"


def _with_caller(extra: Extra, caller: Raw, refusal: type[Error]) -> Extra:
    """{"type":"direct"} says that the model itself called, which goes without saying."""
    if not said(caller) or (fields := read(wire.OBJECT, caller, refusal)) == DIRECT:
        return extra
    return {**(extra or {}), "caller": Raw(encode(fields))}


def parse_cache(cache: Raw, extra: Extra, refusal: type[Error]) -> tuple[str, Extra]:
    """A breakpoint's ttl; one with fields beyond it is also carried whole."""
    if not said(cache):
        return "", extra
    control, more = wire.CACHE.read(cache, refusal)
    if more or control.type != "ephemeral":
        extra = {**(extra or {}), "cache_control": cache}
    return control.ttl or "default", extra


def parse_seal(data: str, holds: str = "proof") -> Seal | None:
    """Anthropic's own, or another issuer's on its way home."""
    if not data:
        return None
    if data.startswith(CARRIED):
        issuer, _, rest = data.removeprefix(CARRIED).partition(":")
        holds, _, data = rest.partition(":")
        return Seal(data, issuer, "thought" if holds == "thought" else "proof")
    return Seal(data, ISSUER, "thought" if holds == "thought" else "proof")


def carry_seal(seal: Seal) -> str:
    """What an Anthropic client is given to keep."""
    return seal.data if seal.issuer == ISSUER else f"{CARRIED}{seal.issuer}:{seal.holds}:{seal.data}"


def _media(block: wire.ImageBlock | wire.DocumentBlock, refusal: type[Error], depth: int) -> Media | None:
    """None for a source of a kind we do not know, which is carried whole."""
    source, more = wire.SOURCE.read(block.source, refusal)
    if more:
        return None
    media = _sourced(block, source, refusal, depth)
    if media is None or isinstance(block, wire.ImageBlock):
        return media
    cite = block.citations is not None and bool(block.citations.enabled)
    return replace(media, name=block.title or "", cite=cite)


def _sourced(
    block: wire.ImageBlock | wire.DocumentBlock, source: wire.Source, refusal: type[Error], depth: int
) -> Media | None:
    image = isinstance(block, wire.ImageBlock)
    mime = source.media_type or ""
    match source.type:
        case "base64":
            return Media("image" if image else "document", mime, data=source.data or "")
        case "url":
            return Media("image" if image else "document", mime, url=source.url or "")
        case "file":
            return Media("image" if image else "document", mime, file=source.file_id or "")
        case "text" if not image:
            return Media("document", mime or "text/plain", text=source.data or "")
        case "content" if not image:
            return _composed(source.content, refusal, depth + 1)
    return None


def _composed(content: Raw, refusal: type[Error], depth: int) -> Media | None:
    """A document made of blocks: its text for everyone, its blocks for home. With pictures it only goes home."""
    texts = []
    for part in parse_content(content, refusal, "source.content", depth):
        if not isinstance(part, Text):
            return None
        texts.append(part.text)
    return Media("document", "text/plain", text="\n".join(texts), extra={"content": content})


def _hosted_result(block: wire.HostedResult, extra: Extra, refusal: type[Error], depth: int) -> ToolResult:
    name = block.type.removesuffix("_tool_result")
    ttl, extra = parse_cache(block.cache_control, _with_caller(extra, block.caller, refusal), refusal)
    failed = bool(block.is_error)
    parts: tuple[Part, ...] = ()
    if name == "mcp" and said(block.content):
        parts = tuple(parse_content(block.content, refusal, "content", depth + 1))
    elif said(block.content):
        parts = (Data(block.content),)
        failed = failed or _tells_error(block.content)
    return ToolResult(block.tool_use_id, name, parts, failed, "hosted", cache=ttl, extra=extra)


def _tells_error(content: Raw) -> bool:
    if first_byte(content) != wire.BRACE:
        return False
    try:
        return wire.BLOCK_TYPE.decode(content).type.endswith(ERROR_TAIL)
    except (MsgspecError, UnicodeDecodeError):
        return False
