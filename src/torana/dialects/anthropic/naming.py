"""Names and ids in Anthropic's alphabet, so that a sent name leads back to the one the caller wrote.

https://platform.claude.com/docs/en/agents-and-tools/tool-use/implement-tool-use: a tool's name matches
^[a-zA-Z0-9_-]{1,128}$; a call's id has the same letters.
"""

import re

NAME_CHARS_MAX = 128
_STRANGE = re.compile(r"[^a-zA-Z0-9_-]")


class Names:
    """One name as sent for each name as written; two names that come out alike are told apart by a number."""

    __slots__ = ("_sent", "_taken", "chars_max")

    def __init__(self, chars_max: int = NAME_CHARS_MAX) -> None:
        self.chars_max = chars_max
        self._sent: dict[str, str] = {}
        self._taken: set[str] = set()

    def reserve(self, names: list[str]) -> None:
        """Names that are fine as written keep their spelling, whatever else would come out like them."""
        for name in names:
            if self._spelled(name) == name:
                self._sent[name] = name
                self._taken.add(name)

    def sent(self, name: str) -> str:
        if (found := self._sent.get(name)) is not None:
            return found
        wanted = self._spelled(name)
        spelled, number = wanted, 2
        while spelled in self._taken:
            tail = f"_{number}"
            spelled, number = wanted[: self.chars_max - len(tail)] + tail, number + 1
        self._sent[name] = spelled
        self._taken.add(spelled)
        return spelled

    def changed(self) -> dict[str, str]:
        """As sent -> as written, where they differ."""
        return {sent: name for name, sent in self._sent.items() if sent != name}

    def _spelled(self, name: str) -> str:
        return _STRANGE.sub("_", name)[: self.chars_max] or "_"


def full_name(name: str, namespace: str) -> str:
    """Anthropic has no namespaces: the name carries its own."""
    return f"{namespace}__{name}" if namespace else name
