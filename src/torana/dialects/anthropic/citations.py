"""Citations: five kinds of pointer into what was read, in requests and in answers alike.

https://platform.claude.com/docs/en/build-with-claude/citations
"""

from typing import Literal

from msgspec import Raw

from torana.dialects.anthropic.wire import CITATION, OBJECT, said
from torana.errors import Error
from torana.ir import Citation, Extra, Span
from torana.wire.json import read

PLACES = {
    "char_location": ("char", "start_char_index", "end_char_index"),
    "page_location": ("page", "start_page_number", "end_page_number"),
    "content_block_location": ("block", "start_block_index", "end_block_index"),
}
OURS = ("encrypted_index", "search_result_index", "type")
UNITS = {unit: (name, start, end) for name, (unit, start, end) in PLACES.items()}


def parse_citation(raw: Raw, refusal: type[Error]) -> Citation:
    wire, extra = CITATION.read(raw, refusal)
    quote = wire.cited_text or ""
    match wire.type:
        case "char_location":
            where = _span(wire.start_char_index, wire.end_char_index, "char")
        case "page_location":
            where = _span(wire.start_page_number, wire.end_page_number, "page")
        case "content_block_location":
            where = _span(wire.start_block_index, wire.end_block_index, "block")
        case "web_search_result_location":
            return Citation("url", wire.url or "", wire.title or "", quote, extra=extra)
        case "search_result_location":
            where = _span(wire.start_block_index, wire.end_block_index, "block")
            return Citation("tool", wire.source or "", wire.title or "", quote, None, where, extra)
        case _:
            return Citation("document", quote=quote, extra=_unknown(raw, refusal))
    index = "" if wire.document_index is None else str(wire.document_index)
    return Citation("document", index, wire.document_title or "", quote, None, where, extra)


def _span(start: int | None, end: int | None, unit: Literal["char", "page", "block"]) -> Span | None:
    return None if start is None or end is None else Span(start, end, unit)


def _unknown(raw: Raw, refusal: type[Error]) -> Extra:
    """Everything but the quote, `type` included, which marks it as ours."""
    fields = read(OBJECT, raw, refusal)
    return {name: value for name, value in fields.items() if name != "cited_text" and said(value)}


def is_ours(citation: Citation) -> bool:
    """Whether Anthropic would know it again: its search results are cited by an encrypted index."""
    if citation.kind == "document":
        return citation.place is not None or bool(citation.extra and "type" in citation.extra)
    return citation.extra is not None and not citation.extra.keys().isdisjoint(OURS)


def render_citation(citation: Citation) -> dict[str, object]:
    fields: dict[str, object] = {"type": "", "cited_text": citation.quote}
    if citation.extra and "type" in citation.extra:
        return {**citation.extra, "cited_text": citation.quote}
    if citation.kind == "tool" and citation.extra:
        fields |= {
            "type": "search_result_location",
            "source": citation.source,
            "title": citation.title or None,
        }
        if citation.place is not None:
            fields |= {"start_block_index": citation.place.start, "end_block_index": citation.place.end}
    elif citation.kind == "document" and citation.place is not None:
        name, start, end = UNITS[citation.place.unit]
        index = int(citation.source) if citation.source.isdecimal() else 0
        fields |= {"type": name, "document_index": index, "document_title": citation.title or None}
        fields |= {start: citation.place.start, end: citation.place.end}
    else:
        fields |= {
            "type": "web_search_result_location",
            "url": citation.source,
            "title": citation.title or None,
        }
        fields["encrypted_index"] = (
            ""  # another provider's search: there is none, and clients insist on the field
        )
    return fields | (citation.extra or {})
