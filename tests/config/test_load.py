"""From a file to a Config: strictness, references, secrets."""

import json
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec import UNSET

from torana import config
from torana.config import Config, Secret
from torana.config.references import SECRET_BYTES_MAX
from torana.config.shape import LIMITS, AccentRow, ModelRow, ProviderRow, TimeoutsRow
from torana.errors import ConfigError
from torana.net.limits import ServerLimits
from torana.records import Accent, Model, Price, Provider, Timeouts

CANARY = "canary-8f3b1c5d7e9a0b2c4d6e8f0a1b2c3d4e"

ISSUE = """
server: {host: 127.0.0.1, port: 8080}
store: {url: "sqlite:///torana.db"}
keys:
  - {name: dev, secret: "${TORANA_DEV_KEY}"}        # or hash: "sha256:..."
providers:
  openai: {base_url: "http://127.0.0.1:9001/v1", api_key: "${OPENAI_API_KEY}"}   # overrides the catalog's row
  mine:   {dialect: openai_chat, base_url: "http://10.0.0.5:8000/v1", api_key: "${MINE}"}
models:
  gpt-4o: {targets: ["openai/gpt-4o"]}               # optional; provider/model works without
"""
ENVIRON = {"TORANA_DEV_KEY": CANARY, "OPENAI_API_KEY": "sk-1", "MINE": "123456"}


@pytest.fixture
def load(tmp_path):
    def loaded(text, environ=None):
        path = tmp_path / "torana.yaml"
        path.write_text(text)
        return config.load(path, environ or {})

    return loaded


@pytest.fixture
def refusal(load, tmp_path):
    """The message, with the file's folder left out."""

    def told(text, environ=None):
        with pytest.raises(ConfigError) as caught:
            load(text, environ)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return told


def test_the_example_of_the_documentation_loads(load, tmp_path):
    found = load(ISSUE, ENVIRON)
    assert found.store.url == f"sqlite:///{tmp_path}/torana.db"
    assert found.keys[0].secret == Secret(CANARY)
    assert found.providers["mine"].api_key == Secret("123456")
    assert found.models["gpt-4o"].targets == ("openai/gpt-4o",)


def test_no_file_is_the_defaults(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    found = config.load(None, {})
    assert found.server == Config().server
    assert found.store.url == f"sqlite:///{tmp_path}/torana.db"


def test_a_section_without_lines_is_its_default(load):
    assert load("server:\nkeys:\nproviders:\nmodels:\n").keys == ()


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match=r"cannot read nowhere\.yaml: No such file.*--config"):
        config.load(Path("nowhere.yaml"), {})


# ---------------------------------------------------------------- strictness


def test_an_unknown_key_fails_with_its_line_and_the_nearest_name(refusal):
    assert refusal("server:\n  host: 127.0.0.1\n  prot: 8080\n") == (
        "torana.yaml, line 3: server.prot: unknown key 'prot'; closest: 'port'"
    )


def test_a_key_like_none_of_ours_fails_with_the_known_ones(refusal):
    assert refusal("zzz: 1") == (
        "torana.yaml, line 1: zzz: unknown key 'zzz'; known: keys, log, models, providers, server, store"
    )


def test_every_problem_is_told_at_once_in_the_order_of_lines(refusal):
    told = refusal("server: {port: eighty}\nstore: {durability: maybe}\nprovider: {}\nkeys: 7\n")
    assert told == (
        "torana.yaml has 4 problems:\n"
        "  line 1: server.port: expected a whole number, got a text\n"
        "  line 2: store.durability: expected one of 'balanced', 'strict'\n"
        "  line 3: provider: unknown key 'provider'; closest: 'providers'\n"
        "  line 4: keys: expected a list: `- item` lines, or [a, b]"
    )


