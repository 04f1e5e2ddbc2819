"""Parts of an answer of any dialect, changed into what Anthropic's clients have a block for.

The money is spent when an answer comes, so nothing here refuses: what has no block becomes words, and is named.
Knows nothing of streams.
"""

import re

from msgspec.structs import replace

from torana.dialects.anthropic.spelling import INVALID_JSON, Block, block_of, input_of
from torana.dialects.anthropic.wire import DIALECT
from torana.dialects.interface import Context
from torana.ir import Data, Loss, Media, Opaque, Part, Refusal, Text, Thinking, ToolCall, ToolResult

_STRANGE = re.compile(r"[^a-zA-Z0-9_-]")


def message_id(context: Context, id: str) -> str:
    wanted = context.id or id
    return wanted if wanted.startswith("msg_") else f"msg_{_STRANGE.sub('', wanted)}"


def call_id(call: ToolCall, message: str, index: int) -> str:
    """Gemini's calls have no ids, and a client needs one to answer by."""
    return call.id or f"toolu_{message.removeprefix('msg_')}_{index}"


def retell(part: Part, own: bool, message: str, index: int, losses: list[Loss]) -> Part | None:
    """None for what says nothing, or nothing to anybody else."""
    where = f"content.{index}"
    if isinstance(part, ToolCall) and part.kind != "custom" and input_of(part.text) is None:
        losses.append(Loss(f"{where}.input", "rewritten", f"no JSON object: it is under {INVALID_JSON}"))
    if own:
        return part
    match part:
        case Text():
            if any(citation.where is not None for citation in part.citations):
                losses.append(
                    Loss(f"{where}.citations", "rewritten", "citations here speak of their whole block")
                )
            return part if part.text or part.citations else None
        case Thinking():
            return part if part.text or part.seal is not None else None
        case Refusal(text):
            return Text(text) if text else None
        case Media():
            losses.append(
                Loss(where, "rewritten", f"Anthropic's answers hold no {part.kind}: it became words")
            )
            return Text(_in_words(part))
        case ToolCall():
            return replace(part, id=call_id(part, message, index))
        case ToolResult() | Data():
            return part
        case Opaque(dialect):
            if dialect == DIALECT:
                return part
            losses.append(Loss(where, "dropped", f"only {dialect} understands this part"))
            return None


def retold_block(part: Part) -> Block:
    """Clients insist on a signature, though it be empty."""
    block = block_of(part)
    if isinstance(block, dict) and block["type"] == "thinking":
        block.setdefault("signature", "")
    return block


def _in_words(part: Media) -> str:
    if part.text:
        return part.text
    if part.url:
        return part.url
    return f"[{part.kind} {part.mime or part.file} left out: this API cannot carry it]"
