"""Live model lists: the recorded ones, and those that other servers document."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torana.errors import UpstreamError, UpstreamInvalid
from torana.providers.discover import MODELS_MAX, discover, parse
from torana.records import Model, Price, Provider

import corpus

OPENAI = Provider(name="here")
ANTHROPIC = Provider(name="here", dialect="anthropic")


def lists():
    """Every recorded list of models: (id, provider's dialect, body)."""
    found = []
    for name in corpus.providers():
        for record in corpus.provider(name):
            if not record["api"].endswith((".models", ".tags")) or record["response"]["status"] != 200:
                continue
            document = json.loads(corpus.body(record["response"]))
            if isinstance(document, dict):
                document = document.get("data", document.get("models"))
            if isinstance(document, list):
                found.append((record["id"], ANTHROPIC if name == "anthropic" else OPENAI, document, record))
    return found


def rows(entry, provider=OPENAI):
    return parse(provider, json.dumps({"data": [entry]}).encode())


def test_every_recorded_list_is_read_in_its_order():
    read = 0
    for id, provider, entries, record in lists():
        names = [e if isinstance(e, str) else e.get("id", e.get("name")) for e in entries]
        assert [row.id for row in parse(provider, corpus.body(record["response"]))] == list(
            dict.fromkeys(names)
        ), id
        read += 1
    assert read >= 45


def test_every_recorded_refusal_is_an_upstream_error():
    refused = 0
    for name in corpus.providers():
        for record in corpus.provider(name):
            status = record["response"]["status"]
            if not record["api"].endswith(".models") or status == 200:
                continue

            async def fetch(provider, path, record=record, status=status):
                return status, corpus.body(record["response"])

            with pytest.raises(UpstreamError, match=str(status)):
                asyncio.run(discover(OPENAI, fetch))
            refused += 1
    assert refused >= 10


def test_the_recorded_lists_say_how_long_a_prompt_may_be():
    contexts = {id: [row.context for row in parse(p, corpus.body(r["response"]))] for id, p, _, r in lists()}
    assert contexts["llamacpp-models-2a2e8b48d3b1e250"] == [16_384]
    assert contexts["llamacpp-models-7c653bd33d12498d"] == [262_144]
    assert contexts["groq-models-507f9cdda77c1a89"][0] == 131_072
    assert contexts["mistral-models-3881481f4681ccb7"][0] == 131_072
    assert contexts["anthropic-models-ad44c446130fb971"][0] == 1_000_000
    assert contexts["baseten-models-48f50a25e25ea8d5"][0] == 128_072
    assert contexts["ollama-models-af7dbde3bdb227ed"] == [None, None]


def test_a_recorded_price_per_token_becomes_pico_dollars():
    record = corpus.by_id()["baseten-models-48f50a25e25ea8d5"]
    row = parse(OPENAI, corpus.body(record["response"]))[0]
    assert row.price == Price(input=100_000, output=500_000)
    assert row.priced == "the provider's own list"
    assert (row.tools, row.structured, row.reasoning) == (True, True, True)


def test_what_anthropic_says_of_its_models():
    record = corpus.by_id()["anthropic-models-ad44c446130fb971"]
    row = parse(ANTHROPIC, corpus.body(record["response"]))[0]
    assert (row.id, row.title) == ("claude-fable-5", "Claude Fable 5")
    assert (row.context, row.output_max, row.created) == (1_000_000, 128_000, 1_780_790_400)


def test_vllm_says_how_it_was_started():
    assert rows({"id": "m", "object": "model", "created": 5, "max_model_len": 8192})[0] == Model(
        id="m", provider="here", context=8192, created=5
    )


def test_openrouter_says_everything():
    entry = {
        "id": "a/b",
        "name": "A: B",
        "context_length": 200_000,
        "architecture": {"input_modalities": ["text", "image", "file"], "output_modalities": ["text"]},
        "pricing": {
            "prompt": "0.000003",
            "completion": "0.000015",
            "input_cache_read": "0.0000003",
            "request": "0.01",
        },
        "top_provider": {"context_length": 1, "max_completion_tokens": 64_000},
        "supported_parameters": ["tools", "structured_outputs"],
    }
    row = rows(entry)[0]
    assert (row.title, row.context, row.output_max) == ("A: B", 200_000, 64_000)
    assert (row.input, row.output) == (("document", "image", "text"), ("text",))
    assert (row.tools, row.structured, row.reasoning) == (True, True, False)
    assert row.price == Price(input=3_000_000, output=15_000_000, cache_read=300_000, request=10_000_000)


def test_together_prices_are_per_million_and_its_list_is_bare():
    body = json.dumps([{"id": "m", "pricing": {"input": 0.2, "output": 0.6, "base": 0}}]).encode()
    assert parse(OPENAI, body)[0].price == Price(input=200_000, output=600_000)


@pytest.mark.parametrize(
    "pricing",
    [
        {"prompt": "-1", "completion": "-1"},
        {"prompt": "0.1"},
        {"prompt": "nan", "completion": "1e-6"},
        {"prompt": "inf", "completion": "1e-6"},
        {"prompt": "1e999999999", "completion": "1e-6"},
        {"prompt": True, "completion": True},
        {"currency": "pollen", "prompt": "1e-6", "completion": "1e-6"},
        "free",
        None,
    ],
)
def test_a_price_that_is_none_is_unknown_not_free(pricing):
    row = rows({"id": "m", "pricing": pricing})[0]
    assert (row.price, row.priced) == (None, "")


def test_entries_without_a_usable_id_are_left_out_and_repeated_ones_but_the_first():
    body = json.dumps(
        {
            "data": [
                {"id": "a", "created": 1},
                {"id": "a"},
                {},
                5,
                {"id": ""},
                {"id": "x\n"},
                {"id": "y" * 257},
            ]
        }
    )
    assert parse(OPENAI, body.encode()) == [Model(id="a", provider="here", created=1)]


@pytest.mark.parametrize("body", [b"", b"{}", b"5", b'{"data": {}}', b"<html>", b"\xff", b"[" * 100_000])
def test_a_list_that_is_none_is_invalid(body):
    with pytest.raises(UpstreamInvalid):
        parse(OPENAI, body)


def test_a_list_without_end_is_invalid():
    with pytest.raises(UpstreamInvalid, match=str(MODELS_MAX)):
        parse(OPENAI, json.dumps(["m"] * (MODELS_MAX + 1)).encode())


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)
FIELDS = (
    "id name created created_at max_model_len meta context_length architecture pricing top_provider max_tokens"
    " supported_parameters capabilities input_modalities display_name"
)
fields = st.sampled_from(FIELDS.split())


@given(st.dictionaries(fields, anything), st.sampled_from((OPENAI, ANTHROPIC)))
def test_fields_of_any_type_are_read_or_left_out(entry, provider):
    for row in rows(entry, provider):
        assert row.id == entry.get("id", entry.get("name"))
        assert row.context is None or row.context > 0
        assert row.created >= 0


@pytest.mark.parametrize(("provider", "wanted"), [(OPENAI, "/models"), (ANTHROPIC, "/v1/models?limit=1000")])
def test_the_list_is_fetched_where_the_dialect_has_it(provider, wanted):
    asked = []

    async def fetch(row, path):
        asked.append((row, path))
        return 200, b'{"data": [{"id": "m"}]}'

    assert asyncio.run(discover(provider, fetch)) == [Model(id="m", provider="here")]
    assert asked == [(provider, wanted)]