def test_a_flood_of_problems_is_cut(refusal):
    told = refusal("\n".join(f"k{n}: 1" for n in range(50)))
    assert len(told.splitlines()) == 22
    assert told.endswith("and 30 more")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server: {port: true}", "server.port: expected a whole number, got true or false"),
        ("server: {port: 70000}", "server.port: expected a whole number from 0, up to 65535"),
        ("server: {port: 80.5}", "server.port: expected a whole number, got a number"),
        ("server: {host: }", "server.host: expected a text, got nothing"),
        ("server: {host: 127}", "server.host: expected a text, got a number; put it in quotes"),
        ("server: {public_models: yes}", "server.public_models: expected true or false, got a text"),
        ("server: {drain_s: .inf}", "server.drain_s: expected a number, got a text"),
        ("server: {drain_s: -1}", "server.drain_s: expected a number from 0, up to 3600"),
        ("server: [1]", "server: expected `name: value` lines"),
        ("server: {tls: {cert: a.pem}}", "server.tls: the key 'key' is missing"),
        ("server: {limits: {headers_s: 0}}", "server.limits.headers_s: a limit is above 0 and at most 1099511627776"),
        ("store: {url: 'postgres://x/y'}", "store.url: expected sqlite:///relative.db, sqlite:////absolute/path.db or memory:"),
        ("models: {x: {targets: []}}", "models.x.targets: expected 1 to 16 items"),
        ("models: {x: {targets: [gpt-4o]}}", "models.x.targets[0]: expected provider/model"),
        ("models: {x: {targets: [opnai/gpt-4o]}}", "models.x.targets[0]: there is no provider 'opnai'; closest: 'openai'"),
        ("models: {'!x': {targets: [a/b]}}", "models.!x: a model's name has no comma, begins with no `!` and has at most 256 characters"),
        ("keys: [{name: ''}]", "keys[0].name: expected a text of 1 or more, of 64 or fewer characters, matching ^[A-Za-z0-9][A-Za-z0-9 ._@-]*$"),
        ("providers: {mine: {}}", "providers.mine: not in the catalog, so it needs a base_url;"),
        ("providers: {openai: {timeouts: {total_s: 0}}}", "providers.openai.timeouts.total_s: expected a number above 0, up to 86400"),
        ("providers: {openai: {accent: {reasoning: loud}}}", "providers.openai.accent.reasoning: expected one of 'effort'"),
        ("providers: {openai: {accent: {renames: {}}}}", "providers.openai.accent.renames: unknown key 'renames'; closest: 'rename'"),
        ("providers: {openai: {base_url: 'ftp://x'}}", "providers.openai.base_url: expected an address such as https://host/v1"),
        ("providers: {openai: {base_url: 'http://u:p@x/v1'}}", "providers.openai.base_url: an address holds no user and password"),
        ("providers: {openai: {base_url: 'http://x/v1?k=v'}}", "providers.openai.base_url: an address ends before `?` and `#`"),
        ("providers: {openai: {api_key: x, dialect: morse}}", "providers.openai.dialect: 'morse' is not a dialect"),
        ("providers: {echo: {base_url: 'http://x'}}", "providers.echo: the name 'echo' is taken"),
    ],
)  # fmt: skip
def test_a_wrong_value_fails_with_its_place(refusal, text, expected):
    assert refusal(text).startswith(f"torana.yaml, line 1: {expected}")


def test_a_provider_without_a_key_is_refused_where_it_is_named(refusal):
    told = refusal("\nproviders:\n  openai: {}\n")
    assert told.startswith("torana.yaml, line 3: providers.openai: has no key: set OPENAI_API_KEY")


def test_a_model_that_leads_to_a_provider_without_a_key_is_refused(refusal):
    told = refusal("models: {x: {targets: [groq/llama]}}")
    assert "has no key: set GROQ_API_KEY" in told


# ---------------------------------------------------------------- references


def test_a_variable_that_is_not_set_fails_with_its_line_and_name(refusal):
    assert refusal("keys:\n  - name: dev\n    secret: ${NOPE}\n") == (
        "torana.yaml, line 3: keys[0].secret: the environment variable NOPE is not set; "
        "set it, or write ${NOPE:-default}"
    )


def test_an_empty_variable_is_not_a_secret(refusal):
    assert "the environment variable NOPE is empty" in refusal("server: {host: '${NOPE}'}", {"NOPE": ""})


def test_what_is_filled_in_takes_the_type_that_is_asked_for(load):
    text = (
        "server: {port: '${PORT}', host: '${HOST:-127.0.0.1}', public_models: '${OPEN}', drain_s: '${DRAIN}'}"
    )
    found = load(text, {"PORT": "9000", "OPEN": "true", "DRAIN": "1.5"}).server
    assert (found.port, found.host, found.public_models, found.drain_s) == (9000, "127.0.0.1", True, 1.5)


def test_a_filled_in_value_of_the_wrong_type_is_not_repeated(refusal):
    told = refusal("server: {port: '${PORT}'}", {"PORT": CANARY})
    assert told == "torana.yaml, line 1: server.port: expected a whole number, got something else"


def test_digits_in_a_variable_stay_text_where_text_is_asked_for(load):
    row = load("providers: {openai: {api_key: '${K}'}}", {"K": "0123456789"}).providers["openai"]
    assert row.api_key == Secret("0123456789")


def test_a_reference_between_braces_needs_quotes_and_the_refusal_says_so(refusal):
    assert refusal("server: {host: ${HOST}}").endswith("; between { } a ${NAME} stands in quotes")


def test_what_is_filled_in_is_not_read_again(load):
    row = load("providers: {openai: {api_key: '${A}'}}", {"A": "${B}", "B": "x"}).providers["openai"]
    assert row.api_key == Secret("${B}")


def test_two_dollars_are_a_literal_one(load):
    assert load("providers: {openai: {api_key: 'a$${B}'}}").providers["openai"].api_key == Secret("a${B}")


