"""The catalog as data: every row is sound, agrees with recorded traffic, and yields to the user's."""

from urllib.parse import urlsplit

import pytest
import yaml

from providers.generators import script
from torana.dialects import DIALECTS
from torana.errors import ConfigError
from torana.providers import PLACEHOLDER, configured, load_catalog, merge, nearest, suggestion
from torana.records import Accent, Provider, Timeouts

import corpus

CATALOG = load_catalog()
ROWS = pytest.mark.parametrize("name", CATALOG)
PACKAGE = corpus.ROOT / "src/torana/providers"

# Where the recorded clients of each api sent their chats -> the row that must lead to the same address.
RECORDED = {
    "anthropic.messages": "anthropic",
    "azure.anthropic_messages": "azure-anthropic",
    "azure.inference.chat": "azure-inference",
    "baseten.chat": "baseten",
    "bedrock-mantle.chat": "bedrock-mantle",
    "cerebras.chat": "cerebras",
    "cloudflare.chat": "cloudflare",
    "deepseek.chat": "deepseek",
    "github.chat": "github",
    "google.openai_compat.chat": "gemini",
    "groq.chat": "groq",
    "huggingface.chat": "huggingface",
    "mistral.chat": "mistral",
    "openai.chat": "openai",
    "openrouter.chat": "openrouter",
    "perplexity.chat": "perplexity",
    "snowflake.chat": "snowflake",
    "together.chat": "together",
    "vercel-gateway.chat": "vercel",
    "xai.chat": "xai",
    "xiaomi.chat": "xiaomi",
    "zai.chat": "zai",
}
FILLED = {  # what the recordings hold in place of the account
    "ANTHROPIC_FOUNDRY_RESOURCE": "resource",
    "AZURE_INFERENCE_ENDPOINT": "https://resource.services.ai.azure.com/models",
    "AZURE_OPENAI_ENDPOINT": "https://resource.openai.azure.com/",
    "AZURE_RESOURCE_NAME": "resource",
    "CLOUDFLARE_ACCOUNT_ID": "ACCOUNT",
    "DATABRICKS_HOST": "https://workspace.cloud.databricks.com",
    "SNOWFLAKE_ACCOUNT": "account",
}
ENVIRON = {variable: "a-key" for row in CATALOG.values() for variable in row.env} | FILLED


def refusal(call, *args):
    with pytest.raises(ConfigError) as caught:
        call(*args)
    return caught.value.message


# ---------------------------------------------------------------- the rows


@ROWS
def test_a_row_says_who_it_is_and_speaks_a_dialect_we_know(name):
    row = CATALOG[name]
    assert row.name == name
    assert row.title
    assert row.docs.startswith("https://")
    assert row.dialect in DIALECTS


@ROWS
def test_a_row_is_reached_by_https_with_a_key_unless_it_is_local(name):
    row = CATALOG[name]
    if row.local:
        assert urlsplit(row.base_url).hostname == "127.0.0.1"
        assert row.discover
    else:
        assert row.base_url.startswith("https://") or PLACEHOLDER.match(row.base_url)
        assert row.env
        assert row.auth != "none"
    assert not row.base_url.endswith("/")
    assert row.api_key == ""


@ROWS
def test_an_anthropic_row_names_the_version_it_speaks(name):
    row = CATALOG[name]
    assert ("anthropic-version" in row.headers) == (row.dialect == "anthropic")


@ROWS
def test_a_row_that_shares_model_data_names_a_row(name):
    assert CATALOG[name].models in {"", *CATALOG}


def test_no_variable_configures_two_providers():
    variables = [variable for row in CATALOG.values() for variable in row.env]
    assert sorted(variables) == sorted(set(variables))


def test_the_names_people_already_have_in_their_environment_are_known():
    known = {variable for row in CATALOG.values() for variable in row.env} | set(FILLED)
    common = (
        "OPENAI_API_KEY ANTHROPIC_API_KEY GEMINI_API_KEY GOOGLE_API_KEY AZURE_API_KEY AZURE_RESOURCE_NAME"
        " AWS_BEARER_TOKEN_BEDROCK OPENROUTER_API_KEY GROQ_API_KEY MISTRAL_API_KEY DEEPSEEK_API_KEY XAI_API_KEY"
        " TOGETHER_API_KEY FIREWORKS_API_KEY CEREBRAS_API_KEY PERPLEXITY_API_KEY COHERE_API_KEY MOONSHOT_API_KEY"
        " ZHIPU_API_KEY DASHSCOPE_API_KEY DEEPINFRA_API_KEY NVIDIA_API_KEY HF_TOKEN OLLAMA_API_KEY"
    )
    assert set(common.split()) - known == set()


