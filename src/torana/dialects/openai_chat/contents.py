"""Content lists: text, images, audio, video, files. One element in, one part out, and back.

Knows the spellings of one element; which message it stands in and who may read it is decided elsewhere.
"""

import re
from typing import Literal

from msgspec import Raw

from torana.dialects.openai_chat.wire import (
    Content,
    File,
    Url,
    merged,
    names,
    nested,
    object_decoder,
    unknown,
)
from torana.errors import UnsupportedContent
from torana.ir import Data, Extra, Media, Opaque, Part, Refusal, Text, Thinking

DIALECT = "openai_chat"
CONTENT = names(Content)
FILE, URL, SOUND = names(File), names(Url), frozenset({"data", "format"})
Kind = Literal["image", "audio", "video", "document"]
URLS: dict[str, Kind] = {
    "image_url": "image",
    "video_url": "video",
    "audio_url": "audio",
    "document_url": "document",
    "file_url": "document",
}
MIMES = {"mp3": "audio/mpeg", "wav": "audio/wav"}
SOUNDS = {"audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/x-wav": "wav", "audio/wave": "wav"}
_data_url = re.compile(r"data:([\w.+-]+/[\w.+-]+)?;base64,")  # RFC 2397, parameters are never sent


def mark(control: dict[str, Raw] | None) -> str:
    """A cache breakpoint: its ttl, or "default"."""
    if control is None:
        return ""
    ttl = bytes(control.get("ttl", Raw(b""))).strip(b'"')
    return ttl.decode() if ttl and ttl != b"null" else "default"


def control(cache: str) -> dict[str, object]:
    return {"type": "ephemeral"} if cache == "default" else {"type": "ephemeral", "ttl": cache}


# ---------------------------------------------------------------- in


def parse_content(content: Content, raw: Raw) -> Part:
    """One element. What is of no known type is Opaque."""
    fields = object_decoder.decode(raw)
    extra = unknown(fields, CONTENT)
    cache = mark(content.cache_control)
    if content.prompt_cache_breakpoint is not None:
        cache = cache or "default"
        extra = {**(extra or {}), "prompt_cache_breakpoint": fields["prompt_cache_breakpoint"]}
    kind = content.type
    if kind in ("text", "input_text", "output_text") and content.text is not None:
        return Text(content.text, cache=cache, extra=extra)
    if kind in URLS:
        return _linked(content, kind, cache, fields, extra) or Opaque(DIALECT, raw)
    if kind == "input_audio" and content.input_audio is not None:
        return _sound(content, cache, fields, extra)
    if kind == "file" and content.file is not None:
        return _file(content.file, cache, fields, extra)
    if kind == "thinking" and content.thinking is not None:
        return Thinking(_joined(content.thinking), extra=extra)
    if kind == "reasoning" and content.summary is not None:
        return Thinking(_joined(content.summary), "summary", extra=extra)
    if kind == "reasoning" and content.text is not None:
        return Thinking(content.text, extra=extra)
    if kind == "refusal" and content.refusal is not None:
        return Refusal(content.refusal, extra=extra)
    return Opaque(DIALECT, raw)


def _joined(chunks: str | list[Content]) -> str:
    return chunks if isinstance(chunks, str) else "".join([chunk.text or "" for chunk in chunks])


def _linked(content: Content, kind: str, cache: str, fields: dict[str, Raw], extra: Extra) -> Media | None:
    link: str | Url | None = getattr(content, kind)
    if link is None:
        return None
    detail = ""
    if isinstance(link, Url):
        detail = link.detail or ""
        extra = nested(extra, kind, unknown(object_decoder.decode(fields[kind]), URL))
        link = link.url
    mime, data = split_data_url(link)
    name = content.document_name or ""
    if data:
        return Media(URLS[kind], mime, data, name=name, detail=detail, cache=cache, extra=extra)
    return Media(URLS[kind], url=link, name=name, detail=detail, cache=cache, extra=extra)


def split_data_url(url: str) -> tuple[str, str]:
    match = _data_url.match(url)
    return (match.group(1) or "", url[match.end() :]) if match else ("", "")