@pytest.mark.parametrize(
    ("text", "why"), [("${", "not closed"), ("${1X}", "not the name"), ("${a b}", "not the name")]
)
def test_a_reference_that_is_none_is_refused(refusal, text, why):
    assert why in refusal(f"server: {{host: '{text}'}}")


def test_a_secret_is_read_from_a_file_beside_the_configuration(load, tmp_path):
    (tmp_path / "key").write_text("sk-from-file\n")
    text = (
        "providers: {openai: {api_key: '${file:key}'}, groq: {api_key: '${file:" + str(tmp_path) + "/key}'}}"
    )
    found = load(text).providers
    assert found["openai"].api_key == found["groq"].api_key == Secret("sk-from-file")


def test_a_secret_file_that_is_missing_empty_binary_or_huge_is_refused(refusal, tmp_path):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "huge").write_bytes(b"x" * (SECRET_BYTES_MAX + 1))
    text = "\n".join(f"  p{name}: {{base_url: 'http://x', api_key: '${{file:{name}}}'}}" for name in ("none", "empty", "binary", "huge"))  # fmt: skip
    assert refusal("providers:\n" + text) == (
        "torana.yaml has 4 problems:\n"
        "  line 2: providers.pnone.api_key: cannot read none: No such file or directory\n"
        "  line 3: providers.pempty.api_key: empty is empty\n"
        "  line 4: providers.pbinary.api_key: binary is not UTF-8 text\n"
        f"  line 5: providers.phuge.api_key: huge is larger than {SECRET_BYTES_MAX} bytes"
    )


def test_a_zero_byte_is_no_part_of_a_path(refusal):
    assert "zero byte" in refusal('server: {host: "${file:a\\0b}"}')
    assert "store.url" in refusal('store: {url: "sqlite:///a\\0b"}')
    assert "there is no file" in refusal('server: {tls: {cert: "a\\0b", key: x}}')


def test_where_the_data_is_can_be_known_without_the_secrets(tmp_path):
    path = tmp_path / "torana.yaml"
    path.write_text(
        "store: {url: 'sqlite:///x.db'}\nlog: {level: debug}\nkeys: [{name: a, secret: '${NOPE}'}]"
    )
    assert config.database(config.locate(path, {})) == tmp_path / "x.db"
    assert config.folder(config.locate(path, {})) == tmp_path
    assert config.voice(path, {}).level == "debug"


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize("secret", ["short", "a" * 40, "abababababababababab", "123456712345671234567"])
def test_a_secret_that_can_be_guessed_is_refused_and_not_repeated(refusal, secret):
    told = refusal(f"keys: [{{name: dev, secret: '{secret}'}}]")
    assert "the secret can be guessed" in told
    assert secret not in told


@pytest.mark.parametrize(
    "row", ["{name: dev}", f"{{name: dev, secret: {CANARY}, hash: 'sha256:{'0' * 64}'}}"]
)
def test_a_key_has_a_secret_or_a_hash(refusal, row):
    assert refusal(f"keys: [{row}]").endswith("keys[0]: give `secret` or `hash`, one of the two")


@pytest.mark.parametrize("hash", ["sha256:12", "0" * 64, "md5:" + "0" * 32, "sha256:" + "g" * 64])
def test_a_hash_has_one_form(refusal, hash):
    assert "expected sha256: and 64 hexadecimal digits" in refusal(f"keys: [{{name: dev, hash: '{hash}'}}]")


def test_a_name_and_a_secret_stand_once(refusal):
    told = refusal(f"keys:\n  - {{name: a, secret: {CANARY}}}\n  - {{name: a, secret: {CANARY}}}\n")
    assert "line 3: keys[1].name: a second key of the name 'a'" in told
    assert "line 3: keys[1]: the same secret as keys[0]" in told


def test_a_secret_that_no_header_carries_is_refused(refusal):
    assert "characters that an HTTP header cannot carry" in refusal(
        'keys: [{name: dev, secret: "0123456789 abcdef"}]'
    )


# ---------------------------------------------------------------- prices


def test_prices_are_dollars_per_million_tokens(load):
    text = """
providers:
  openai:
    api_key: x
    models:
      new: {context: 8, price: {input: 2.50, output: 10, request: 0.01, calls: {web_search: 0.01},
                                above: [{tokens: 200000, price: {input: 0.000001}}]}}
"""
    found = config.snapshot(load(text), {}, (), 1).models["openai"]["new"]
    assert found.context == 8
    assert found.priced == "config"
    assert found.price.input == 2_500_000
    assert found.price.output == 10_000_000
    assert found.price.request == 10_000_000
    assert found.price.calls == {"web_search": 10_000_000}
    assert found.price.above[0].price == Price(input=1)


