"""The generated model data: it is what the generator writes, and it says what is known of the models people use."""

import json
import os
from decimal import Decimal
from importlib import metadata

import pytest

from providers.generators import script
from torana.providers import find, load_catalog, models, models_of
from torana.records import Model, Price, Tier

import corpus

GENERATOR = script("generate_models")
FILE = corpus.ROOT / "src/torana/providers/models.json"
CATALOG = load_catalog()
BYTES_MAX = 1_500_000


def require_sources():
    """The generator's inputs, or a skip (a failure when CI is set)."""
    written = json.loads(FILE.read_text())["sources"]["genai-prices"]["version"]
    found = metadata.version("genai-prices")
    reason = ""
    if not GENERATOR.SNAPSHOT.exists():
        reason = f"no models.dev snapshot at {GENERATOR.SNAPSHOT.relative_to(corpus.ROOT.parent)}"
    elif found != written:
        reason = f"the file is of genai-prices {written}, installed is {found}"
    if reason and os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    if reason:
        pytest.skip(reason)


def test_the_committed_file_is_what_the_generator_writes():
    require_sources()
    text, report = GENERATOR.generate()
    assert FILE.read_text() == text
    assert any("by genai-prices" in line and "by models.dev" in line for line in report)


def test_the_generator_writes_the_same_twice():
    require_sources()
    assert GENERATOR.generate() == GENERATOR.generate()


def test_the_file_is_small_and_names_its_sources_dates_and_licences():
    text = FILE.read_text()
    sources = json.loads(text)["sources"]
    assert len(text) < BYTES_MAX
    assert sources["models.dev"] == {"date": "2026-07-02", "licence": "MIT", "address": "https://models.dev"}
    assert sources["genai-prices"]["licence"] == "MIT"
    assert sources["genai-prices"]["date"] == f"{GENERATOR.AS_OF:%Y-%m-%d}"
    docs = (corpus.ROOT / "docs/providers.md").read_text()
    assert f"genai-prices) {sources['genai-prices']['version']} | MIT |" in docs


def test_every_row_is_read_and_belongs_to_a_provider_of_the_catalog():
    held = json.loads(FILE.read_text())["rows"]
    assert held.keys() <= CATALOG.keys()
    for name, rows in models_of(held).items():
        assert list(rows) == sorted(rows)
        assert len(rows) == len(held[name])
        assert {row.provider for row in rows.values()} == {name}


def test_a_price_names_its_source_and_its_absence_names_none():
    for rows in models_of(CATALOG).values():
        for row in rows.values():
            assert (row.price is None) == (row.priced == "")


def test_only_the_rows_asked_for_are_decoded():
    assert models_of([]) == {}
    assert models_of(["openai"]).keys() == {"openai"}
    assert models("ollama") == {}
    assert models("openai") == models_of(["openai"])["openai"]


def test_what_is_known_of_gpt_4o():
    row = models("openai")["gpt-4o"]
    assert (row.context, row.output_max, row.tools, row.structured) == (128_000, 16_384, True, True)
    assert (row.input, row.output) == (("document", "image", "text"), ("text",))
    assert row.sampling
    assert row.price.input == 2_500_000
    assert row.price.output == 10_000_000
    assert row.price.cache_read == 1_250_000


@pytest.mark.parametrize("model", ["o1", "o3", "o4-mini", "gpt-5", "gpt-5-mini", "gpt-5.5"])
def test_openai_models_that_reason_refuse_sampling(model):
    assert models("openai")[model].sampling is False


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1", "gpt-5-chat-latest", "gpt-oss-120b"])
def test_openai_models_that_do_not_refuse_sampling_take_it(model):
    assert models("openai")[model].sampling is True


@pytest.mark.parametrize(
    ("model", "thinking", "sampling"),
    [
        ("claude-3-5-sonnet-20241022", "", True),
        ("claude-3-7-sonnet-20250219", "budget", True),
        ("claude-sonnet-4-20250514", "budget", True),
        ("claude-haiku-4-5", "budget", True),
        ("claude-opus-4-5", "budget", True),
        ("claude-opus-4-6", "adaptive", True),
        ("claude-opus-4-7", "adaptive", False),
        ("claude-sonnet-5", "adaptive", False),
    ],
)
def test_claude_is_asked_to_think_as_its_version_wants(model, thinking, sampling):
    row = models("anthropic")[model]
    assert (row.thinking, row.sampling) == (thinking, sampling)
    assert row.output_max


def test_a_row_that_leaves_its_facts_to_the_base_model_inherits_them():
    assert models("openai")["gpt-5"].context == 400_000
    assert models("openrouter")["anthropic/claude-opus-4.7"].output_max == 128_000


def test_a_dated_name_without_a_row_has_the_undated_ones():
    rows = {"m": Model(id="m"), "m-2024-05-13": Model(id="m-2024-05-13"), "n-1106": Model(id="n-1106")}
    assert find(rows, "m-2024-08-06").id == "m"
    assert find(rows, "m-20240806").id == "m"
    assert find(rows, "m@20240806").id == "m"
    assert find(rows, "m-2024-05-13").id == "m-2024-05-13"
    assert find(rows, "m-2024-0806") is None
    assert find(rows, "m-mini-2024-08-06") is None
    assert find(rows, "n") is None


# ---------------------------------------------------------------- the generator's rules


def test_a_models_dev_price_becomes_pico_dollars_with_its_tiers():
    cost = {
        "input": Decimal("1.25"),
        "output": Decimal(10),
        "cache_read": Decimal("0.125"),
        "tiers": [{"tier": {"size": 200_000}, "input": Decimal("2.5")}],
    }
    tier = Price(input=2_500_000, output=10_000_000, cache_read=125_000)
    assert GENERATOR.snapshot_price(cost) == Price(
        input=1_250_000, output=10_000_000, cache_read=125_000, above=(Tier(200_000, tier),)
    )


def test_a_cache_price_of_nothing_beside_a_paid_input_is_not_stated():
    assert GENERATOR.snapshot_price({"input": 1, "output": 2, "cache_read": 0}).cache_read is None
    assert GENERATOR.snapshot_price({"input": 0, "output": 0, "cache_read": 0}).cache_read == 0


def test_half_a_price_is_none():
    assert GENERATOR.snapshot_price({"input": 1}) is None
    assert GENERATOR.snapshot_price(None) is None


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("claude-opus-4-7", (4, 7)),
        ("anthropic/claude-opus-4.7", (4, 7)),
        ("claude-sonnet-4-20250514", (4, 0)),
        ("claude-3-7-sonnet-latest", (3, 7)),
        ("claude-sonnet-5", (5, 0)),
        ("us.anthropic.claude-haiku-4-5-20251001-v1:0", (4, 5)),
        ("gpt-4o", None),
    ],
)
def test_the_version_of_claude_is_read_off_its_name(name, version):
    assert GENERATOR.claude_version(name) == version


def test_what_a_newer_card_adds_is_no_difference_and_what_it_leaves_out_is():
    older = Price(input=1, output=2, cache_read=1)
    assert not GENERATOR.differs(older, Price(input=1, output=2, cache_read=1, cache_write=3))
    assert GENERATOR.differs(older, Price(input=1, output=2))
    assert GENERATOR.differs(older, Price(input=2, output=2, cache_read=1))
