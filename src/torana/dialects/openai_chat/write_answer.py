"""Answers out, whole: https://platform.openai.com/docs/api-reference/chat/object

Thoughts are said in `reasoning` and `reasoning_content`; where a seal may matter for the next turn, in
`reasoning_details` too.
"""

from msgspec import Struct

from torana.dialects.interface import Context, Rendered
from torana.dialects.openai_chat.contents import DIALECT, render_media, render_part
from torana.dialects.openai_chat.failures import render_error
from torana.dialects.openai_chat.finishes import word_of
from torana.dialects.openai_chat.logprobs import render_logprobs
from torana.dialects.openai_chat.parts import render_audio, render_citation
from torana.dialects.openai_chat.thoughts import Details, is_detailed
from torana.dialects.openai_chat.tools import render_call
from torana.dialects.openai_chat.usage import render_usage
from torana.dialects.openai_chat.wire import merged
from torana.ir import (
    Choice,
    Citation,
    Data,
    Loss,
    Media,
    Opaque,
    Part,
    Refusal,
    Response,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from torana.wire import json

Body = dict[str, object]
LEGACY = "function_call"

# ---------------------------------------------------------------- whole


def render_response(response: Response, context: Context = Context()) -> Rendered:
    if response.error is not None:
        return Rendered(render_error(response.error))
    home = response.dialect == DIALECT
    losses: list[Loss] = []
    body: Body = {
        "id": context.id or response.id,
        "object": "chat.completion",
        "created": context.created or response.created,
        "model": context.model or response.model,
        "choices": [_choice(choice, losses, home=home) for choice in response.choices],
    }
    if response.tier:
        body["service_tier"] = response.tier
    if response.fingerprint:
        body["system_fingerprint"] = response.fingerprint
    if response.usage is not None:
        body["usage"] = render_usage(response.usage, home=home, cost=context.cost)
    if home:
        merged(body, response.extra)
    else:
        losses += [
            Loss(name, "dropped", "Chat Completions has no such field") for name in response.extra or ()
        ]
    return Rendered(json.encode(body), losses=tuple(losses))


class _Said(Struct):
    text: list[str] = []
    refusal: list[str] = []
    thoughts: list[Thinking] = []
    calls: list[ToolCall] = []
    annotations: list[Body] = []
    images: list[Body] = []
    audio: Body | None = None
    scores: dict[str, list[Body]] = {}
    chars: int = 0


def _choice(choice: Choice, losses: list[Loss], *, home: bool) -> Body:
    said = _Said()
    for part in choice.parts:
        _sort(part, said, losses, home=home)
    legacy = bool(said.calls and said.calls[0].extra and LEGACY in said.calls[0].extra)
    message: Body = {
        "role": "assistant",
        "content": _content(choice.parts, said),
        "refusal": "".join(said.refusal) if said.refusal else None,
    }
    _say_thoughts(message, said.thoughts, home=home)
    if legacy:
        message["function_call"] = render_call(said.calls[0], said.calls[0].name, home=False, cached=False)[
            "function"
        ]
    elif said.calls:
        message["tool_calls"] = [render_call(call, call.name, home=home, cached=False) for call in said.calls]
        _say_seals(message, said.calls)
    for name in ("annotations", "images", "audio"):
        if value := getattr(said, name):
            message[name] = value
    body: Body = {
        "index": choice.index,
        "message": message,
        "logprobs": said.scores or None,
        "finish_reason": word_of(choice.finish, refusal=bool(said.refusal), legacy=legacy),
    }
    if choice.matched:
        body["stop_reason"] = choice.matched
    if home:
        merged(body, choice.extra)
    else:
        losses += [Loss(name, "dropped", "Chat Completions has no such field") for name in choice.extra or ()]
    return body


def _content(parts: list[Part], said: _Said) -> object:
    """Text is a string; elements of this dialect that stand between texts make it the list it was."""
    if any(isinstance(part, Opaque) and part.dialect == DIALECT for part in parts):
        kept = [part for part in parts if isinstance(part, Text | Opaque | Data)]
        return [render_part(part, home=True) for part in kept]
    return "".join(said.text) if said.text else None


def _sort(part: Part, said: _Said, losses: list[Loss], *, home: bool) -> None:
    match part:
        case Text(text):
            said.annotations += [
                render_citation(shifted(citation, said.chars), home=home) for citation in part.citations
            ]
            said.text.append(text)
            said.chars += len(text)
            said.scores.setdefault("content", []).extend(render_logprobs(part.logprobs))
        case Refusal(text):
            said.refusal.append(text)
            said.scores.setdefault("refusal", []).extend(render_logprobs(part.logprobs))
        case Thinking():
            said.thoughts.append(part)
            said.scores.setdefault("reasoning_content", []).extend(render_logprobs(part.logprobs))
        case ToolCall(kind="function" | "custom"):
            said.calls.append(part)
        case Media(kind="image"):
            said.images.append(render_media(part))
        case Media(kind="audio"):
            said.audio = render_audio(part, home=home)
        case Data(value):
            said.text.append(bytes(value).decode())
        case Opaque(dialect) if dialect == DIALECT:
            pass  # see _content
        case _:
            losses.append(unsaid(part))
    for name in [name for name, scores in said.scores.items() if not scores]:
        del said.scores[name]


def unsaid(part: Part) -> Loss:
    """What the provider did on its own (hosted tools) and what only it understands has no place in a chat."""
    match part:
        case ToolCall(name=name) | ToolResult(name=name):
            where = f"content[{name or 'hosted tool'}]"
        case Opaque(dialect):
            where = f"content[{dialect}]"
        case _:
            where = f"content[{type(part).__name__}]"
    return Loss(where, "dropped", "Chat Completions cannot show what the provider did by itself")


def shifted(citation: Citation, chars: int) -> Citation:
    """Texts are joined, so a later one's spans move."""
    if not chars or citation.where is None:
        return citation
    where = type(citation.where)(
        citation.where.start + chars, citation.where.end + chars, citation.where.unit
    )
    return Citation(
        citation.kind, citation.source, citation.title, citation.quote, where, citation.place, citation.extra
    )


def _say_thoughts(message: Body, thoughts: list[Thinking], *, home: bool) -> None:
    if text := "".join([thought.text for thought in thoughts]):
        message["reasoning"] = message["reasoning_content"] = text
    if any(is_detailed(thought) or (not home and thought.text) for thought in thoughts):
        details = Details()
        message["reasoning_details"] = [
            detail for thought in thoughts for detail in details.render(thought, home=home)
        ]


def _say_seals(message: Body, calls: list[ToolCall]) -> None:
    sealed = [call for call in calls if call.seal is not None and "extra_content" not in (call.extra or ())]
    if sealed:
        listed = message.setdefault("reasoning_details", [])
        assert isinstance(listed, list)
        listed += [Details().call(call) for call in sealed]
