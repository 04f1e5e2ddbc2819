"""Messages out: roles, tool results as messages of their own, thoughts and seals as the target may have them."""

import re
import zlib

from msgspec import Raw, Struct

from torana.dialects.interface import Traits
from torana.dialects.openai_chat.contents import DIALECT, control, render_part
from torana.dialects.openai_chat.parts import render_citation
from torana.dialects.openai_chat.thoughts import Details, is_detailed
from torana.dialects.openai_chat.tools import render_call
from torana.dialects.openai_chat.wire import merged
from torana.errors import UnsupportedContent
from torana.ir import (
    Data,
    Extra,
    Loss,
    Media,
    Message,
    Opaque,
    Part,
    Refusal,
    Request,
    Seal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

NAME_CHARS_MAX = 64  # https://platform.openai.com/docs/api-reference/chat/create#chat-create-tools
_foreign = re.compile(r"[^a-zA-Z0-9_-]")
FAILED = "The tool failed: "
Body = dict[str, object]


class Names:
    """Tool names as sent, and the way back. Namespaces become prefixes; what is too long is cut and hashed."""

    __slots__ = ("_sent", "undo")

    def __init__(self) -> None:
        self._sent: dict[tuple[str, str], str] = {}  # (namespace, name) -> as sent, where that differs
        self.undo: dict[str, str] = {}

    @classmethod
    def of(cls, request: Request, *, home: bool) -> "Names":
        names = cls()
        found = {(tool.namespace, tool.name) for tool in request.tools or () if isinstance(tool, Tool)}
        if not home:
            parts = [part for message in request.messages for part in message.parts]
            calls = [part for part in parts if isinstance(part, ToolCall) and part.kind != "hosted"]
            found |= {(call.namespace, call.name) for call in calls}
        plain = {name: spelled(name, space, home=home) for space, name in found}
        taken = {name for name, sent in plain.items() if sent == name}
        for space, name in sorted(found):
            names._admit(name, space, spelled(name, space, home=home), taken)
        return names

    def _admit(self, name: str, space: str, sent: str, taken: set[str]) -> None:
        if sent == name and len(sent) <= NAME_CHARS_MAX:
            return
        if sent in taken or len(sent) > NAME_CHARS_MAX:
            digest = zlib.crc32(f"{space}\n{name}".encode())
            sent = f"{sent[: NAME_CHARS_MAX - 9]}_{digest:08x}"
        taken.add(sent)
        self._sent[space, name] = sent
        self.undo[sent] = name

    def sent(self, name: str, space: str = "") -> str:
        return self._sent.get((space, name), name)

    def chosen(self, name: str) -> str:
        """A choice names no namespace: the first tool of that name is meant."""
        found = [sent for (_, called), sent in self._sent.items() if called == name]
        return self._sent.get(("", name), found[0] if found else name)


def spelled(name: str, space: str, *, home: bool) -> str:
    full = f"{space}__{name}" if space else name
    return full if home else _foreign.sub("_", full)


class Voice:
    """Who is spoken to, and what was lost on the way."""

    __slots__ = ("cached", "home", "losses", "names", "traits")

    def __init__(self, traits: Traits, losses: list[Loss], names: Names, *, home: bool) -> None:
        self.traits = traits
        self.losses = losses
        self.names = names
        self.home = home
        self.cached = home or traits.issuer == "anthropic"

    def lose(self, where: str, why: str) -> None:
        self.losses.append(Loss(where, "dropped", why))

    def rewrite(self, where: str, why: str) -> None:
        self.losses.append(Loss(where, "rewritten", why))

    def lost_extra(self, extra: Extra, where: str) -> None:
        if extra and not self.home:
            for name in extra:
                self.lose(f"{where}.{name}", "Chat Completions has no such field")

    def may_seal(self, seal: Seal | None) -> bool:
        """A seal goes to its issuer, or home when nobody says whose model answers there."""
        if seal is None:
            return False
        return seal.issuer == self.traits.issuer if self.traits.issuer else self.home


def render_messages(messages: list[Message], voice: Voice) -> list[object]:
    rendered: list[object] = []
    for place, message in enumerate(messages):
        where = f"messages[{place}]"
        voice.lost_extra(message.extra, where)
        if message.role == "assistant":
            rendered.append(_assistant(message, voice, where))
        elif any(isinstance(part, ToolResult) for part in message.parts):
            rendered += _results(message, voice, where)
        else:
            rendered.append(_message(message, message.parts, voice, where))
    return rendered


def _message(message: Message, parts: list[Part], voice: Voice, where: str) -> Body:
    if any(isinstance(part, Thinking) for part in parts):
        raise UnsupportedContent(f"`{where}` holds a thought outside an assistant message", param=where)
    role = voice.traits.accent.role.get(message.role, message.role)
    body: Body = {"role": role, "content": _content(parts, voice, where)}
    if message.name:
        body["name"] = message.name
    return merged(body, message.extra) if voice.home else body


def _content(parts: list[Part], voice: Voice, where: str) -> object:
    """A lone plain text is a string."""
    if len(parts) == 1:
        lone_part = parts[0]
        if isinstance(lone_part, Text) and not (lone_part.cache or lone_part.extra):
            return lone_part.text
    elements: list[Body | Raw] = []
    for place, part in enumerate(parts):
        elements.append(_element(part, voice, f"{where}.content[{place}]"))
    if len(elements) == 1:
        lone = elements[0]
        if isinstance(lone, dict) and lone.keys() == {"type", "text"} and lone["type"] == "text":
            return lone["text"]
    return elements


def _element(part: Part, voice: Voice, where: str) -> Body | Raw:
    if isinstance(part, ToolCall | ToolResult):
        raise UnsupportedContent(
            f"`{where}` is a {type(part).__name__}; calls belong to assistant messages, results to user messages",
            param=where,
        )
    if isinstance(part, Opaque) and part.dialect != DIALECT:
        raise UnsupportedContent(
            f"`{where}` is a part only the {part.dialect} dialect understands", param=where
        )
    if isinstance(part, Text | Media):
        _report(part, voice, where)
    return render_part(part if voice.cached else _unmarked(part), home=voice.home)


def _report(part: Text | Media, voice: Voice, where: str) -> None:
    voice.lost_extra(part.extra, where)
    if part.cache and not voice.cached:
        voice.lose(f"{where}.cache_control", "the target takes no cache marks")
    if isinstance(part, Media):
        if part.cite:
            voice.lose(f"{where}.citations", "Chat Completions cites no documents")
        if part.kind == "document" and part.text and not (part.data or part.url or part.file):
            voice.rewrite(where, "a text document is sent as text")


def _unmarked(part: Part) -> Part:
    if isinstance(part, Text) and part.cache:
        return Text(part.text, extra=part.extra)
    if isinstance(part, Media) and part.cache:
        return Media(
            part.kind,
            part.mime,
            part.data,
            part.url,
            part.file,
            part.text,
            part.name,
            part.detail,
            extra=part.extra,
        )
    return part


# ---------------------------------------------------------------- tool results


def _results(message: Message, voice: Voice, where: str) -> list[object]:
    """Each result is a message of its own, right after the call; what else was said follows."""
    rendered: list[object] = []
    rest: list[Part] = []
    media: list[Part] = []
    for part in message.parts:
        if not isinstance(part, ToolResult):
            rest.append(part)
            continue
        if rest:
            rendered.append(_message(message, rest, voice, where))
            rest = []
        rendered.append(_result(part, voice, where, media))
    if rest or media:
        rendered.append(_message(message, [*media, *rest], voice, where))
    return rendered


def _result(part: ToolResult, voice: Voice, where: str, media: list[Part]) -> Body:
    if part.kind == "hosted":
        raise UnsupportedContent(
            f"`{where}` holds the result of a tool that another provider ran itself; it cannot be replayed here",
            param=where,
        )
    parts = list(part.parts)
    if not voice.home:
        media += [inner for inner in parts if isinstance(inner, Media)]
        parts = [inner for inner in parts if not isinstance(inner, Media)]
        if len(parts) < len(part.parts):
            voice.rewrite(where, "media of a tool result is sent in a user message after it")
            parts = parts or [Text("The result is in the next message.")]
    if part.failed:
        parts.insert(0, Text(FAILED))
        voice.rewrite(f"{where}.is_error", "said in the text of the result")
    body: Body = {"role": "tool", "content": _result_content(parts, voice, where)}
    if part.id or not voice.home:
        body["tool_call_id"] = part.id
    if part.name:
        body["name"] = voice.names.sent(part.name)
    if part.cache and voice.cached:
        body["cache_control"] = control(part.cache)
    elif part.cache:
        voice.lose(f"{where}.cache_control", "the target takes no cache marks")
    voice.lost_extra(part.extra, where)
    return merged(body, part.extra) if voice.home else body


def _result_content(parts: list[Part], voice: Voice, where: str) -> object:
    if parts and all(isinstance(part, Text | Data) for part in parts) and not voice.home:
        return "".join([part.text if isinstance(part, Text) else _json(part) for part in parts])
    return _content(parts, voice, where) if parts else ""


def _json(part: Part) -> str:
    assert isinstance(part, Data)
    return bytes(part.value).decode()


# ---------------------------------------------------------------- the assistant


class _Said(Struct):
    content: list[Part]
    thoughts: list[Thinking]
    calls: list[ToolCall]
    refusals: list[str]
    audio: list[Media]


def _sort(message: Message, where: str) -> _Said:
    said = _Said([], [], [], [], [])
    for part in message.parts:
        match part:
            case Thinking():
                said.thoughts.append(part)
            case ToolCall(kind="hosted") | ToolResult():
                raise UnsupportedContent(
                    f"`{where}` holds a call or result of a tool that another provider ran itself; "
                    "it cannot be replayed here",
                    param=where,
                )
            case ToolCall():
                said.calls.append(part)
            case Refusal(text):
                said.refusals.append(text)
            case Media(kind="audio", item=item) if item:
                said.audio.append(part)
            case _:
                said.content.append(part)
    return said


def _assistant(message: Message, voice: Voice, where: str) -> Body:
    said = _sort(message, where)
    body: Body = {"role": "assistant"}
    details = Details()
    if said.thoughts:
        _think(body, said, details, voice, where)
    content = _content(said.content, voice, where) if said.content else None
    if content is not None or not said.calls:
        body["content"] = content
    if said.refusals:
        body["refusal"] = "".join(said.refusals)
    if said.audio:
        body["audio"] = {"id": said.audio[-1].item}
    if said.calls:
        body["tool_calls"] = [_call(call, body, details, voice, where) for call in said.calls]
    if message.name:
        body["name"] = message.name
    _cite(body, said.content, voice)
    return merged(body, message.extra) if voice.home else body


def _cite(body: Body, parts: list[Part], voice: Voice) -> None:
    """Only home: what a foreign answer cited is history, and no provider reads it."""
    if voice.home:
        cited = [c for part in parts if isinstance(part, Text) for c in part.citations]
        if cited:
            body["annotations"] = [render_citation(citation, home=True) for citation in cited]


def _call(call: ToolCall, body: Body, details: Details, voice: Voice, where: str) -> Body:
    voice.lost_extra(call.extra, f"{where}.tool_calls")
    at_home = voice.home and bool(call.extra and "extra_content" in call.extra)
    rendered = render_call(
        call, voice.names.sent(call.name, call.namespace), home=voice.home, cached=voice.cached
    )
    if call.seal is None or at_home:
        return rendered
    if not voice.may_seal(call.seal):
        voice.lose(f"{where}.tool_calls", f"a seal of {call.seal.issuer or 'another provider'} stays with it")
    elif voice.traits.issuer == "gemini":
        rendered["extra_content"] = {"google": {"thought_signature": call.seal.data}}
    else:
        listed = body.setdefault("reasoning_details", [])
        assert isinstance(listed, list)
        listed.append(details.call(call))
    return rendered


def _think(body: Body, said: _Said, details: Details, voice: Voice, where: str) -> None:
    """Sealed thoughts go to their issuer as details. Others as the accent says, or as labelled text."""
    listed: list[Body] = []
    plain: list[str] = []
    for thought in said.thoughts:
        sealed = voice.may_seal(thought.seal)
        if sealed or (voice.home and is_detailed(thought) and thought.seal is None):
            listed += details.render(thought, sealed=sealed, home=voice.home)
            continue
        if thought.seal is not None:
            whose = thought.seal.issuer or "another provider"
            voice.lose(f"{where}.reasoning", f"a seal of {whose} stays with it")
        if thought.text and not (thought.seal is not None and voice.traits.thoughts == "drop"):
            plain.append(thought.text)
    if listed:
        body["reasoning_details"] = listed
    if plain:
        _say_plainly(body, "\n\n".join(plain) if not voice.home else "".join(plain), said, voice, where)


def _say_plainly(body: Body, text: str, said: _Said, voice: Voice, where: str) -> None:
    field = voice.traits.accent.thought
    if field == "content":
        said.content.insert(0, Thinking(text))
        body["content"] = None
    elif field:
        body[field] = text
    elif voice.traits.thoughts == "text":
        said.content.insert(0, Text(f"[Earlier reasoning]\n{text}"))
        voice.rewrite(f"{where}.reasoning", "the provider takes no thoughts back: sent as labelled text")
    else:
        voice.lose(f"{where}.reasoning", "the provider takes no thoughts back")
