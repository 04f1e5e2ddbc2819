"""Why an answer ended: https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons."""

from types import MappingProxyType

from torana.dialects.anthropic.wire import DIALECT
from torana.ir import Finish

FINISH: MappingProxyType[str, Finish] = MappingProxyType(
    {
        "end_turn": "stop",
        "stop_sequence": "stop_sequence",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool_calls",
        "pause_turn": "paused",
        "compaction": "paused",
        "refusal": "refused",
    }
)
STOP_REASON: MappingProxyType[Finish, str] = MappingProxyType(
    {
        "": "end_turn",
        "stop": "end_turn",
        "stop_sequence": "stop_sequence",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "filtered": "refusal",
        "refused": "refusal",
        "paused": "pause_turn",
    }
)
# "failed" is no way to end an answer here: it is an error


def finish_of(native: str) -> Finish:
    """A word that is new to us ends the answer all the same; `native` keeps it."""
    return FINISH.get(native, "stop") if native else ""


def stop_reason(dialect: str, finish: Finish, native: str) -> str:
    return native if dialect == DIALECT and native else STOP_REASON.get(finish, "end_turn")
