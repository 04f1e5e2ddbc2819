"""From configuration, catalog, environment and store to the Snapshot; who may listen where; what is warned of."""

from hashlib import sha256

import pytest
from msgspec.structs import replace

from torana import config
from torana.config import Config, Server
from torana.control.secrets import new_key, new_secret
from torana.errors import ConfigError

SECRET = "correct-horse-battery-staple"
NO_ENVIRONMENT: dict[str, str] = {}


@pytest.fixture
def load(tmp_path):
    def loaded(text, environ=None):
        path = tmp_path / "torana.yaml"
        path.write_text(text)
        return config.load(path, environ or {})

    return loaded


def test_providers_are_found_by_the_keys_in_the_environment():
    found = config.snapshot(Config(), {"OPENAI_API_KEY": "sk-1", "ANTHROPIC_API_KEY": "sk-2"}, (), 7)
    assert sorted(found.providers) == ["anthropic", "openai"]
    assert found.providers["openai"].api_key == "sk-1"
    assert found.models["anthropic"].keys() > set()
    assert found.version == 7


def test_without_anything_there_is_nothing():
    found = config.snapshot(Config(), NO_ENVIRONMENT, (), 1)
    assert (found.keys, found.providers, found.aliases) == ({}, {}, {})


def test_a_row_changes_only_the_fields_it_names(load):
    text = "providers: {groq: {api_key: x, timeouts: {total_s: 5}, accent: {drop: [seed]}, headers: {X-Team: a}}}"
    found = config.snapshot(load(text), {}, (), 1).providers["groq"]
    plain = config.snapshot(Config(), {"GROQ_API_KEY": "x"}, (), 1).providers["groq"]
    assert found.timeouts == replace(plain.timeouts, total_s=5.0)
    assert found.accent == replace(plain.accent, drop=("seed",))
    assert found.headers == {**plain.headers, "x-team": "a"}
    assert found.base_url == plain.base_url


def test_a_key_of_the_row_wins_over_the_environment(load):
    found = config.snapshot(load("providers: {openai: {api_key: mine}}"), {"OPENAI_API_KEY": "other"}, (), 1)
    assert found.providers["openai"].api_key == "mine"


def test_null_removes_a_header_of_the_catalog(load):
    row = load("providers: {anthropic: {api_key: x, headers: {anthropic-version: null}}}")
    assert config.snapshot(row, {}, (), 1).providers["anthropic"].headers == {}


def test_a_local_provider_that_a_name_leads_to_needs_no_key(load):
    found = config.snapshot(load("models: {m: {targets: [ollama/llama3]}}"), {}, (), 1)
    assert found.providers["ollama"].api_key == ""
    assert found.aliases == {"m": ("ollama/llama3",)}


def test_another_server_can_share_the_models_of_a_known_provider(load):
    text = "providers: {eu: {base_url: 'https://eu.example/v1', api_key: x, models: openai}}"
    found = config.snapshot(load(text), {"OPENAI_API_KEY": "x"}, (), 1)
    assert found.models["eu"].keys() == found.models["openai"].keys()


def test_a_name_overrides_what_is_known_of_its_targets(load):
    text = "models: {big: {targets: [openai/gpt-4o, openai/new], context: 5, price: {input: 1}}}"
    found = config.snapshot(load(text, {"OPENAI_API_KEY": "x"}), {"OPENAI_API_KEY": "x"}, (), 1)
    assert [found.models["openai"][id].context for id in ("gpt-4o", "new")] == [5, 5]
    assert found.models["openai"]["gpt-4o"].price.input == 1_000_000
    assert found.models["openai"]["gpt-4o"].tools is True


def test_two_names_may_not_say_different_things_of_one_target(load):
    text = "models:\n  a: {targets: [openai/x], context: 5}\n  b: {targets: [openai/x], context: 6}\n"
    with pytest.raises(
        ConfigError, match=r"line 3: models\.b: other facts of 'openai/x' stand under models\.a"
    ):
        load(text, {"OPENAI_API_KEY": "x"})


