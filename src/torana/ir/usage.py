"""What an answer consumed, in classes that never overlap."""

from msgspec import Struct

from torana.ir.parts import Extra


class Usage(Struct, frozen=True, gc=False):
    """The eight classes are disjoint and sum to `total` whenever a provider states one. `of` holds subsets that
    are never added ("input.audio", "output.image"); `calls` counts hosted tool runs ("web_search": 2); `cost` is
    the provider's own price in USD, decimal text as sent."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    tool_input: int = 0
    output: int = 0
    reasoning: int = 0
    other: int = 0
    total: int | None = None
    of: dict[str, int] | None = None
    calls: dict[str, int] | None = None
    cost: str = ""
    estimated: bool = False
    extra: Extra = None

    @property
    def prompt(self) -> int:
        """Everything that went in."""
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h + self.tool_input

    @property
    def completion(self) -> int:
        """Everything that came out, thoughts included."""
        return self.output + self.reasoning
