"""Why an answer ended, in every word recorded, and the one word Chat Completions has for it."""

from torana.ir import Finish

WORDS: dict[str, Finish] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "completed": "stop",
    "stop_sequence": "stop_sequence",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "filtered",
    "refusal": "refused",
    "error": "failed",
    "insufficient_system_resource": "failed",
    "abort": "failed",
}
SAID: dict[Finish, str] = {
    "": "stop",
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "filtered": "content_filter",
    "refused": "content_filter",
    "paused": "stop",
    "failed": "error",
}


def finish_of(native: str, *, called: bool, refused: bool, matched: bool = False) -> Finish:
    """`stop` with a call in the choice means the call. A word nobody knows ended the answer all the same."""
    if not native:
        return ""
    finish = WORDS.get(native, "stop")
    if finish == "stop":
        if called:
            return "tool_calls"
        if refused:
            return "refused"
        if matched:
            return "stop_sequence"
    return finish


def word_of(finish: Finish, *, refusal: bool, legacy: bool = False) -> str:
    if finish == "refused" and refusal:
        return "stop"
    if finish == "tool_calls" and legacy:
        return "function_call"
    return SAID[finish]
