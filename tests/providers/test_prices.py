"""Cost arithmetic against genai-prices, an independent implementation, on every model that both know."""

import random
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal

import msgspec
import pytest
from genai_prices.data import providers as genai_providers
from genai_prices.types import Usage as GenaiUsage
from hypothesis import given
from hypothesis import strategies as st

from providers.generators import script
from torana.ir import Usage
from torana.providers import models
from torana.providers.prices import card_of, cost, decimal_usd
from torana.records import Price, Tier

SOURCES = {name: source for name, source in script("generate_models").SOURCES.items() if source.prices}
AS_OF = script("generate_models").AS_OF
GENAI = {provider.id: provider for provider in genai_providers}
USAGES_PER_MODEL = 6


def random_usage(dice, price):
    """Disjoint classes of all sizes, some of them just at, below and above the price's thresholds."""
    sizes = [0, 0, 1, 17, 999, 123_456, 1_000_001]
    usage = {
        field: dice.choice(sizes)
        for field in ("cache_read", "cache_write", "cache_write_1h", "output", "reasoning")
    }
    usage["input"] = dice.choice(sizes)
    if price.above and dice.random() < 0.5:
        rest = usage["cache_read"] + usage["cache_write"] + usage["cache_write_1h"]
        usage["input"] = max(0, dice.choice(price.above).tokens + dice.choice([-1, 0, 1]) - rest)
    of = {}
    if price.input_audio is not None:
        of["cache_read.audio"] = (
            dice.randint(0, usage["cache_read"]) if price.cache_audio_read is not None else 0
        )
        of["input.audio"] = of["cache_read.audio"] + dice.randint(0, usage["input"])
    elif price.input_image is not None:
        of["input.image"] = dice.randint(0, usage["input"])
    if price.output_audio is not None:
        of["output.audio"] = dice.randint(0, usage["output"])
    elif price.output_image is not None:
        of["output.image"] = dice.randint(0, usage["output"])
    calls = {tool: dice.randint(0, 5) for tool in price.calls or ()}
    return Usage(**usage, of=of or None, calls=calls or None)


def genai_usage(usage):
    of, calls = usage.of or {}, usage.calls or {}
    counts = {
        "input_tokens": usage.prompt,
        "output_tokens": usage.completion,
        "cache_read_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write + usage.cache_write_1h,
        "cache_write_1h_tokens": usage.cache_write_1h,
        "output_reasoning_tokens": usage.reasoning,
        "input_audio_tokens": of.get("input.audio", 0),
        "cache_audio_read_tokens": of.get("cache_read.audio", 0),
        "input_image_tokens": of.get("input.image", 0),
        "cache_image_read_tokens": 0,
        "output_audio_tokens": of.get("output.audio", 0),
        "output_image_tokens": of.get("output.image", 0),
        "web_searches": calls.get("web_search", 0),
        "storage_searches": calls.get("file_search", 0),
    }
    return GenaiUsage(**counts)


def fraction_of_a_pico(card):
    """Whether a published price is finer than a pico-dollar per token, so that ours is its nearest neighbour."""
    amounts = [value for value in vars(card).values() if value is not None]
    flat = [
        a
        for value in amounts
        for a in ([value] if isinstance(value, Decimal) else [value.base, *(t.price for t in value.tiers)])
    ]
    return any(amount * 1_000_000 % 1 for amount in flat)


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_every_priced_model_costs_what_the_oracle_says(name):
    source, dice, compared = SOURCES[name], random.Random(name), 0
    for row in models(name).values():
        if not row.priced.startswith("genai-prices"):
            continue
        info = GENAI[source.prices].find_model(
            row.id.removeprefix(source.prefix), all_providers=genai_providers
        )
        exact = not fraction_of_a_pico(info.get_prices(AS_OF))
        for _ in range(USAGES_PER_MODEL):
            usage = random_usage(dice, row.price)
            oracle = info.calc_price(genai_usage(usage), GENAI[source.prices], genai_request_timestamp=AS_OF)
            nano = int((oracle.total_price * 10**9).quantize(Decimal(1), ROUND_HALF_UP))
            slack = 0 if exact else 1 + (usage.prompt + usage.completion) // 2000
            assert abs(cost(row.price, usage) - nano) <= slack, (row.id, usage)
            compared += 1
    assert compared >= USAGES_PER_MODEL


def test_the_oracle_judges_well_over_a_thousand_models():
    priced = [
        row for name in SOURCES for row in models(name).values() if row.priced.startswith("genai-prices")
    ]
    assert len(priced) > 1000
    assert sum(bool(row.price.above) for row in priced) > 20
    assert sum(row.price.input_audio is not None for row in priced) > 5


# ---------------------------------------------------------------- the rules, one by one

DOLLAR_PER_MTOK = 1_000_000


def test_prices_per_million_come_out_in_nano_dollars():
    price = Price(input=3 * DOLLAR_PER_MTOK, output=15 * DOLLAR_PER_MTOK)
    assert cost(price, Usage(input=1_000_000, output=1_000_000)) == 18 * 10**9


def test_classes_without_a_price_pay_that_of_the_class_they_are_part_of():
    price = Price(input=2000, output=8000)
    usage = Usage(input=1, cache_read=1, cache_write=1, cache_write_1h=1, tool_input=1, output=1, reasoning=1)
    assert cost(price, usage) == (5 * 2000 + 2 * 8000) // 1000
    written = Price(input=2000, output=0, cache_write=5000)
    assert cost(written, Usage(cache_write_1h=1)) == 5