@pytest.mark.parametrize("api", RECORDED)
def test_a_row_leads_where_the_recorded_clients_went(api):
    row = configured(CATALOG, ENVIRON)[RECORDED[api]]
    path = row.path or ("/v1/messages" if row.dialect == "anthropic" else "/chat/completions")
    wanted = row.base_url + path + (f"?{row.query}" if row.query else "")
    urls = {
        record["request"]["url"]
        for name in corpus.providers()
        for record in corpus.provider(name)
        if record["api"] == api and record["request"].get("url")
    }
    assert wanted in urls


def test_both_styles_of_azure_lead_where_the_recorded_clients_went():
    rows = configured(CATALOG, ENVIRON)
    urls = {record["request"]["url"] for record in corpus.provider("azure") if record["request"].get("url")}
    assert rows["azure"].base_url + "/chat/completions" in urls
    older = rows["azure-deployments"]
    assert older.base_url + older.path.format(model="gpt-4o-mini") + "?" + older.query in urls


@pytest.mark.parametrize("api", RECORDED)
def test_an_accent_sends_the_token_limit_under_a_name_that_was_accepted(api):
    row = CATALOG[RECORDED[api]]
    if row.dialect != "openai_chat":
        return
    sent = {"max_tokens": 0, "max_completion_tokens": 0}
    for name in corpus.providers():
        for record in corpus.provider(name):
            body = record["request"].get("json") if record["api"] == api else None
            if isinstance(body, dict) and record["response"]["status"] == 200:
                for field in sent:
                    sent[field] += field in body
    ours = row.accent.rename.get("max_completion_tokens", "max_completion_tokens")
    assert sent[ours] or not any(sent.values())


def answers(api):
    """The recorded good answers of an api: (request, whether it is a stream, text)."""
    for name in corpus.providers():
        for record in corpus.provider(name):
            if record["api"] == api and record["response"]["status"] == 200:
                text = corpus.body(record["response"]).decode(errors="replace").replace('": ', '":')
                yield record["request"].get("json") or {}, bool(record["response"].get("streaming")), text


CHATS = pytest.mark.parametrize("api", [api for api in RECORDED if api.endswith(".chat")])


@CHATS
def test_thoughts_go_back_under_the_name_they_came(api):
    thought = CATALOG[RECORDED[api]].accent.thought
    came = dict.fromkeys(("reasoning", "reasoning_content"), 0)
    for _, _, text in answers(api):
        for field in came:
            came[field] += f'"{field}":"' in text
    assert thought in ("", "content") or not any(came.values()) or thought == max(came, key=came.get)


@CHATS
def test_usage_is_asked_for_where_asking_was_answered_and_comes_unasked_elsewhere(api):
    asks = CATALOG[RECORDED[api]].accent.stream_usage
    told = [
        '"usage":{' in text
        for body, streamed, text in answers(api)
        if streamed
        and '"error":' not in text
        and bool((body.get("stream_options") or {}).get("include_usage")) == asks
    ]
    assert not told or sum(told) > 0.9 * len(told)


# ---------------------------------------------------------------- its other forms


def test_the_compiled_catalog_and_the_documented_table_are_current():
    generator = script("generate_catalog")
    assert generator.COMPILED.read_text() == generator.compiled()
    assert generator.DOCS.read_text() == generator.documented()


def test_the_documentation_lists_every_row():
    text = (corpus.ROOT / "docs/providers.md").read_text()
    assert [name for name in CATALOG if f"| `{name}` |" not in text] == []


def test_the_documentation_names_every_field_of_a_row_and_an_accent():
    text = (corpus.ROOT / "docs/providers.md").read_text()
    fields = {*Provider.__struct_fields__, *Accent.__struct_fields__, *Timeouts.__struct_fields__} - {"name"}
    assert [field for field in sorted(fields) if f"`{field}`" not in text] == []


def test_the_catalog_that_people_edit_has_only_known_fields():
    rows = yaml.safe_load((PACKAGE / "catalog.yaml").read_text())
    named = {name: row for name, row in rows.items() if not name.startswith("x-")}
    assert merge({}, named).keys() == CATALOG.keys()
    assert merge({}, named) == CATALOG


# ---------------------------------------------------------------- the user's rows


