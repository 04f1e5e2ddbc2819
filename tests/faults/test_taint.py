"""Three secrets that stand out, and every place a secret may come out at: what callers hear, what the log says at its
most talkative, the database and its log, the files of a run (fault matrix V14, V23).

The providers here do their worst: they give the credential back in headers, bodies, refusals and streams, in garbage
that ends in a traceback elsewhere, and whole and in part."""

import itertools
import json
from types import SimpleNamespace

import pytest

from hostile import ASKED, Caller, listening
from provider import (
    ABORT,
    CHAT,
    CHAT_STREAM,
    CLOSE,
    LAST,
    MESSAGE,
    MESSAGE_STREAM,
    Asked,
    Provider,
    chat_chunk,
    chunk,
    events,
    head,
    message_event,
    reply,
)
from running import Running, provider
from torana.cli import main

VIRTUAL = "sk-torana-canary-VVVVVVVVVVVVVVVVVVVVVVVVVVVVVVVV"
PROVIDERS = "sk-prov-canary-PPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPP"
KEY = {"authorization": f"Bearer {VIRTUAL}"}
DIALECTS = ("openai_chat", "anthropic")
MODELS = {"openai_chat": "mock/gpt-x", "anthropic": "ant/claude-x"}
SAID = f"Incorrect API key provided: {PROVIDERS}. Bearer {PROVIDERS} was refused."


def reflection(status: int, body: bytes | None = None):
    """An answer whose head repeats all that was asked, and whose body is an error that names the credential."""
    said = json.dumps({"type": "error", "error": {"type": "authentication_error", "message": SAID}}).encode()

    def script(asked: Asked):
        headers = {f"x-reflected-{name}": value for name, value in asked.headers.items()}
        headers |= {
            "authorization": f"Bearer {PROVIDERS}",
            "x-api-key": PROVIDERS,
            "set-cookie": f"k={PROVIDERS}",
        }
        headers |= {
            "x-request-id": PROVIDERS,
            "retry-after": PROVIDERS,
            "location": f"http://x.invalid/?key={PROVIDERS}",
        }
        return reply(said if body is None else body, status, headers=headers)(asked)

    return script


def stream(*pieces: object):
    return events(*pieces, headers={"x-request-id": PROVIDERS})


def answering(asked: Asked):
    chat = asked.path.startswith("/v1/chat")
    if asked.json.get("stream"):
        return stream(*(CHAT_STREAM if chat else MESSAGE_STREAM))(asked)
    return reflection(200, json.dumps(CHAT if chat else MESSAGE).encode())(asked)


FAILED = message_event("error", error={"type": "authentication_error", "message": SAID})
CHAT_FAILED = (
    b"data: " + json.dumps({"error": {"message": SAID, "type": "x", "code": PROVIDERS}}).encode() + b"\n\n"
)
SCRIPTS = {
    "an answer": answering,
    **{f"a {status} that reflects": reflection(status) for status in (200, 302, 400, 401, 403, 404, 429, 500, 529)},
    "a 401 in plain text": reflection(401, SAID.encode()),
    "a 400 in plain text": reflection(400, SAID.encode()),
    "a 500 of HTML": reflection(500, f"<html>{SAID}</html>".encode()),
    "a 422 with detail": reflection(422, json.dumps({"detail": [{"loc": [PROVIDERS], "msg": SAID}]}).encode()),
    "a 400 that names it in its code": reflection(400, json.dumps({"error": {"message": "no", "code": PROVIDERS, "param": PROVIDERS, "type": PROVIDERS}}).encode()),
    "an answer that is no JSON": reflection(200, SAID.encode()),
    "an answer of another shape": reflection(200, json.dumps([PROVIDERS]).encode()),
    "an answer that is cut": lambda _: [head(length=5000) + json.dumps({"key": SAID}).encode(), CLOSE],
    "an answer that is reset": lambda _: [head(length=5000) + SAID.encode(), 0.01, ABORT],
    "no HTTP": lambda _: [f"{SAID}\r\n\r\n".encode(), CLOSE],
    "a header that is none": lambda _: [f"HTTP/1.1 200 OK\r\n{SAID}\r\n\r\n".encode(), CLOSE],
    "a status line of the key": lambda _: [f"HTTP/1.1 {PROVIDERS} {SAID}\r\n\r\n".encode(), CLOSE],
    "trailers": lambda _: [head(), chunk(json.dumps(CHAT).encode()), f"0\r\nx-key: {PROVIDERS}\r\n\r\n".encode()],
    "a compressed body that is none": lambda _: [
        head(length=9, headers={"content-encoding": "gzip"}) + PROVIDERS[:9].encode()
    ],
    "a stream that fails": stream(chat_chunk({"content": "a"}), CHAT_FAILED),
    "a stream that fails at once": stream(CHAT_FAILED),
    "a stream of events that fails": stream(MESSAGE_STREAM[0], FAILED),
    "a stream of events that fails at once": stream(FAILED),
    "a stream of garbage": stream(b"data: " + SAID.encode() + b"\n\n"),
    "a stream of garbage after a beginning": stream(chat_chunk({"content": "a"}), b"data: {" + SAID.encode() + b"\n\n"),
    "a stream that is cut inside the key": lambda _: [
        head(kind="text/event-stream"),
        chunk(chat_chunk({"content": "a"}) + b'data: {"x":"' + PROVIDERS[:-1].encode()),
        LAST,
    ],
}  # fmt: skip


