"""Parts of a request, changed into what Anthropic has a block for.

It takes no audio, no empty text, only its own seals, and ids and names in its alphabet. What has to change for that
is named in the draft; what cannot be carried is refused by name. Knows nothing of turns.
"""

import base64
import binascii
from types import MappingProxyType

from msgspec.structs import replace

from torana.dialects.anthropic.citations import is_ours
from torana.dialects.anthropic.draft import Draft
from torana.dialects.anthropic.naming import full_name
from torana.dialects.anthropic.spelling import input_of, one_line
from torana.dialects.anthropic.wire import DIALECT
from torana.errors import UnsupportedContent
from torana.ir import (
    Data,
    Extra,
    Media,
    Opaque,
    Part,
    Refusal,
    Seal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
PLAIN = ("application/json", "application/xml", "application/yaml", "application/javascript")
# document types that are text under another name; Anthropic's text source is text/plain only
BEGINNINGS: MappingProxyType[str, str] = MappingProxyType(
    {
        "iVBOR": "image/png",
        "/9j/": "image/jpeg",
        "R0lG": "image/gif",
        "UklG": "image/webp",
        "JVBER": "application/pdf",
    }
)
# base64 of the first bytes of a file whose type nobody stated
FILES_BETA = "files-api-2025-04-14"
TTLS = ("default", "5m", "1h")


def adapt(part: Part, draft: Draft, where: str) -> Part | None:
    """None for what is left out and named."""
    match part:
        case Text():
            return _text(part, draft, where)
        case Thinking():
            return _thought(part, draft, where)
        case Refusal(text):
            return Text(text) if text.strip() else None
        case Media():
            return _media(part, draft, where)
        case ToolCall(kind="hosted") | ToolResult(kind="hosted"):
            return _hosted(part, draft, where)
        case ToolCall():
            return _call(part, draft, where)
        case ToolResult():
            return _result(part, draft, where)
        case Data(value):
            return Text(one_line(value))
        case Opaque(dialect):
            if dialect == DIALECT:
                return part
            draft.lose(where, f"only {dialect} understands this part")
            return None


def _strip(draft: Draft, where: str, extra: Extra, seal: Seal | None, cache: str) -> str:
    """What no foreign part brings along, named; and the breakpoint it may keep."""
    for name in extra or ():
        draft.lose(f"{where}.{name}", "Anthropic has no such field")
    if seal is not None:
        draft.lose(f"{where}.signature", f"it was sealed by {seal.issuer or 'another provider'} for itself")
    if cache and cache not in TTLS:
        draft.change(f"{where}.cache_control", "Anthropic keeps a prompt for 5m or 1h")
        return "default"
    return cache


def _text(part: Text, draft: Draft, where: str) -> Text | None:
    if part.text and part == Text(part.text) and not part.text.isspace():
        return part  # nearly every text
    cache = _strip(draft, where, part.extra, part.seal, part.cache)
    if not part.text.strip():
        if part.text:
            draft.lose(where, "Anthropic refuses a text of white space alone")
        return None
    citations = tuple([citation for citation in part.citations if is_ours(citation)])
    if len(citations) < len(part.citations):
        draft.lose(f"{where}.annotations", "Anthropic takes citations of its own answers only")
    return Text(part.text, citations, cache=cache)


def _thought(part: Thinking, draft: Draft, where: str) -> Part | None:
    if part.seal is not None and part.seal.issuer == draft.issuer:
        return part
    source = (part.seal.issuer if part.seal is not None else "") or "another provider"
    if part.text.strip() and draft.traits.thoughts == "text":
        draft.change(where, f"a thought of {source} was sent as labelled text")
        return Text(f"<thinking>\n{part.text}\n</thinking>")
    if part.text.strip() or part.seal is not None:
        draft.lose(where, f"a thought of {source} means nothing to this model")
    return None


# ---------------------------------------------------------------- tools


def _call(part: ToolCall, draft: Draft, where: str) -> ToolCall:
    cache = _strip(draft, where, part.extra, part.seal, part.cache)
    if part.kind == "function" and input_of(part.text) is None:
        draft.change(f"{where}.arguments", "arguments that are no JSON object were wrapped in one")
    name = draft.names.sent(full_name(part.name, part.namespace))
    return ToolCall(draft.call_id(part), name, part.text, part.kind, cache=cache)


def _result(part: ToolResult, draft: Draft, where: str) -> ToolResult:
    cache = _strip(draft, where, part.extra, part.seal, part.cache)
    parts = [adapt(inner, draft, f"{where}.content.{at}") for at, inner in enumerate(part.parts)]
    kept = tuple([inner for inner in parts if inner is not None])
    for inner in kept:
        if not isinstance(inner, Text | Media | Opaque):
            raise UnsupportedContent(
                f"{where}: a tool's result holds text, images and documents", param=where
            )
    return ToolResult(draft.result_id(part), part.name, kept, part.failed, cache=cache)


def _hosted(part: ToolCall | ToolResult, draft: Draft, where: str) -> Part | None:
    """A tool that another provider ran: Anthropic takes only its own, so what was done becomes words."""
    draft.change(where, "what another provider's hosted tool did was sent as labelled text")
    if isinstance(part, ToolCall):
        return Text(f"<{part.name or 'tool'}_call>\n{part.text}\n</{part.name or 'tool'}_call>")
    words = [
        inner.text if isinstance(inner, Text) else one_line(inner.value)
        for inner in part.parts
        if isinstance(inner, Text | Data)
    ]
    name = part.name or "tool"
    return Text(f"<{name}_result>\n{chr(10).join(words)}\n</{name}_result>")


# ---------------------------------------------------------------- images and documents


def _media(part: Media, draft: Draft, where: str) -> Media:
    if part.kind not in ("image", "document"):
        raise UnsupportedContent(f"{where}: Anthropic's models take no {part.kind}", param=where)
    if part.detail:
        draft.lose(f"{where}.detail", "Anthropic has no such setting")
    cache = _strip(draft, where, part.extra, part.seal, part.cache)
    plain = Media(
        part.kind, part.mime, part.data, part.url, part.file, part.text, part.name, "", part.cite, cache=cache
    )
    if part.file:
        draft.betas.append(FILES_BETA)
        return plain
    if part.url:
        if not part.url.startswith(("https://", "http://")):
            raise UnsupportedContent(f"{where}: Anthropic fetches http and https addresses only", param=where)
        return plain
    return _image(plain, where) if part.kind == "image" else _document(plain, where)


def _typed(part: Media) -> str:
    mime = part.mime.partition(";")[0].strip().lower()
    if mime in ("", "application/octet-stream"):
        return next((found for start, found in BEGINNINGS.items() if part.data.startswith(start)), "")
    return "image/jpeg" if mime == "image/jpg" else mime


def _image(part: Media, where: str) -> Media:
    mime = _typed(part)
    if mime not in IMAGES:
        raise UnsupportedContent(
            f"{where}: Anthropic takes JPEG, PNG, GIF and WebP images, not {mime or 'an image of unknown type'}",
            param=where,
        )
    return replace(part, mime=mime)


def _document(part: Media, where: str) -> Media:
    if part.text and not part.data:
        return replace(part, mime="text/plain")
    mime = _typed(part) or ("application/pdf" if part.name.lower().endswith(".pdf") else "")
    if mime == "application/pdf":
        return replace(part, mime=mime)
    if mime.startswith("text/") or mime in PLAIN:
        return replace(part, mime="text/plain", data="", text=_decoded(part.data, where))
    raise UnsupportedContent(
        f"{where}: Anthropic takes PDF and text documents, not {mime or 'a document of unknown type'}",
        param=where,
    )


def _decoded(data: str, where: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        raise UnsupportedContent(f"{where}: a text document is base64 of UTF-8", param=where) from None