def test_a_written_field_replaces_the_catalogs_and_the_others_stay():
    row = merge(CATALOG, {"openai": {"base_url": "http://127.0.0.1:9001/v1"}})["openai"]
    assert row.base_url == "http://127.0.0.1:9001/v1"
    assert row.env == ("OPENAI_API_KEY",)
    assert row.accent == CATALOG["openai"].accent


def test_accents_and_timeouts_are_overridden_field_by_field():
    row = merge(CATALOG, {"mistral": {"accent": {"drop": ["n"]}, "timeouts": {"total_s": 30}}})["mistral"]
    assert row.accent.drop == ("n",)
    assert row.accent.rename == CATALOG["mistral"].accent.rename
    assert row.timeouts == Timeouts(total_s=30.0)


def test_headers_are_overridden_one_by_one_and_null_removes_one():
    rows = merge(CATALOG, {"anthropic": {"headers": {"X-Team": "blue"}}})
    assert rows["anthropic"].headers == {"anthropic-version": "2023-06-01", "x-team": "blue"}
    rows = merge(CATALOG, {"anthropic": {"headers": {"anthropic-version": None}}})
    assert rows["anthropic"].headers == {}


def test_a_new_row_needs_only_an_address():
    row = merge(CATALOG, {"mine": {"base_url": "http://10.0.0.5:8000/v1"}})["mine"]
    assert row == Provider(name="mine", base_url="http://10.0.0.5:8000/v1")
    assert "needs a base_url" in refusal(merge, CATALOG, {"mine": {"title": "Mine"}})


def test_merging_leaves_the_catalog_alone():
    before = dict(CATALOG)
    merge(CATALOG, {"openai": {"title": "Ours"}})
    assert before == CATALOG


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"base_ulr": "x"}, "providers.openai: unknown field 'base_ulr'. Closest: base_url."),
        ({"accent": {"renam": {}}}, "providers.openai.accent: unknown field 'renam'. Closest: rename."),
        ({"timeouts": {"total": 1}}, "providers.openai.timeouts: unknown field 'total'. Closest: total_s."),
        ({"accent": 3}, "providers.openai.accent must be a mapping of fields."),
        ({"base_url": 3}, "providers.openai: Expected `str`, got `int` - at `$.base_url`."),
        ({"auth": "basic"}, "providers.openai: Invalid enum value 'basic' - at `$.auth`."),
        ({"dialect": "opnai"}, "providers.openai.dialect: 'opnai' is not a dialect."),
        ({"name": "other"}, "providers.openai: a provider's name is its key"),
    ],
)
def test_a_wrong_field_is_refused_with_its_place_and_what_was_meant(row, told):
    assert refusal(merge, CATALOG, {"openai": row}).startswith(told)


@pytest.mark.parametrize("name", ["", "a/b", "a,b", "!a", "a:b", "Mine", "a" * 65, "echo"])
def test_a_name_that_a_model_string_could_not_hold_is_refused(name):
    assert refusal(merge, CATALOG, {name: {"base_url": "http://127.0.0.1:1"}})


# ---------------------------------------------------------------- what is in use


def test_a_key_in_the_environment_is_all_a_provider_needs():
    used = configured(CATALOG, {"OPENAI_API_KEY": "sk-1", "GROQ_API_KEY": " gsk-2\n", "XAI_API_KEY": ""})
    assert {name: row.api_key for name, row in used.items()} == {"openai": "sk-1", "groq": "gsk-2"}


def test_the_first_variable_found_wins():
    used = configured(CATALOG, {"GOOGLE_API_KEY": "second", "GEMINI_API_KEY": "first"})
    assert used["gemini"].api_key == "first"


def test_a_key_of_the_configuration_goes_before_the_environment():
    rows = merge(CATALOG, {"openai": {"api_key": "sk-mine"}})
    assert configured(rows, {"OPENAI_API_KEY": "sk-env"}, {"openai"})["openai"].api_key == "sk-mine"


def test_local_servers_are_used_only_when_they_are_named():
    assert configured(CATALOG, {"VLLM_API_KEY": "x"}) == {}
    used = configured(CATALOG, {"VLLM_API_KEY": "x"}, {"vllm", "ollama"})
    assert {name: row.api_key for name, row in used.items()} == {"vllm": "x", "ollama": ""}


def test_a_row_of_ones_own_works_without_a_key():
    rows = merge(CATALOG, {"mine": {"base_url": "http://10.0.0.5:8000/v1"}})
    assert configured(rows, {}, {"mine"}).keys() == {"mine"}


