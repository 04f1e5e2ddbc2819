"""What rendering one request gathers beside its body: losses, names, ids, betas."""

from torana.dialects.anthropic.naming import Names
from torana.dialects.anthropic.wire import DIALECT
from torana.ir import Loss, Request, ToolCall, ToolResult
from torana.records import Traits

ID_CHARS_MAX = 256  # none is stated; no recorded id is longer


class Draft:
    __slots__ = ("_pending", "betas", "ids", "issuer", "losses", "made", "names", "own", "request", "traits")

    def __init__(self, request: Request, traits: Traits) -> None:
        self.request = request
        self.traits = traits
        self.own = request.dialect == DIALECT
        self.issuer = traits.issuer or DIALECT
        self.losses: list[Loss] = []
        self.betas: list[str] = []
        self.names = Names()
        self.ids = Names(chars_max=ID_CHARS_MAX)
        self.made = 0
        self._pending: list[tuple[str, str]] = []

    def lose(self, where: str, why: str) -> None:
        self._note(Loss(where, "dropped", why))

    def change(self, where: str, why: str) -> None:
        self._note(Loss(where, "rewritten", why))

    def _note(self, loss: Loss) -> None:
        if loss not in self.losses:
            self.losses.append(loss)

    def call_id(self, call: ToolCall) -> str:
        """Gemini's calls have no ids: they are made here, and results find them by name and order."""
        if call.id:
            return self.ids.sent(call.id)
        self.made += 1
        made = f"toolu_{self.made}"
        self._pending.append((call.name, made))
        return made

    def result_id(self, result: ToolResult) -> str:
        if result.id:
            return self.ids.sent(result.id)
        for at, (name, made) in enumerate(self._pending):
            if not result.name or name == result.name:
                del self._pending[at]
                return made
        return self.ids.sent(result.name or "unknown")
