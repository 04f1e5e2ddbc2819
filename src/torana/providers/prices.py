"""What usage costs: integers in, integers out. Knows nothing of where a price came from.

Prices are pico-dollars per token, so a sum over classes is exact; it is rounded once, half up, to nano-dollars.

A class without a price of its own pays that of the class it is part of (records.Price). `Usage.of` splits classes
further: "input.audio" and "input.image" count the whole prompt, cached tokens included, as providers report them;
"cache_read.audio" is the cached part of the audio; "output.audio" and "output.image" are parts of `output`. A
subset larger than its class is cut to it. `Usage.other`, tokens in a provider's total that it explains nowhere,
costs nothing: no provider prices them.
"""

from torana.ir import Usage
from torana.records import Price

PICO_PER_NANO = 1000
NANO_PER_USD = 1_000_000_000


def cost(price: Price, usage: Usage) -> int:
    """Nano-dollars."""
    card = card_of(price, usage.prompt) if price.above else price
    pico = _text(card, usage)
    if usage.of:
        pico += _prompt_media(card, usage, usage.of) + _completion_media(card, usage, usage.of)
    nano = card.request
    if usage.calls and card.calls:
        nano += sum([card.calls.get(tool, 0) * count for tool, count in usage.calls.items()])
    return nano + (pico + PICO_PER_NANO // 2) // PICO_PER_NANO


def card_of(price: Price, prompt: int) -> Price:
    """The card of the highest tier that the prompt passes. It counts for all tokens, not for those above."""
    found, mark = price, -1
    for tier in price.above:
        if mark < tier.tokens < prompt:
            found, mark = tier.price, tier.tokens
    return found


def _text(card: Price, usage: Usage) -> int:
    """The price if every token were text. Most calls use three classes, so the others are asked before they count."""
    pico = usage.input * card.input + usage.output * card.output
    if count := usage.tool_input:
        pico += count * card.input
    if count := usage.cache_read:
        pico += count * (card.input if card.cache_read is None else card.cache_read)
    if usage.cache_write or usage.cache_write_1h:
        write = card.input if card.cache_write is None else card.cache_write
        write_1h = write if card.cache_write_1h is None else card.cache_write_1h
        pico += usage.cache_write * write + usage.cache_write_1h * write_1h
    if count := usage.reasoning:
        pico += count * (card.output if card.reasoning is None else card.reasoning)
    return pico


def _prompt_media(card: Price, usage: Usage, of: dict[str, int]) -> int:
    """What audio and images add to the price of the same number of text tokens."""
    audio = of.get("input.audio", 0)
    stated = of.get("cache_read.audio", 0)
    cached = max(
        0, min(usage.cache_read, max(stated, audio - usage.input))
    )  # what input cannot hold was cached
    fresh = min(usage.input, max(0, audio - cached))
    image = min(of.get("input.image", 0), usage.input - fresh)
    pico = 0
    if card.input_audio is not None:
        pico += fresh * (card.input_audio - card.input)
    if card.cache_audio_read is not None:
        pico += cached * (
            card.cache_audio_read - (card.input if card.cache_read is None else card.cache_read)
        )
    if card.input_image is not None:
        pico += image * (card.input_image - card.input)
    return pico


def _completion_media(card: Price, usage: Usage, of: dict[str, int]) -> int:
    audio = min(of.get("output.audio", 0), usage.output)
    image = min(of.get("output.image", 0), usage.output - audio)
    pico = 0
    if card.output_audio is not None:
        pico += audio * (card.output_audio - card.output)
    if card.output_image is not None:
        pico += image * (card.output_image - card.output)
    return pico


def decimal_usd(nano: int) -> str:
    """Plain decimal text: 120000 is "0.00012". No exponent, no trailing zeros."""
    sign = "-" if nano < 0 else ""
    dollars, rest = divmod(abs(nano), NANO_PER_USD)
    return f"{sign}{dollars}.{rest:09d}".rstrip("0").rstrip(".")
