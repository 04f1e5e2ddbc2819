"""Messages written as turns.

Anthropic wants the system prompt outside, users and assistants in turn, and the results of tools first in the turn
after their calls: https://platform.claude.com/docs/en/api/messages#body-messages. A conversation of our own dialect
is written as it stands.
"""

from msgspec.structs import replace

from torana.dialects.anthropic.adapting import adapt
from torana.dialects.anthropic.draft import Draft
from torana.dialects.anthropic.spelling import Block, block_of
from torana.errors import InvalidRequest, UnsupportedContent
from torana.ir import Message, Part, Text, Thinking, ToolCall, ToolResult

Turn = dict[str, object]

PLACEHOLDER = "(no content)"
# Anthropic refuses a user's turn without text, and a conversation that an assistant begins.
OPERATOR = "<operator-note>\n{}\n</operator-note>"
# A system message in the middle, for a model that takes none there: it stays in its place, so that the cached
# beginning of the prompt stays the same, and says whose words it holds.


class Story:
    """The system prompt and the turns, each a list of parts until written."""

    __slots__ = ("system", "turns")

    def __init__(self) -> None:
        self.system: list[Part] = []
        self.turns: list[tuple[str, list[Part]]] = []

    def add(self, role: str, parts: list[Part]) -> None:
        if self.turns and self.turns[-1][0] == role:
            self.turns[-1][1].extend(parts)
        else:
            self.turns.append((role, parts))


def leading(messages: list[Message]) -> int:
    """How many system messages open the conversation."""
    for count, message in enumerate(messages):
        if message.role not in ("system", "developer"):
            return count
    return len(messages)


# ---------------------------------------------------------------- our own dialect


def own_turns(draft: Draft) -> tuple[list[Part], list[Turn]]:
    messages = draft.request.messages
    count = leading(messages)
    system = [part for message in messages[:count] for part in message.parts]
    turns: list[Turn] = []
    for at, message in enumerate(messages[count:], count):
        parts = [part for part in message.parts if _may_stay(part, draft, f"messages.{at}")]
        role = "system" if message.role == "developer" else message.role
        turns.append({"role": role, "content": _content(parts), **(message.extra or {})})
    return system, turns


def _may_stay(part: Part, draft: Draft, where: str) -> bool:
    """A seal goes to its issuer only, though the conversation speaks our dialect."""
    if not isinstance(part, Thinking) or part.seal is None or part.seal.issuer == draft.issuer:
        return True
    draft.lose(
        where, f"a thought sealed by {part.seal.issuer or 'another provider'} means nothing to this model"
    )
    return False


def _content(parts: list[Part]) -> str | list[Block]:
    if len(parts) == 1 and isinstance(parts[0], Text) and parts[0] == Text(parts[0].text):
        return parts[0].text
    return [block_of(part) for part in parts]


# ---------------------------------------------------------------- another dialect


def adapted_turns(draft: Draft) -> tuple[list[Part], list[Turn]]:
    story = Story()
    messages = draft.request.messages
    count = leading(messages)
    for at, message in enumerate(messages):
        parts = _adapted(message, draft, f"messages.{at}")
        if at < count:
            story.system += _only_text(parts, f"messages.{at}")
        elif message.role in ("system", "developer"):
            _interject(story, parts, draft, f"messages.{at}")
        else:
            story.add(message.role, parts)
    return story.system, _told(story, draft)


def _adapted(message: Message, draft: Draft, where: str) -> list[Part]:
    if message.name:
        draft.lose(f"{where}.name", "Anthropic's messages have no names")
    for name in message.extra or ():
        draft.lose(f"{where}.{name}", "Anthropic has no such field")
    adapted = [adapt(part, draft, f"{where}.content.{at}") for at, part in enumerate(message.parts)]
    return [part for part in adapted if part is not None]


def _only_text(parts: list[Part], where: str) -> list[Part]:
    for part in parts:
        if not isinstance(part, Text):
            raise UnsupportedContent(f"{where}: a system prompt holds text only", param=where)
    return parts


def _interject(story: Story, parts: list[Part], draft: Draft, where: str) -> None:
    texts = [part for part in _only_text(parts, where) if isinstance(part, Text)]
    if not texts:
        return
    if draft.traits.system_in_place:
        story.turns.append(("system", list(texts)))
        return
    draft.change(where, "a later system message became a user's text marked as the operator's")
    story.add("user", [replace(text, text=OPERATOR.format(text.text)) for text in texts])


def _told(story: Story, draft: Draft) -> list[Turn]:
    if not story.turns:
        raise InvalidRequest("Anthropic needs a user's message beside the system prompt", param="messages")
    spoken = Story()
    for role, parts in story.turns:
        if parts or role == "user":
            spoken.add(role, parts)
    turns = [(role, _ordered(parts) if role == "user" else parts) for role, parts in spoken.turns]
    if not turns or turns[0][0] == "assistant":
        turns.insert(0, ("user", []))
    _trim_prefill(turns, draft)
    return [{"role": role, "content": _content(_filled(parts, draft))} for role, parts in turns]


def _filled(parts: list[Part], draft: Draft) -> list[Part]:
    if parts:
        return parts
    draft.change("messages", f"Anthropic takes no empty turn: one was given the text {PLACEHOLDER!r}")
    return [Text(PLACEHOLDER)]


def _ordered(parts: list[Part]) -> list[Part]:
    results: list[Part] = [part for part in parts if isinstance(part, ToolResult)]
    return results + [part for part in parts if not isinstance(part, ToolResult)] if results else parts


def _trim_prefill(turns: list[tuple[str, list[Part]]], draft: Draft) -> None:
    """An answer that the caller began may not end in white space."""
    role, parts = turns[-1]
    if role != "assistant" or not parts or not isinstance(last := parts[-1], Text):
        return
    if last.text != last.text.rstrip():
        draft.change("messages", "white space at the end of the answer's beginning was cut off")
        parts[-1] = replace(last, text=last.text.rstrip())


def calls_in(messages: list[Message]) -> list[ToolCall]:
    """The functions that the conversation says were called."""
    parts = [part for message in messages for part in message.parts]
    return [part for part in parts if isinstance(part, ToolCall) and part.kind != "hosted"]