def _sound(content: Content, cache: str, fields: dict[str, Raw], extra: Extra) -> Media:
    sound = content.input_audio
    if isinstance(sound, str):  # Mistral
        if sound.startswith(("http://", "https://")):
            return Media("audio", url=sound, cache=cache, extra=extra)
        return Media("audio", data=sound, cache=cache, extra=extra)
    assert sound is not None
    extra = nested(extra, "input_audio", unknown(object_decoder.decode(fields["input_audio"]), SOUND))
    mime = MIMES.get(sound.format or "", f"audio/{sound.format}" if sound.format else "")
    return Media("audio", mime, sound.data or "", cache=cache, extra=extra)


def _file(file: File, cache: str, fields: dict[str, Raw], extra: Extra) -> Media:
    extra = nested(extra, "file", unknown(object_decoder.decode(fields["file"]), FILE))
    mime, data = split_data_url(file.file_data or "")
    url = "" if data else file.file_data or ""
    if url and not url.startswith(("http://", "https://")):
        url, data = "", url
    name, id = file.filename or "", file.file_id or ""
    return Media("document", mime, data, url, id, name=name, cache=cache, extra=extra)


# ---------------------------------------------------------------- out


def render_part(part: Part, *, home: bool) -> dict[str, object] | Raw:
    """One element. `home`: the part came from this dialect, so its unknown fields and Opaque parts go back."""
    match part:
        case Text(text):
            return _dressed({"type": "text", "text": text}, part.cache, part.extra, home=home)
        case Media():
            return _dressed(render_media(part), part.cache, part.extra, home=home)
        case Data(value):
            return {"type": "text", "text": bytes(value).decode()}
        case Refusal(text):
            return {"type": "refusal", "refusal": text}
        case Thinking(text):
            body: dict[str, object] = {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
            return _dressed(body, "", part.extra, home=home)
        case Opaque(dialect, raw) if dialect == DIALECT:
            return raw
    what = part.dialect + " part" if isinstance(part, Opaque) else type(part).__name__
    raise UnsupportedContent(f"Chat Completions has no way to carry a {what} in a message's content")


def _dressed(body: dict[str, object], cache: str, extra: Extra, *, home: bool) -> dict[str, object]:
    if cache and not (extra and "prompt_cache_breakpoint" in extra):
        body["cache_control"] = control(cache)
    return merged(body, extra) if home else body


def render_media(part: Media) -> dict[str, object]:
    link = part.url or (f"data:{part.mime};base64,{part.data}" if part.data else "")
    match part.kind:
        case "image" | "video" if link:
            address: dict[str, object] = {"url": link}
            if part.detail:
                address["detail"] = part.detail
            field = f"{part.kind}_url"
            return {"type": field, field: address}
        case "audio" if not part.file:
            return _render_sound(part)
        case "document":
            return _render_document(part)
    raise UnsupportedContent(
        f"Chat Completions takes a {part.kind} as its bytes or its address, not as a file id; send it inline"
    )


def _render_sound(part: Media) -> dict[str, object]:
    if part.url:
        return {"type": "audio_url", "audio_url": {"url": part.url}}
    if part.data and not part.mime:
        return {"type": "input_audio", "input_audio": part.data}
    sound = {"format": SOUNDS.get(part.mime, part.mime.removeprefix("audio/"))}
    return {"type": "input_audio", "input_audio": {"data": part.data, **sound} if part.data else sound}


def _render_document(part: Media) -> dict[str, object]:
    """A document's bytes or id go in `file`; only `document_url` takes an address."""
    if part.url and not part.name:
        return {"type": "document_url", "document_url": part.url}
    if part.text and not (part.data or part.file or part.url):
        return {"type": "text", "text": part.text}
    file: dict[str, object] = {}
    if part.data:
        file["file_data"] = f"data:{part.mime or 'application/pdf'};base64,{part.data}"
    elif part.url:
        file["file_data"] = part.url
    if part.file:
        file["file_id"] = part.file
    if part.name:
        file["filename"] = part.name
    elif part.data:
        file["filename"] = "document.pdf"  # OpenAI refuses file_data without a name
    return {"type": "file", "file": file}