# ---------------------------------------------------------------- keys


def test_keys_are_found_by_the_digest_of_their_secret(load):
    by_hash = f"{{name: b, hash: 'sha256:{sha256(b'other').hexdigest()}'}}"
    stored = new_key("c", new_secret(), 5)
    found = config.snapshot(load(f"keys: [{{name: a, secret: {SECRET}}}, {by_hash}]"), {}, [stored], 1).keys
    assert found[sha256(SECRET.encode()).digest()].name == "a"
    assert found[sha256(b"other").digest()].id == "config:b"
    assert found[stored.digest] == stored
    assert [key.source for key in found.values()] == ["config", "config", "store"]


def test_no_part_of_a_secret_from_the_file_is_kept(load):
    (key,) = config.snapshot(load(f"keys: [{{name: a, secret: {SECRET}}}]"), {}, (), 1).keys.values()
    assert key.prefix == ""
    assert SECRET not in repr(key)


def test_one_name_in_file_and_store_is_refused_with_the_way_out(load):
    stored = new_key("a", new_secret(), 5)
    with pytest.raises(
        ConfigError, match=f"'a' is in the configuration and in the database.*revoke {stored.id}"
    ):
        config.snapshot(load(f"keys: [{{name: a, secret: {SECRET}}}]"), {}, [stored], 1)


def test_one_secret_in_file_and_store_is_refused(load):
    with pytest.raises(ConfigError, match="'b' is in the configuration and in the database"):
        config.snapshot(load(f"keys: [{{name: a, secret: {SECRET}}}]"), {}, [new_key("b", SECRET, 5)], 1)


def test_a_revoked_secret_does_not_come_back_through_the_file(load):
    stored = replace(new_key("old", SECRET, 5), revoked=6)
    with pytest.raises(ConfigError, match="which was revoked"):
        config.snapshot(load(f"keys: [{{name: a, secret: {SECRET}}}]"), {}, [stored], 1)


def test_a_revoked_name_is_free_again(load):
    stored = replace(new_key("a", new_secret(), 5), revoked=6)
    found = config.snapshot(load(f"keys: [{{name: a, secret: {SECRET}}}]"), {}, [stored], 1).keys
    assert [key.revoked for key in found.values()] == [0, 6]


# ---------------------------------------------------------------- where to listen


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"])
def test_a_loopback_address_needs_no_key(host):
    config.guard(host, ())


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "192.168.1.1", "gateway.example", "", "127.0.0.1.evil.example"]
)
def test_any_other_address_needs_a_key_of_ones_own(host):
    generated = new_key("first-run", new_secret(), 1, generated=True)
    revoked = replace(new_key("a", new_secret(), 1), revoked=2)
    for keys in ([], [generated], [generated, revoked]):
        with pytest.raises(ConfigError, match=r"refusing to listen on .* without a key of your own"):
            config.guard(host, keys)
    config.guard(host, [generated, new_key("a", new_secret(), 1)])


def test_what_is_probably_not_meant_is_warned_of(load):
    text = "server: {host: 0.0.0.0}\nproviders: {mine: {base_url: 'http://10.0.0.5/v1', api_key: x}}"
    told = config.check(load(text), {})
    assert [word for word in ("server.tls is not set", "`keys:`", "'mine' travels in the clear") if word in " ".join(told)] == [
        "server.tls is not set",
        "`keys:`",
        "'mine' travels in the clear",
    ]  # fmt: skip


def test_the_defaults_are_not_warned_of():
    assert config.check(Config(), {"OPENAI_API_KEY": "x"}) == []


def test_a_certificate_that_is_not_there_is_refused(load, tmp_path):
    with pytest.raises(ConfigError, match=r"server\.tls\.cert: there is no file .*/a\.pem"):
        load("server: {tls: {cert: a.pem, key: b.pem}}")
    (tmp_path / "a.pem").touch()
    (tmp_path / "b.pem").touch()
    assert load("server: {tls: {cert: a.pem, key: b.pem}}").server.tls.cert == str(tmp_path / "a.pem")
    assert Server().tls is None