def drive(caller: Caller, server: Provider, told: list[bytes]) -> None:
    """Every flow: what a provider says x who asks x whom x streamed or not."""
    for script, dialect, model, streamed in itertools.product(
        SCRIPTS.values(), DIALECTS, MODELS.values(), (False, True)
    ):
        server.script = script
        told.append(spoken(caller.post(dialect, ASKED[dialect] | {"model": model, "stream": streamed}, KEY)))
    server.script = answering


def small_talk(caller: Caller) -> list[bytes]:
    """What else answers: lists, accounts, metrics, refusals of credentials, paths that are none."""
    paths = ["/v1/models", "/v1/models/echo", "/v1/calls/none", "/metrics", "/healthz", "/readyz", "/openapi.json", "/",
             f"/v1/models?key={VIRTUAL}", "/nowhere", "/admin/v1/keys"]  # fmt: skip
    told = [caller.send("GET", path, head=KEY) for path in paths]
    wrong = [VIRTUAL[:-1], VIRTUAL + "x", VIRTUAL.lower(), PROVIDERS[:-1], "Basic " + VIRTUAL]
    told += [caller.send("GET", "/v1/models", head={"authorization": f"Bearer {key}"}) for key in wrong]
    told += [caller.send("GET", "/v1/models", head=KEY | {"x-api-key": "another-key"})]
    told += [caller.send("GET", f"/v1/models?key={VIRTUAL}", head={"authorization": ""})]
    told += [caller.post("openai_chat", body, KEY) for body in (b"{", b"[]", b"{}", b"\xff")]
    return [spoken(answer) for answer in told]


def accounts(caller: Caller, told: list[bytes]) -> list[bytes]:
    """Of every call that was made, its account."""
    ids = {
        line.partition(b": ")[2]
        for head in told
        for line in head.split(b"\r\n")
        if line.startswith(b"request-id")
    }
    return [spoken(caller.send("GET", f"/v1/calls/{id.decode()}", head=KEY)) for id in ids]


def spoken(answer) -> bytes:
    status, head, body = answer
    return (
        "\r\n".join([str(status), *[f"{name}: {value}" for name, value in head.items()], ""]).encode() + body
    )


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture(scope="module")
def heard(tmp_path_factory):
    """Everything that came out of a run of all flows, by the sink it came out at."""
    folder = tmp_path_factory.mktemp("torana")
    told: list[bytes] = []
    asked: list[Asked] = []
    environ = {"CANARY_VIRTUAL": VIRTUAL, "CANARY_PROVIDER": PROVIDERS}
    with listening() as log, Provider(answering) as server:
        secret = {"api_key": "${CANARY_PROVIDER}"}
        rows = {
            "mock": provider(server.url) | secret,
            "ant": provider(server.url, "anthropic", auth="x-api-key") | secret,
        }
        keys = [{"name": "canary", "secret": "${CANARY_VIRTUAL}"}]
        with Running(folder, environ=environ, providers=rows, keys=keys) as torana:
            caller = Caller(torana.port)
            drive(caller, server, told)
            told += small_talk(caller)
            told += accounts(caller, told)
            caller.close()
            token = (folder / "torana.token").read_text().strip()
            asked += server.asked
            token_mode = (folder / "torana.token").stat().st_mode
            while_running = contents(folder)
    return SimpleNamespace(
        folder=folder, told=told, asked=asked, log="\n".join(log.lines).encode(), token=token.encode(), token_mode=token_mode,
        files=while_running | contents(folder),
    )  # fmt: skip


