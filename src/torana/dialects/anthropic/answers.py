"""Whole answers: read, written, and glanced at.

https://platform.claude.com/docs/en/api/messages#response. An answer whose body is an error is an error, whatever
its status said.
"""

from msgspec import Raw, Struct
from msgspec.json import Decoder

from torana.dialects.anthropic.blocks import parse_blocks
from torana.dialects.anthropic.failures import parse_failure
from torana.dialects.anthropic.finishes import finish_of, stop_reason
from torana.dialects.anthropic.retelling import message_id, retell, retold_block
from torana.dialects.anthropic.usage import parse_usage, render_usage
from torana.dialects.anthropic.wire import ABSENT, ANSWER, DIALECT, check_utf8, said
from torana.dialects.interface import Context, Glance, Rendered
from torana.errors import StreamIncomplete, UpstreamError, UpstreamInvalid
from torana.ir import Choice, End, Event, Loss, Response, Start, unfold
from torana.wire.json import encode, read


def parse_response(body: bytes) -> list[Event]:
    response = read_response(body)
    return unfold(response) if response.error is None else [Start(DIALECT), End(response.error)]


def read_response(body: bytes) -> Response:
    """What parse_response spells out, without spelling it out."""
    check_utf8(body, UpstreamInvalid)
    wire, extra = ANSWER.read(body, UpstreamInvalid)
    if wire.type == "error":
        return Response(dialect=DIALECT, error=parse_failure(wire.error), ended=True)
    if wire.content is None or wire.type not in ("message", ""):
        raise UpstreamInvalid("the answer is no message: it has no `content`")
    usage, tier = parse_usage(wire.usage)
    native = wire.stop_reason or ""
    choice = Choice(
        0,
        parse_blocks(wire.content, UpstreamInvalid, "content"),
        finish_of(native),
        native,
        wire.stop_sequence or "",
        {"stop_details": wire.stop_details} if said(wire.stop_details) else None,
    )
    return Response(
        dialect=DIALECT,
        id=wire.id or "",
        model=wire.model or "",
        tier=tier,
        choices=[choice],
        usage=usage,
        ended=True,
        extra=extra,
    )


class _Outline(Struct):
    type: str = ""
    id: str | None = None
    model: str | None = None
    stop_reason: str | None = None
    usage: Raw = ABSENT
    error: Raw = ABSENT


_outline = Decoder(_Outline)


def glance(body: bytes) -> Glance:
    wire = read(_outline, body, UpstreamInvalid)
    if wire.type == "error":
        return Glance(error=parse_failure(wire.error))
    usage, _ = parse_usage(wire.usage)
    return Glance(wire.id or "", wire.model or "", finish_of(wire.stop_reason or ""), usage)


def render_response(response: Response, context: Context = Context()) -> Rendered:
    """Raises the error of an answer that failed: Anthropic has no half answers."""
    choice = response.choices[0] if response.choices else Choice(0)
    if response.error is not None:
        raise response.error
    if not response.ended:
        raise StreamIncomplete("the answer has no end")
    if choice.finish == "failed":
        raise UpstreamError(f"the provider's model failed: {choice.native or 'no reason given'}")
    losses = [
        Loss(f"choices.{other.index}", "dropped", "Anthropic gives one answer")
        for other in response.choices[1:]
    ]
    own = response.dialect == DIALECT
    id = message_id(context, response.id)
    parts = [retell(part, own, id, at, losses) for at, part in enumerate(choice.parts)]
    body: dict[str, object] = {
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": context.model or response.model,
        "content": [retold_block(part) for part in parts if part is not None],
        "stop_reason": stop_reason(response.dialect, choice.finish, choice.native),
        "stop_sequence": choice.matched or None,
        "usage": render_usage(response.usage, response.tier, context.cost),
    }
    if own:
        body |= {**(choice.extra or {}), **(response.extra or {})}
    else:
        names = {**(choice.extra or {}), **(response.extra or {})}
        losses += [Loss(name, "dropped", "Anthropic's answers have no such field") for name in names]
    return Rendered(encode(body), losses=tuple(losses))
