"""Thinking: three spellings in, the caller's or the target's out. Knows who sealed a thought, not what is in it.

`reasoning_details` (https://openrouter.ai/docs/use-cases/reasoning-tokens) carries seals; `reasoning_content`
and `reasoning` are plain text, and both often stand beside it with the same words: they count once.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from msgspec import Raw

from torana.dialects.openai_chat.wire import Detail, merged, names, unknown
from torana.ir import Extra, Seal, Thinking, ToolCall
from torana.wire import json

ISSUERS = {
    "anthropic-claude-v1": "anthropic",
    "google-gemini-v1": "gemini",
    "openai-responses-v1": "openai",
    "azure-openai-responses-v1": "azure",
    "xai-responses-v1": "xai",
}
FORMATS = {issuer: word for word, issuer in ISSUERS.items()}
GEMINI = "google-gemini-v1"
TEXT, SUMMARY, ENCRYPTED = "reasoning.text", "reasoning.summary", "reasoning.encrypted"
DETAIL = names(Detail)


def words(detail: Detail) -> str:
    return detail.text or detail.summary or detail.thinking or ""


def seal_of(detail: Detail) -> Seal | None:
    """`data` is the thought itself, encrypted; a `signature` proves the text beside it."""
    issuer = ISSUERS.get(detail.format or "", "")
    if detail.data:
        return Seal(detail.data, issuer, "thought")
    if detail.signature:
        return Seal(detail.signature, issuer)
    return None


def call_seal(detail: Detail) -> Seal:
    """Data under a call's id signs the call."""
    return Seal(detail.data or "", ISSUERS.get(detail.format or "", ""))


def form_of(detail: Detail) -> Literal["full", "summary"]:
    return "summary" if detail.type == SUMMARY else "full"


def details_extra(detail: Detail, fields: dict[str, Raw]) -> Extra:
    """What of a detail its part does not say. A text's format stays: in a stream its seal comes later, if at all."""
    extra = unknown(fields, DETAIL)
    if detail.format and not (detail.data and detail.format in ISSUERS):
        extra = {**(extra or {}), "format": Raw(json.encode(detail.format))}
    return extra


def thought(detail: Detail, fields: dict[str, Raw]) -> Thinking:
    return Thinking(
        words(detail),
        form_of(detail),
        seal_of(detail),
        item=detail.id or "",
        extra=details_extra(detail, fields),
    )


def parse_thoughts(
    details: Sequence[Detail] | None, raws: Sequence[dict[str, Raw]], plain: str, calls: Iterable[str] = ()
) -> tuple[list[Thinking], dict[str, Seal]]:
    """The thoughts of a whole message, and the seals that belong to its tool calls, by call id.

    `plain` is reasoning_content or reasoning. A proof that came without its text, as clients that merge deltas
    send it, proves the plain text."""
    known = set(calls)
    found: list[Thinking] = []
    seals: dict[str, Seal] = {}
    for detail, fields in zip(details or (), raws, strict=True):
        if detail.data and detail.id in known:
            seals[detail.id or ""] = call_seal(detail)
        else:
            found.append(thought(detail, fields))
    if plain and not any(part.text for part in found):
        bare = [i for i, part in enumerate(found) if part.seal is not None and part.seal.holds == "proof"]
        if len(bare) == 1:
            part = found[bare[0]]
            found[bare[0]] = Thinking(plain, part.form, part.seal, item=part.item, extra=part.extra)
        else:
            found.insert(0, Thinking(plain))
    return found, seals


def is_detailed(part: Thinking) -> bool:
    """Plain text fields cannot carry it."""
    return part.seal is not None or bool(part.extra and "format" in part.extra)


class Details:
    """Renders reasoning_details of one message: counts each type apart, as clients that merge deltas expect."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def place(self, kind: str) -> int:
        index = self.counts[kind] = self.counts.get(kind, -1) + 1
        return index

    def render(self, part: Thinking, *, sealed: bool = True, home: bool = True) -> list[dict[str, object]]:
        seal = part.seal if sealed else None
        details: list[dict[str, object]] = []
        encrypted = seal is not None and seal.holds == "thought"
        if part.text or not encrypted:
            details.append(self._text(part, None if encrypted else seal))
        if seal is not None and encrypted:
            details.append(self._detail(ENCRYPTED, {"data": seal.data}, seal.issuer, part.item))
        if home and part.extra:
            for detail in details:
                merged(detail, part.extra)
        return details

    def _text(self, part: Thinking, seal: Seal | None) -> dict[str, object]:
        kind, field = (SUMMARY, "summary") if part.form == "summary" else (TEXT, "text")
        body: dict[str, object] = {field: part.text}
        if seal is not None:
            body["signature"] = seal.data
        return self._detail(kind, body, seal.issuer if seal else "", part.item)

    def _detail(self, kind: str, body: dict[str, object], issuer: str, item: str) -> dict[str, object]:
        detail: dict[str, object] = {"type": kind, **body}
        if issuer in FORMATS:
            detail["format"] = FORMATS[issuer]
        if item:
            detail["id"] = item
        detail["index"] = self.place(kind)
        return detail

    def call(self, call: ToolCall) -> dict[str, object]:
        """A seal on a call names the call."""
        assert call.seal is not None
        detail: dict[str, object] = {"type": ENCRYPTED, "data": call.seal.data, "id": call.id}
        if call.seal.issuer in FORMATS:
            detail["format"] = FORMATS[call.seal.issuer]
        detail["index"] = 0
        return detail
