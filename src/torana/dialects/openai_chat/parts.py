"""What an assistant said, from a whole message: shared by requests that repeat it and by whole answers."""

from msgspec import Raw
from msgspec.structs import replace

from torana.dialects.openai_chat.thoughts import parse_thoughts
from torana.dialects.openai_chat.tools import parse_call
from torana.dialects.openai_chat.wire import (
    AudioRef,
    Message,
    names,
    number_of,
    object_decoder,
    objects_decoder,
    present,
    text_of,
    unknown,
)
from torana.ir import Citation, Extra, Media, Part, Seal, Span, Text

AUDIO = names(AudioRef)
CITED = frozenset({"type", "url", "title", "content", "start_index", "end_index"})


def assistant_parts(message: Message, fields: dict[str, Raw], content: list[Part]) -> list[Part]:
    """Thoughts, then content, then sound, then calls: the order in which they are said."""
    calls = message.tool_calls or ()
    ids = [call.id for call in calls if call.id]
    plain = message.reasoning_content or message.reasoning or ""
    parts: list[Part] = []
    seals: dict[str, Seal] = {}
    if message.reasoning_details or plain:
        raws = objects_decoder.decode(fields["reasoning_details"]) if message.reasoning_details else []
        thoughts, seals = parse_thoughts(message.reasoning_details, raws, plain, ids)
        parts += thoughts
    parts += [part for part in content if not (calls and isinstance(part, Text) and not part.text)]
    if message.audio is not None:
        parts.append(parse_audio(message.audio, object_decoder.decode(fields["audio"])))
    if calls:
        raws = objects_decoder.decode(fields["tool_calls"])
        parts += [
            parse_call(call, raw, seals.get(call.id or "")) for call, raw in zip(calls, raws, strict=True)
        ]
    return parts


def parse_audio(audio: AudioRef, fields: dict[str, Raw]) -> Media:
    extra = unknown(fields, AUDIO)
    if audio.expires_at is not None:
        extra = {**(extra or {}), "expires_at": fields["expires_at"]}
    return Media(
        "audio", data=audio.data or "", text=audio.transcript or "", item=audio.id or "", extra=extra
    )


def render_audio(part: Media, *, home: bool) -> dict[str, object]:
    """An audio answer. Its id is what a later turn repeats; a foreign one has none."""
    expires = (part.extra or {}).get("expires_at") if home else None
    return {
        "id": part.item,
        "data": part.data,
        "expires_at": expires if expires is not None else 0,
        "transcript": part.text,
    }


# ---------------------------------------------------------------- citations


def parse_citation(fields: dict[str, Raw]) -> Citation:
    """{type: url_citation, url_citation{url,title,content,start_index,end_index}}, the same flat, or another type,
    whose fields stay together in `extra`."""
    kind = text_of(fields.get("type"))
    if kind != "url_citation":
        return Citation(kind or "place", extra=unknown(fields, frozenset({"type"})))
    held = fields.get("url_citation")
    inner = object_decoder.decode(held) if held is not None and present(held) else fields
    start, end = number_of(inner.get("start_index")), number_of(inner.get("end_index"))
    extra = unknown(inner, CITED)
    where = Span(start, end) if start is not None and end is not None else None
    quote = text_of(inner.get("content"))
    return Citation("url", text_of(inner.get("url")), text_of(inner.get("title")), quote, where, extra=extra)


def render_citation(citation: Citation, *, home: bool) -> dict[str, object]:
    extra = citation.extra if home and citation.extra else {}
    if citation.kind != "url":
        kind = citation.kind
        body: dict[str, object] = {"type": kind, **extra}
        if citation.source and not home:
            body[kind] = {"source": citation.source, "title": citation.title, "content": citation.quote}
        return body
    inner: dict[str, object] = {"url": citation.source, "title": citation.title}
    if citation.quote:
        inner["content"] = citation.quote
    if citation.where is not None:
        inner["start_index"], inner["end_index"] = citation.where.start, citation.where.end
    else:
        inner["start_index"], inner["end_index"] = 0, 0
    return {"type": "url_citation", "url_citation": {**inner, **extra}}


def citations_into(parts: list[Part], annotations: list[dict[str, Raw]], raw: Raw, extra: Extra) -> Extra:
    """Annotations speak of the text; without a text they stay as they are."""
    at = next((i for i, part in enumerate(parts) if isinstance(part, Text)), -1)
    if at < 0:
        return {**(extra or {}), "annotations": raw}
    text = parts[at]
    assert isinstance(text, Text)
    parts[at] = replace(text, citations=tuple(map(parse_citation, annotations)))
    return extra