def test_a_named_provider_without_a_key_is_an_error_that_names_the_variable():
    told = refusal(configured, CATALOG, {}, {"groq"})
    assert told.startswith("providers.groq has no key: set GROQ_API_KEY in the environment")
    rows = merge(CATALOG, {"groq": {"auth": "none", "base_url": "http://127.0.0.1:1"}})
    assert configured(rows, {}, {"groq"}).keys() == {"groq"}


def test_placeholders_are_filled_from_the_environment():
    used = configured(CATALOG, {"AZURE_API_KEY": "k", "AZURE_RESOURCE_NAME": "res"})
    assert used["azure"].base_url == "https://res.openai.azure.com/openai/v1"
    used = configured(
        CATALOG, {"DATABRICKS_TOKEN": "k", "DATABRICKS_HOST": "https://dbc.cloud.databricks.com/"}
    )
    assert used["databricks"].base_url == "https://dbc.cloud.databricks.com/serving-endpoints"


def test_headers_are_filled_too():
    row = Provider(name="mine", base_url="http://127.0.0.1:1", headers={"X-Org": "{ORG=none}"})
    assert configured({"mine": row}, {"ORG": "blue"}, {"mine"})["mine"].headers == {"x-org": "blue"}
    assert configured({"mine": row}, {}, {"mine"})["mine"].headers == {"x-org": "none"}


def test_a_placeholder_may_bring_its_own_value():
    used = configured(
        CATALOG, {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "https://res.openai.azure.com"}
    )
    assert used["azure-deployments"].query == "api-version=2024-10-21"
    used = configured(CATALOG, {"AWS_BEARER_TOKEN_BEDROCK": "k", "AWS_REGION": "eu-west-1"})
    assert used["bedrock-mantle"].base_url == "https://bedrock-mantle.eu-west-1.api.aws/v1"


def test_a_missing_placeholder_leaves_a_found_row_out_and_refuses_a_named_one():
    assert configured(CATALOG, {"AZURE_API_KEY": "k"}) == {}
    told = refusal(configured, CATALOG, {"AZURE_API_KEY": "k"}, {"azure"})
    assert told == "providers.azure needs AZURE_RESOURCE_NAME in the environment."


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/v1",
        "host/v1",
        "https://",
        "https://user:secret@host/v1",
        "https://host/v1?key=1",
        "https://host/v1#x",
        "https://host:99999/v1",
        "https://host:0/v1",
        "https://ho st/v1",
        "https://host/\r\nx: y",
        "https://höst/v1",
    ],
)
def test_an_address_that_could_not_be_called_is_refused(url):
    rows = {"mine": Provider(name="mine", base_url=url)}
    assert "secret" not in refusal(configured, rows, {}, {"mine"})


@pytest.mark.parametrize(
    "fields",
    [
        {"api_key": "sk-secret\r\nx: y"},
        {"api_key": "sk-secret\u2026"},
        {"headers": {"x-a": "sk-secret\nb"}},
        {"headers": {"x a": "sk-secret"}},
        {"headers": {"content-length": "0"}},
        {"headers": {"transfer-encoding": "chunked"}},
        {"path": "v1/chat"},
        {"path": "/v1 /chat"},
        {"query": "a=\r\nb"},
    ],
)
def test_what_could_end_a_line_of_a_request_head_is_refused_and_not_repeated(fields):
    row = Provider(**{"name": "mine", "base_url": "http://127.0.0.1:1", "api_key": "sk-secret", **fields})
    assert "sk-secret" not in refusal(configured, {"mine": row}, {}, {"mine"})


# ---------------------------------------------------------------- spelling


def test_the_closest_names_are_suggested():
    assert nearest("gpt5", ["gpt-5", "gpt-4o", "claude-opus-4-7"])[0] == "gpt-5"
    assert suggestion("gpt5", ["gpt-5", "claude-opus-4-7"]) == " Closest: gpt-5."
    assert suggestion("banana", ["gpt-5", "claude-opus-4-7"]) == ""


def test_a_candidate_is_suggested_once():
    assert nearest("gpt5", ["gpt-5", "gpt-5", "gpt-5"]) == ["gpt-5"]


def test_a_name_of_any_length_is_answered():
    assert nearest("g" * 1_000_000, ["gpt-5"] * 100) == []
    assert nearest("", ["gpt-5"]) == []