@pytest.mark.parametrize("amount", ["-1", ".nan", "'NaN'", "0.0000001", "1e9", "free", "[1]", "true"])
def test_a_price_that_is_none_is_refused(refusal, amount):
    told = refusal(
        f"models: {{x: {{targets: [openai/x], price: {{input: {amount}}}}}}}", {"OPENAI_API_KEY": "x"}
    )
    assert told.startswith("torana.yaml, line 1: models.x.price.input: ")


def test_a_price_that_is_not_a_number_is_refused_from_the_environment_too(refusal):
    told = refusal(
        "models: {x: {targets: [openai/x], price: {input: '${P}'}}}", {"P": "nan", "OPENAI_API_KEY": "x"}
    )
    assert "a price is from 0" in told


def test_cards_of_longer_prompts_ascend(refusal):
    text = (
        "models: {x: {targets: [openai/x], price: {above: [{tokens: 9, price: {}}, {tokens: 9, price: {}}]}}}"
    )
    assert "above[1].tokens: each card is for more tokens" in refusal(text, {"OPENAI_API_KEY": "x"})


# ---------------------------------------------------------------- secrets stay secret


def test_no_view_of_a_configuration_shows_a_secret(load):
    text = """
keys: [{name: dev, secret: "${S}"}]
providers:
  openai: {api_key: "${S}", headers: {x-team: "${S}"}, query: "sig=${S}&v=1"}
"""
    found = load(text, {"S": CANARY})
    shown = [repr(found), str(found), f"{found}", json.dumps(config.redacted(found))]
    assert [CANARY in text for text in shown] == [False] * 4


def test_no_refusal_repeats_a_secret(refusal):
    for text in (
        f"keys: [{{name: dev, secret: {CANARY}, hash: {CANARY}}}]",
        f"keys: [{{name: dev, sekret: {CANARY}}}]",
        f"keys: [{{name: dev, secret: [{CANARY}]}}]",
        f"keys: [{CANARY}]",
        f"server: {{port: {CANARY}}}",
        f"store: {{durability: {CANARY}}}",
        f"store: {{url: {CANARY}}}",
        f"providers: {{openai: {{base_url: {CANARY}}}}}",
        f"providers: {{openai: {{base_url: 'http://u:{CANARY}@h/'}}}}",
        f'providers: {{openai: {{api_key: "{CANARY}\\n"}}}}',
        f'providers: {{openai: {{api_key: x, headers: {{x: "{CANARY}\\r"}}}}}}',
        f"models: {{x: {{targets: [{CANARY}]}}}}",
    ):
        told = refusal(text)
        assert (CANARY in told, told) == (False, told)


def test_a_secret_reveals_itself_only_when_asked():
    secret = Secret(CANARY)
    assert secret.reveal() == CANARY
    assert [
        CANARY in shown for shown in (repr(secret), str(secret), f"{secret}", json.dumps(str(secret)))
    ] == [False] * 4
    assert (bool(secret), bool(Secret(""))) == (True, False)
    assert secret != CANARY


# ---------------------------------------------------------------- the shape keeps up


def fields(kind):
    return set(kind.__struct_fields__)


def test_rows_have_the_fields_of_what_they_override():
    assert fields(ProviderRow) == fields(Provider) - {"name"}
    assert fields(AccentRow) == fields(Accent)
    assert fields(TimeoutsRow) == fields(Timeouts)
    assert fields(ModelRow) == fields(Model) - {"id", "provider", "priced"}
    assert set(LIMITS) == fields(ServerLimits)


def test_the_schema_accepts_what_the_loader_accepts_and_refuses_what_it_refuses():
    jsonschema = pytest.importorskip("jsonschema_rs")
    judge = jsonschema.validator_for(config.schema())
    assert judge.is_valid({"server": {"port": 1}, "keys": [{"name": "a", "secret": CANARY}]})
    assert judge.is_valid({"models": {"x": {"targets": ["a/b"], "price": {"input": 2.5, "calls": {"s": 1}}}}})
    assert [
        judge.is_valid(bad)
        for bad in (
            {"sever": {}},
            {"server": {"port": "x"}},
            {"server": {"limits": {"x": 1}}},
            {"keys": [{}]},
        )
    ] == [False] * 4


def test_unwritten_fields_of_a_row_stay_unset(load):
    row = load("providers: {openai: {api_key: x, timeouts: {total_s: 5}}}").providers["openai"]
    assert row.base_url is UNSET
    assert row.timeouts == TimeoutsRow(total_s=5.0)
    assert (
        load("models: {x: {targets: [echo2/x]}}\nproviders: {echo2: {base_url: 'http://x'}}")
        .models["x"]
        .price
        is UNSET
    )
    assert Decimal("2.5") == load("providers: {openai: {api_key: x, models: {m: {price: {input: 2.5}}}}}").providers["openai"].models["m"].price.input  # fmt: skip