def test_a_free_class_is_free():
    assert cost(Price(input=2000, output=0, cache_read=0), Usage(cache_read=1000)) == 0


def test_the_sum_is_rounded_once_and_half_up():
    price = Price(input=500, output=250)
    assert cost(price, Usage(input=1)) == 1
    assert cost(price, Usage(output=1)) == 0
    assert cost(price, Usage(input=1, output=1)) == 1
    assert cost(price, Usage(input=1, output=4)) == 2


def test_a_tier_counts_for_all_tokens_of_a_prompt_longer_than_its_threshold():
    dear = Price(input=2000, output=20_000)
    price = Price(input=1000, output=10_000, above=(Tier(400, Price()), Tier(200, dear)))
    assert card_of(price, 200) is price
    assert card_of(price, 201) is dear
    assert card_of(price, 401) == Price()
    assert cost(price, Usage(input=1, cache_read=200, output=1)) == 201 * 2 + 20


def test_requests_and_hosted_tools_are_charged_by_the_piece():
    price = Price(request=5_000_000, calls={"web_search": 10_000_000})
    assert cost(price, Usage(calls={"web_search": 2, "code_execution": 3})) == 25_000_000


def test_audio_and_images_replace_the_price_of_the_tokens_they_are():
    price = Price(
        input=1000, output=1000, input_audio=5000, output_audio=7000, input_image=3000, output_image=9000
    )
    assert cost(price, Usage(input=10, of={"input.audio": 4, "input.image": 2})) == 4 * 5 + 2 * 3 + 4
    assert cost(price, Usage(output=10, of={"output.audio": 4, "output.image": 2})) == 4 * 7 + 2 * 9 + 4


def test_cached_audio_has_its_own_price_and_is_not_charged_twice():
    price = Price(input=1000, output=0, cache_read=100, input_audio=5000, cache_audio_read=500)
    usage = Usage(input=10, cache_read=20, of={"input.audio": 9, "cache_read.audio": 6})
    assert cost(price, usage) == 3 * 5 + 7 * 1 + (6 * 500 + 14 * 100) // 1000


def test_a_subset_larger_than_its_class_is_cut_to_it():
    price = Price(input=1000, output=1000, input_audio=5000, output_audio=7000)
    assert cost(price, Usage(input=2, of={"input.audio": 99})) == 10
    assert cost(price, Usage(output=2, of={"output.audio": 99, "output.image": 99})) == 14


def test_tokens_that_nothing_explains_cost_nothing():
    assert cost(Price(input=1000, output=1000), Usage(other=10)) == 0


counts = st.integers(min_value=0, max_value=2**40)
prices = st.integers(min_value=0, max_value=10**9)
classes = ("input", "cache_read", "cache_write", "cache_write_1h", "tool_input", "output", "reasoning")
usages = st.builds(
    Usage,
    **dict.fromkeys(classes, counts),
    of=st.none()
    | st.dictionaries(
        st.sampled_from(("input.audio", "cache_read.audio", "input.image", "output.audio", "output.image")),
        counts,
    ),
)
maybe = st.none() | prices
cards = st.builds(
    Price,
    input=prices,
    output=prices,
    **dict.fromkeys(
        (
            "cache_read",
            "cache_write",
            "cache_write_1h",
            "reasoning",
            "input_audio",
            "output_audio",
            "cache_audio_read",
            "input_image",
            "output_image",
        ),
        maybe,
    ),
    request=prices,
)


@given(cards, usages)
def test_a_cost_is_never_negative_and_nothing_costs_only_the_request(price, usage):
    assert cost(price, usage) >= 0
    assert cost(price, Usage()) == price.request


@given(prices, usages)
def test_one_price_for_everything_counts_every_token_once(price, usage):
    card = Price(
        **{field: price for field in Price.__struct_fields__ if field not in ("request", "calls", "above")}
    )
    assert cost(card, usage) == ((usage.prompt + usage.completion) * price + 500) // 1000


@given(cards, st.sampled_from(classes), counts)
def test_a_class_alone_costs_a_sum_that_no_float_could_blur(price, field, count):
    fallback = {
        "input": price.input,
        "tool_input": price.input,
        "cache_read": price.input if price.cache_read is None else price.cache_read,
        "cache_write": price.input if price.cache_write is None else price.cache_write,
        "output": price.output,
        "reasoning": price.output if price.reasoning is None else price.reasoning,
    }
    fallback["cache_write_1h"] = (
        fallback["cache_write"] if price.cache_write_1h is None else price.cache_write_1h
    )
    exact = Decimal(count * fallback[field]) / 1000
    wanted = int(exact.quantize(Decimal(1), ROUND_HALF_UP)) + price.request
    assert cost(price, msgspec.structs.replace(Usage(), **{field: count})) == wanted


# ---------------------------------------------------------------- decimal text


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "0"),
        (1, "0.000000001"),
        (120_000, "0.00012"),
        (1_000_000_000, "1"),
        (10_000_000_000, "10"),
        (12_340_000_000, "12.34"),
        (-120_000, "-0.00012"),
    ],
)
def test_dollars_are_plain_decimal_text(nano, text):
    assert decimal_usd(nano) == text


@given(st.integers(min_value=-(10**20), max_value=10**20))
def test_dollars_read_back_as_the_same_amount(nano):
    text = decimal_usd(nano)
    assert Decimal(text) * 10**9 == nano
    assert set(text) <= set("-.0123456789")


def test_the_prices_are_those_of_the_day_the_file_names():
    assert datetime(2026, 11, 1, tzinfo=UTC) < AS_OF < datetime(2026, 12, 1, tzinfo=UTC)
