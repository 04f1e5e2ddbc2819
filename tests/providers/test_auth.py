"""The head of a request, judged by an independent parser."""

import h11
import pytest

from torana.errors import InternalError, InvalidRequest
from torana.net.origin import Origin, parse_origin
from torana.providers import configured, load_catalog
from torana.providers.auth import CARRIERS, FRAMING, credential_headers, head, request_target
from torana.records import Provider, Target

CATALOG = load_catalog()
ENVIRON = {variable: f"key-of-{variable}" for row in CATALOG.values() for variable in row.env} | {
    "ANTHROPIC_FOUNDRY_RESOURCE": "res",
    "AZURE_INFERENCE_ENDPOINT": "https://res.services.ai.azure.com/models",
    "AZURE_OPENAI_ENDPOINT": "https://res.openai.azure.com",
    "AZURE_RESOURCE_NAME": "res",
    "CLOUDFLARE_ACCOUNT_ID": "account",
    "DATABRICKS_HOST": "host.databricks.com",
    "SNOWFLAKE_ACCOUNT": "account",
}
USED = configured(CATALOG, ENVIRON, CATALOG)
PATHS = {"openai_chat": "/chat/completions", "anthropic": "/v1/messages"}


def parsed(target, path="/chat/completions", headers=()):
    """What a server reads of the head."""
    origin, _ = parse_origin(target.provider.base_url)
    raw = head(target, path, headers)
    server = h11.Connection(h11.SERVER)
    server.receive_data(raw + b"content-length: 0\r\n\r\n")
    event = server.next_event()
    assert isinstance(event, h11.Request)
    names = [name for name, _ in event.headers]
    assert len(names) == len(set(names))
    return origin, event.target.decode(), {name.decode(): value.decode() for name, value in event.headers}


@pytest.mark.parametrize("name", CATALOG)
def test_every_provider_of_the_catalog_gets_a_head_a_server_can_read(name):
    provider = USED[name]
    origin, target, headers = parsed(Target(provider, "a-model"), PATHS[provider.dialect])
    assert headers["host"] == origin.authority
    assert headers["content-type"] == "application/json"
    assert provider.base_url.startswith(f"{origin.scheme}://{origin.host}")
    assert target.startswith("/")
    if provider.api_key:
        assert provider.api_key in "".join(headers.values())


@pytest.mark.parametrize(
    ("auth", "wanted"),
    [
        ("bearer", (("authorization", "Bearer sk-1"),)),
        ("x-api-key", (("x-api-key", "sk-1"),)),
        ("api-key", (("api-key", "sk-1"),)),
        ("none", ()),
    ],
)
def test_the_key_travels_as_the_row_says(auth, wanted):
    assert credential_headers(Provider(auth=auth, api_key="sk-1")) == wanted
    assert credential_headers(Provider(auth=auth)) == ()


def test_a_deployment_is_one_percent_encoded_segment():
    provider = Provider(
        base_url="https://h/openai", path="/deployments/{model}/chat/completions", query="api-version=1"
    )
    assert (
        request_target(provider, "my gpt/4?x#y", "/chat/completions")
        == "/openai/deployments/my%20gpt%2F4%3Fx%23y/chat/completions?api-version=1"
    )


@pytest.mark.parametrize("model", ["", ".", ".."])
def test_a_model_that_is_a_dot_segment_is_refused(model):
    provider = Provider(base_url="https://h", path="/deployments/{model}/chat")
    with pytest.raises(InvalidRequest):
        request_target(provider, model, "")


def test_a_query_of_the_row_joins_a_query_of_the_dialect():
    provider = Provider(base_url="https://h/v1", query="a=1")
    assert request_target(provider, "m", "/stream?alt=sse") == "/v1/stream?alt=sse&a=1"


@pytest.mark.parametrize("path", ["/a b", "/a\r\nx: y", "/ä"])
def test_a_path_that_could_end_the_request_line_is_refused(path):
    with pytest.raises(InvalidRequest):
        head(Target(Provider(base_url="https://h"), "m"), path)


def test_ports_and_literal_addresses_stand_in_the_host_header():
    cases = {
        "https://api.example.com/v1": ("api.example.com", Origin("https", "api.example.com", 443)),
        "https://api.example.com:443/v1": ("api.example.com", Origin("https", "api.example.com", 443)),
        "http://API.example.com:8080": ("api.example.com:8080", Origin("http", "api.example.com", 8080)),
        "http://[::1]:11434/v1": ("[::1]:11434", Origin("http", "::1", 11434)),
    }
    for url, (host, origin) in cases.items():
        found, _, headers = parsed(Target(Provider(base_url=url), "m"))
        assert (headers["host"], found) == (host, origin)


def test_the_callers_version_wins_over_the_rows():
    provider = Provider(base_url="https://h", headers={"anthropic-version": "2023-06-01"})
    _, _, headers = parsed(Target(provider, "m"), headers=(("anthropic-version", "2026-10-21"),))
    assert headers["anthropic-version"] == "2026-10-21"


@pytest.mark.parametrize("name", sorted(FRAMING | CARRIERS))
def test_no_callers_header_replaces_framing_or_credential(name):
    provider = Provider(base_url="https://h", api_key="ours")
    _, _, without = parsed(Target(provider, "m"))
    _, _, headers = parsed(Target(provider, "m"), headers=((name, "theirs"),))
    assert headers == without


def test_a_callers_value_that_could_end_a_line_is_refused():
    with pytest.raises(InvalidRequest):
        head(Target(Provider(base_url="https://h"), "m"), "/", (("anthropic-beta", "a\r\nx-api-key: b"),))


def test_a_row_that_was_never_configured_has_no_origin():
    with pytest.raises(InternalError):
        head(Target(Provider(name="x", base_url="{HOST}/v1"), "m"), "/")
