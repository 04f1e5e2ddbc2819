"""The model string: every spelling callers use, and the order in which they are read."""

import pytest

from torana.errors import InvalidRequest, ModelNotFound
from torana.policy.routes import Routes
from torana.records import Model, Price, Provider, Snapshot


def row(provider, id, cost):
    return Model(id=id, provider=provider, price=Price(input=cost, output=cost) if cost else None)


PROVIDERS = ("openai", "azure", "openrouter", "anthropic", "mine")
LISTED = {
    "openai": {"gpt-4o": 5, "gpt-4o-mini": 2},
    "azure": {"gpt-4o": 4, "gpt-4o-mini": 3},
    "openrouter": {"openai/gpt-4o": 6, "meta/llama:free": 1},
    "anthropic": {"claude-sonnet-5": 7},
    "mine": {"gpt-4o": 0},
}
SNAPSHOT = Snapshot(
    providers={name: Provider(name=name) for name in PROVIDERS},
    models={p: {id: row(p, id, cost) for id, cost in ids.items()} for p, ids in LISTED.items()},
    aliases={"fast": ("openai/gpt-4o-mini",), "both": ("azure/gpt-4o", "openai/gpt-4o")},
)


def read(model, snapshot=SNAPSHOT):
    return [f"{t.provider.name}/{t.model}" for t in Routes(snapshot).find(model).targets]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("fast", ["openai/gpt-4o-mini"]),
        ("both", ["azure/gpt-4o", "openai/gpt-4o"]),
        ("openai/gpt-4o", ["openai/gpt-4o"]),
        ("openai:gpt-4o", ["openai/gpt-4o"]),
        ("gpt-4o/azure", ["azure/gpt-4o"]),
        ("gpt-4o/azure/my-deployment", ["azure/my-deployment"]),
        ("openai/brand-new-model", ["openai/brand-new-model"]),
        ("openrouter/openai/gpt-4o", ["openrouter/openai/gpt-4o"]),
        ("meta/llama:free", ["openrouter/meta/llama:free"]),
        ("gpt-4o-mini", ["openai/gpt-4o-mini", "azure/gpt-4o-mini"]),
        ("gpt-4o", ["azure/gpt-4o", "openai/gpt-4o", "mine/gpt-4o"]),
        ("gpt-4o,!azure", ["openai/gpt-4o", "mine/gpt-4o"]),
        ("!openai,!mine, gpt-4o", ["azure/gpt-4o"]),
        ("claude-sonnet-5,gpt-4o-mini/azure", ["anthropic/claude-sonnet-5", "azure/gpt-4o-mini"]),
        ("fast,claude-sonnet-5", ["openai/gpt-4o-mini", "anthropic/claude-sonnet-5"]),
        ("claude-sonnet-5:online", ["anthropic/claude-sonnet-5"]),
    ],
)
def test_a_model_string_names_its_targets_in_order(model, expected):
    assert read(model) == expected


def test_a_provider_that_is_not_configured_leaves_the_slash_to_the_model_id():
    only = Snapshot(
        providers={"openrouter": SNAPSHOT.providers["openrouter"]},
        models={"openrouter": SNAPSHOT.models["openrouter"]},
    )
    assert read("openai/gpt-4o", only) == ["openrouter/openai/gpt-4o"]


def test_online_is_named_as_not_acted_on():
    assert Routes(SNAPSHOT).find("claude-sonnet-5:online").unmet == ("model:online",)


def test_an_unknown_model_names_the_closest():
    with pytest.raises(ModelNotFound, match="Closest: gpt-4o"):
        Routes(SNAPSHOT).find("gpt4o")


@pytest.mark.parametrize("model", ["gpt-4o,!azure,!openai,!mine", "!openai", ","])
def test_a_string_that_leaves_no_target_is_not_found(model):
    with pytest.raises(ModelNotFound):
        Routes(SNAPSHOT).find(model)


@pytest.mark.parametrize("model", ["", "a\nb", "x" * 513, "a\x00", ",".join(["a"] * 17)])
def test_a_string_that_is_no_model_is_refused(model):
    with pytest.raises(InvalidRequest):
        Routes(SNAPSHOT).find(model)


def test_a_target_is_one_object_however_it_is_spelled():
    routes = Routes(SNAPSHOT)
    assert routes.find("openai/gpt-4o").targets[0] is routes.find("gpt-4o/openai").targets[0]


def test_ten_thousand_invented_names_are_not_all_remembered():
    routes = Routes(SNAPSHOT)
    for number in range(10_000):
        routes.find(f"openai/invented-{number}")
    assert len(routes._told) <= 4096 and len(routes._targets) <= 4096