def test_the_flows_are_real(heard):
    """The provider was sent its credential, callers were answered and refused, the log and the database speak."""
    assert len(heard.told) > 300
    assert len(heard.asked) == len(SCRIPTS) * 8
    assert all(
        PROVIDERS in (sent.headers.get("authorization") or sent.headers["x-api-key"]) for sent in heard.asked
    )
    assert {told[:3] for told in heard.told} >= {b"200", b"400", b"401", b"404", b"429", b"500", b"502"}
    assert any(b'"state":"incomplete"' in told for told in heard.told)
    assert heard.files["torana.db"]


@pytest.mark.parametrize("secret", [PROVIDERS, PROVIDERS[:-4], PROVIDERS[4:]])
def test_a_providers_credential_comes_out_nowhere(heard, secret):
    """Nor most of it: what was cut on its way, and what a search for the whole would miss."""
    canary = secret.encode()
    assert [told for told in heard.told if canary in told] == []
    assert canary not in heard.log
    assert [name for name, held in heard.files.items() if canary in held] == []


def test_a_callers_key_comes_out_nowhere(heard):
    canary = VIRTUAL.encode()
    assert [told for told in heard.told if canary in told] == []
    assert canary not in heard.log
    assert [name for name, held in heard.files.items() if canary in held] == []
    assert [sent for sent in heard.asked if canary in sent.raw_headers + sent.body] == []


def test_the_admin_token_stands_in_its_own_file_alone(heard):
    assert len(heard.token) > 40
    assert [told for told in heard.told if heard.token in told] == []
    assert heard.token not in heard.log
    assert [name for name, held in heard.files.items() if heard.token in held] == ["torana.token"]
    assert heard.token_mode & 0o077 == 0


def test_a_key_that_is_made_at_the_first_run_stands_in_its_own_file_alone(tmp_path):
    with listening() as log, Running(tmp_path, keys=[]) as torana:
        made = torana.ready.key.secret.encode()
        caller = Caller(torana.port)
        key = {"authorization": f"Bearer {made.decode()}"}
        asked = ASKED["openai_chat"] | {"model": "echo"}
        told = [
            spoken(caller.post("openai_chat", asked, key)),
            spoken(caller.send("GET", "/metrics", head=key)),
        ]
        caller.close()
        running = contents(tmp_path)
    assert told[0].startswith(b"200")
    assert made not in b"".join(told) + "\n".join(log.lines).encode()
    holders = {
        name for files in (running, contents(tmp_path)) for name, held in files.items() if made in held
    }
    assert holders == {"torana.key"}


def test_no_verb_of_the_command_line_tells_a_secret(heard, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CANARY_VIRTUAL", VIRTUAL)
    monkeypatch.setenv("CANARY_PROVIDER", PROVIDERS)
    path = str(heard.folder / "torana.yaml")
    verbs = [["config", "show"], ["check"], ["check", "--json"], ["models"], ["keys", "list"]]
    codes = [main([*verb, "--config", path]) for verb in verbs]
    plain = tmp_path / "plain.yaml"  # secrets in the file itself, one of them misspelled
    config = json.loads((heard.folder / "torana.yaml").read_text())
    config["keys"] = [{"name": "canary", "secret": VIRTUAL}]
    config["providers"]["mock"]["api_key"] = PROVIDERS
    plain.write_text(json.dumps(config))
    codes += [main([*verb, "--config", str(plain)]) for verb in verbs[:2]]
    config["providers"]["mock"] |= {"api_keyy": PROVIDERS, "base_url": f"http://u:{PROVIDERS}@x.invalid/v1"}
    plain.write_text(json.dumps(config))
    refused = main(["check", "--config", str(plain)])
    heard_now = capsys.readouterr()
    assert (set(codes), refused != 0) == ({0}, True)
    assert len(heard_now.out) > 1000
    assert (VIRTUAL in heard_now.out + heard_now.err, PROVIDERS in heard_now.out + heard_now.err) == (
        False,
        False,
    )
