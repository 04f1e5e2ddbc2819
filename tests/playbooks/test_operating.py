"""The running gateway is changed, asked how it is, and asked what it knows, while calls go on."""

import asyncio
import json
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from provider import CHAT, Provider, reply
from running import SECRET, Running, provider
from torana.errors import ConfigError
from torana.net.asgi import as_asgi

OTHER = "sk-torana-another-secret-of-enough-length"


def wait_for(condition) -> None:
    for _ in range(500):
        if condition():
            return
        threading.Event().wait(0.01)
    pytest.fail("it did not happen within 5 s")


def change(torana: Running, **config: object) -> None:
    value = json.loads(torana.path.read_text()) | config
    beside = torana.path.with_suffix(".new")
    beside.write_text(json.dumps(value))
    beside.replace(torana.path)


@pytest.fixture
def torana(tmp_path):
    with Running(tmp_path) as running:
        yield running


# ---------------------------------------------------------------- the file


def test_a_changed_file_comes_into_force_by_itself(torana):
    assert torana.ask("GET", "/v1/models", key=OTHER).status == 401
    change(torana, keys=[{"name": "test", "secret": SECRET}, {"name": "other", "secret": OTHER}])
    wait_for(lambda: torana.ask("GET", "/v1/models", key=OTHER).status == 200)
    change(torana, keys=[{"name": "other", "secret": OTHER}])
    wait_for(lambda: torana.ask("GET", "/v1/models").status == 401)


def test_a_bad_file_changes_nothing(torana):
    before = torana.app.live.snapshot
    change(torana, keys=[{"name": "other", "secret": OTHER}], nonsense=1)
    with pytest.raises(ConfigError, match="nonsense"):
        torana.do(torana.app.reload())
    assert torana.app.live.snapshot is before
    assert torana.chat("echo").status == 200


def test_calls_in_flight_outlive_a_reload(tmp_path):
    with Provider(lambda asked: [0.5, *reply(CHAT)(asked)]) as mock:
        row = provider(mock.url)
        with Running(tmp_path, providers={"mock": row}) as torana, ThreadPoolExecutor(50) as pool:
            calls = [pool.submit(torana.chat, "mock/gpt-x") for _ in range(50)]
            wait_for(lambda: len(mock.asked) == 50)
            change(torana, providers={}, keys=[{"name": "other", "secret": OTHER}])
            torana.do(torana.app.reload())
            assert [call.result(20).status for call in calls] == [200] * 50
            assert torana.chat("mock/gpt-x").status == 401


def test_a_key_made_while_the_file_is_read_undoes_neither(torana):
    async def both() -> None:
        change(torana, keys=[{"name": "test", "secret": SECRET}, {"name": "other", "secret": OTHER}])
        await asyncio.gather(torana.app.reload(), torana.app.publish(), torana.app.publish())

    torana.do(both())
    assert torana.ask("GET", "/v1/models", key=OTHER).status == 200


# ---------------------------------------------------------------- keys


def admin(torana: Running, method: str, path: str, body: object = None, token: str = ""):
    token = token or (torana.path.parent / "torana.token").read_text().strip()
    return torana.ask(method, f"/admin/v1/keys{path}", body, key=token)


def test_a_key_is_usable_once_made_and_refused_once_revoked(torana):
    made = admin(torana, "POST", "", {"name": "made"})
    assert made.status in (200, 201)
    secret, id = made.json["secret"], made.json["id"]
    assert torana.ask("GET", "/v1/models", key=secret).status == 200
    assert secret not in admin(torana, "GET", "").body.decode()
    assert admin(torana, "DELETE", f"/{id}").status == 200
    assert torana.ask("GET", "/v1/models", key=secret).status == 401


def test_the_admin_api_is_for_whoever_can_read_the_token_file(torana):
    assert stat.S_IMODE(os.stat(torana.path.parent / "torana.token").st_mode) == 0o600
    assert admin(torana, "GET", "").status == 200
    assert admin(torana, "GET", "", token="wrong").status == 401
    assert torana.ask("GET", "/admin/v1/keys").status == 401  # a caller's key is none of the operator's
    assert torana.ask("GET", "/admin/v1/keys", key=None).status == 401


# ---------------------------------------------------------------- models that servers list


def test_models_a_server_lists_are_known_and_forgotten_with_it(tmp_path):
    ids = ["qwen-local", "llama-local"]

    def listing(asked):
        return reply({"data": [{"id": id, "max_model_len": 4096} for id in ids]})(asked)

    with Provider(listing) as mock:
        row = provider(mock.url, discover=True)
        with Running(tmp_path, providers={"mock": row}) as torana:

            def listed() -> set:
                return {row["id"] for row in torana.ask("GET", "/v1/models").json["data"]}

            def learn() -> None:
                torana.do(torana.app._learn(torana.app.live.snapshot.providers["mock"]))

            wait_for(lambda: {"qwen-local", "llama-local"} <= listed())
            assert mock.asked[0].headers["authorization"] == "Bearer provider-secret-key"
            torana.do(torana.app.reload())
            assert {"qwen-local", "llama-local"} <= listed()
            ids.remove("llama-local")
            learn()
            assert ("qwen-local" in listed(), "llama-local" in listed()) == (True, False)
            change(torana, providers={"mock": row | {"base_url": "http://127.0.0.1:1/v1"}})
            torana.do(torana.app.reload())
            assert "qwen-local" not in listed()


# ---------------------------------------------------------------- how it is


