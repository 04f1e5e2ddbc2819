"""May this happen, and where may it go. Gates do not know each other, nor the transport."""

from typing import Protocol

from torana.call import Call
from torana.records import Snapshot


class Gate(Protocol):
    """One question asked of every call. admit() raises to refuse; settle() is called, in reverse order, for every
    gate that admitted, however the call ended."""

    def admit(self, call: Call) -> None: ...
    def settle(self, call: Call) -> None: ...


class Live:
    """The configuration in force. Swapping the attribute is the hot reload: a call keeps the one it began with."""

    __slots__ = ("snapshot",)

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