def test_metrics_say_what_was_called_spent_and_refused(tmp_path):
    with Provider(reply(CHAT)) as mock:
        priced = {"gpt-x": {"price": {"input": 2, "output": 10}}}
        with Running(tmp_path, providers={"mock": provider(mock.url, models=priced)}) as torana:
            torana.account(torana.chat("mock/gpt-x"))
            torana.ask("POST", "/v1/chat/completions", b"{}", key="wrong")
            answer = torana.ask("GET", "/metrics", key=None)
            assert answer.headers["content-type"].startswith("text/plain")
            lines = answer.body.decode().splitlines()
            names = 'model="gpt-x",provider="mock",state="ok",surface="openai_chat"'
            found = {
                line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"
            }
            by_name = {
                (name.partition("{")[0], frozenset(name.partition("{")[2][:-1].split(","))): value
                for name, value in found.items()
            }

            def value(metric: str, labels: str = "") -> float:
                return by_name[metric, frozenset(labels.split(","))]

            assert value("torana_calls_total", names) == 1
            assert value("torana_tokens_total", names + ',direction="input"') == 9
            assert value("torana_tokens_total", names + ',direction="output"') == 2
            assert value("torana_cost_usd_total", names) == 0.000038
            assert value("torana_call_seconds_count", names) == 1
            assert value("torana_refused_total", 'code="invalid_api_key"') == 1
            assert found["torana_calls_active"] == 0
            described = {line.split()[2] for line in lines if line.startswith("# HELP")}
            typed = {line.split()[2] for line in lines if line.startswith("# TYPE")}
            assert described == typed
            assert "torana_calls_total" in described


def test_invented_models_cannot_grow_the_metrics_beyond_their_bound():
    from torana.records import CallEntry
    from torana.telemetry.metrics import Counters, Scrape

    counters = Counters()
    for n in range(5_000):
        counters.add(CallEntry(str(n), "k", "openai_chat", "m", False, 0, "ok", model=f"m{n}", provider="p"))
    _, body = Scrape(counters, tuple).render()
    assert sum(not line.startswith(b"#") for line in body.splitlines()) <= 10_000
    assert b'model="other"' in body


def test_readiness_tells_why_calls_should_go_elsewhere(torana):
    assert (torana.ask("GET", "/readyz", key=None).status, torana.ask("HEAD", "/healthz").status) == (
        200,
        200,
    )
    torana.app.ledger._queue_entries_max = 0
    refused = torana.chat("echo")
    assert (refused.status, refused.json["error"]["code"], refused.headers["retry-after"]) == (
        503,
        "overloaded",
        "1",
    )
    for path in ("/readyz", "/health/readiness"):
        assert torana.ask("GET", path, key=None).status == 503
    assert torana.ask("GET", "/healthz", key=None).status == 200
    torana.app.ledger._queue_entries_max = 50_000
    torana.app.ledger.failing = "the disk is full"
    assert torana.ask("GET", "/readyz", key=None).json["status"] == "the disk is full"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/chat/completions"])
def test_a_query_of_many_fields_is_the_callers_fault(torana, path):
    query = "key=x&" + "&".join(f"a{n}=1" for n in range(100))
    method = "GET" if path == "/v1/models" else "POST"
    for more in ({}, {"anthropic_version": "2023-06-01"}):
        answer = torana.ask(method, f"{path}?{query}", None if method == "GET" else b"{}", **more)
        assert answer.status == 400
        answer = torana.ask(method, f"{path}?{query[6:]}", None if method == "GET" else b"{}", **more)
        assert answer.status in (200, 400)


@pytest.mark.parametrize(
    ("path", "allow"),
    [("/v1/chat/completions", "POST"), ("/v1/models", "GET, HEAD"), ("/v1/models/echo", "GET, HEAD")],
)
def test_a_refused_method_names_those_that_the_path_takes(torana, path, allow):
    answer = torana.ask("DELETE", path)
    assert (answer.status, answer.headers["allow"]) == (405, allow)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models/%E0%A4%A",
        "/v1/models/%00",
        "/v1/calls/%00",
        "/v1/calls/%FF%FF/../x",
        "/v1/models/..%2f..%2fetc",
        "/v1/models/" + "a" * 2000,
    ],
)
def test_an_id_of_odd_bytes_is_a_4xx(torana, path):
    assert torana.ask("GET", path).status in (400, 404)


def test_a_model_whose_name_holds_a_slash_is_found_both_ways(torana):
    assert (
        torana.ask("GET", "/v1/models/echo%2Fecho").json["id"]
        == torana.ask("GET", "/v1/models/echo/echo").json["id"]
    )


# ---------------------------------------------------------------- under another server


def test_the_gateway_can_be_mounted_as_an_asgi_application(torana):
    sent = []

    async def mounted() -> None:
        body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "hi there"}]}).encode()
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/chat/completions",
            "raw_path": b"/v1/chat/completions",
            "query_string": b"",
            "headers": [(b"host", b"x"), (b"authorization", f"Bearer {SECRET}".encode())],
            "client": ("127.0.0.1", 1),
            "scheme": "http",
            "http_version": "1.1",
            "asgi": {"version": "3.0"},
            "root_path": "",
            "server": None,
        }
        asked = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive():
            try:
                return next(asked)
            except StopIteration:
                await asyncio.sleep(3600)

        async def send(message):
            sent.append(message)

        await asyncio.wait_for(as_asgi(torana.app._front())(scope, receive, send), 10)

    torana.do(mounted())
    assert sent[0]["status"] == 200
    told = json.loads(b"".join(message.get("body", b"") for message in sent[1:]))
    assert told["choices"][0]["message"]["content"] == "hi there"
