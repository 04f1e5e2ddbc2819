"""The command line as a person or a script meets it: a process, its two outputs and its exit code."""

import contextlib
import json
import os
import signal
import ssl
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import trustme

from torana import __version__, cli
from torana.app import Ready
from torana.control import files
from torana.control.secrets import new_key, new_secret

DEADLINE_S = 60
SECRET = "correct-horse-battery-staple"
CHAT = b'{"model": "echo", "messages": [{"role": "user", "content": "hello there"}]}'


@pytest.fixture
def run(tmp_path):
    """Run `torana` in a folder of its own, with nothing of the developer's environment but the path."""

    def ran(*arguments, stdin=b"", **environ):
        return subprocess.run(
            [sys.executable, "-m", "torana", *arguments],
            cwd=tmp_path,
            env=_environ(environ),
            input=stdin,
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
        )

    return ran


@pytest.fixture
def serve(tmp_path):
    """Start `torana serve` on a free port; yields its run file's contents once calls can come."""

    @contextlib.contextmanager
    def serving(*arguments, **environ):
        with (tmp_path / "stderr").open("wb") as talk:
            process = subprocess.Popen(
                [sys.executable, "-m", "torana", "serve", "--port", "0", *arguments],
                cwd=tmp_path,
                env=_environ(environ),
                stdout=subprocess.PIPE,
                stderr=talk,
            )
        try:
            yield _ready(process, tmp_path)
        finally:
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode, output) == (0, b"")

    return serving


def _environ(more):
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH", "HOME")}
    return {**kept, **more}


def _ready(process, folder):
    until = time.monotonic() + DEADLINE_S
    while b"Try " not in (folder / "stderr").read_bytes():
        if process.poll() is not None or time.monotonic() > until:
            process.kill()
            pytest.fail((folder / "stderr").read_text())
        time.sleep(0.01)
    return files.find(folder)


def ask(address, path, body=None, *, key="", context=None):
    """(status, JSON) of a request to a server."""
    request = urllib.request.Request(address + path, body, {"content-type": "application/json"})
    if key:
        request.add_header("authorization", f"Bearer {key}")
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE_S, context=context) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as exc:
        return exc.code, json.load(exc)


def secret_in(folder):
    return (folder / files.KEY_NAME).read_text().strip()


# ---------------------------------------------------------------- the first run


def test_the_first_call_succeeds_without_any_configuration(serve, tmp_path):
    with serve() as running:
        status, answer = ask(running.address, "/v1/chat/completions", CHAT, key=secret_in(tmp_path))
    assert status == 200
    assert answer["choices"][0]["message"]["content"] == "hello there"


def test_the_printed_curl_works(serve, tmp_path):
    with serve():
        (line,) = [
            line for line in (tmp_path / "stderr").read_text().splitlines() if line.startswith("  Try")
        ]
        command = line.removeprefix("  Try").strip() + f" --silent --max-time {DEADLINE_S}"
        told = subprocess.run(["sh", "-c", command], capture_output=True, timeout=DEADLINE_S, check=True)
    assert json.loads(told.stdout)["choices"][0]["message"]["content"] == "hello"


def test_the_key_is_shown_once_and_a_restart_names_its_file(serve, tmp_path):
    with serve():
        first = (tmp_path / "stderr").read_text()
    secret = secret_in(tmp_path)
    with serve() as running:
        again = (tmp_path / "stderr").read_text()
        status, _ = ask(running.address, "/v1/chat/completions", CHAT, key=secret)
    assert (secret in first, secret in again, files.KEY_NAME in again, status) == (True, False, True, 200)


def test_the_files_beside_the_database_are_the_owners_alone(serve, tmp_path):
    with serve():
        names = [files.KEY_NAME, files.TOKEN_NAME, files.RUN_NAME, "torana.db"]
        assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names] == [0o600] * 4
    assert [(tmp_path / name).exists() for name in names] == [True, False, False, True]


def ready(key=None, providers=(), models=0):
    return Ready("http://127.0.0.1:8080", providers, models, key, Path("torana.db"))


def test_the_greeting_of_a_first_run():
    secret = new_secret()
    first = files.FirstKey(new_key("first-run", secret, 0), secret, Path("torana.key"), new=True)
    told = cli.greeting(ready(first, ("openai",), 41), {"OPENAI_API_KEY": "sk-1"})
    curl = (
        "curl http://127.0.0.1:8080/v1/chat/completions -H 'content-type: application/json' "
        f'-H "Authorization: Bearer {secret}" '
        """-d '{"model": "echo", "messages": [{"role": "user", "content": "hello"}]}'"""
    )
    assert told.splitlines() == [
        "  Found      OPENAI_API_KEY  ->  1 provider, 41 models",
        "  Gateway    http://127.0.0.1:8080/v1      (OpenAI)   http://127.0.0.1:8080 (Anthropic)",
        f"  Key        {secret}      (shown once; kept in torana.key)",
        f"  Try        {curl}",
    ]


def test_the_greeting_shows_no_key_of_a_provider_and_no_secret_twice():
    secret = new_secret()
    first = files.FirstKey(new_key("first-run", secret, 0), secret, Path("torana.key"), new=False)
    told = cli.greeting(ready(first, ("openai",), 1), {"OPENAI_API_KEY": "sk-canary"})
    assert ("sk-canary" in told, secret in told, "$(cat torana.key)" in told) == (False, False, True)


def test_the_greeting_without_providers_says_what_answers():
    assert "'echo' answers" in cli.greeting(ready(), {})


# ---------------------------------------------------------------- keys


def test_keys_are_made_listed_and_revoked_on_the_file_when_no_server_runs(run):
    made = run("keys", "create", "ann")
    assert (made.returncode, len(made.stdout.strip())) == (0, 53)
    (row,) = json.loads(run("keys", "list", "--json").stdout)
    assert (row["name"], row["revoked"], "secret" in row) == ("ann", None, False)
    assert b"Revoked ann" in run("keys", "revoke", row["id"]).stderr
    (row,) = json.loads(run("keys", "list", "--json").stdout)
    assert row["revoked"] is not None
    assert made.stdout.strip() not in run("keys", "list").stdout


def test_keys_made_through_the_running_server_work_at_once_and_stop_at_once(serve, run):
    with serve() as running:
        made = json.loads(run("keys", "create", "ann", "--json").stdout)
        assert ask(running.address, "/v1/chat/completions", CHAT, key=made["secret"])[0] == 200
        assert run("keys", "revoke", made["id"]).returncode == 0
        assert ask(running.address, "/v1/chat/completions", CHAT, key=made["secret"])[0] == 401


def test_keys_work_over_tls(serve, run, tmp_path):
    authority = trustme.CA()
    issued = authority.issue_cert("gateway.example")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    for index, blob in enumerate(issued.cert_chain_pems):
        blob.write_to_path(tmp_path / "cert.pem", append=index > 0)
    (tmp_path / "torana.yaml").write_text("server: {tls: {cert: cert.pem, key: key.pem}}")
    with serve() as running:
        made = json.loads(run("keys", "create", "ann", "--json").stdout)
        context = ssl.create_default_context()
        authority.configure_trust(context)
        context.check_hostname = False
        assert running.address.startswith("https://")
        assert (
            ask(running.address, "/v1/chat/completions", CHAT, key=made["secret"], context=context)[0] == 200
        )


def test_a_run_file_that_a_killed_server_left_does_not_matter(run, tmp_path):
    child = subprocess.Popen(["true"])
    child.wait(timeout=DEADLINE_S)
    left = {"pid": child.pid, "address": "http://127.0.0.1:9", "token": str(tmp_path / files.TOKEN_NAME)}
    files.write_private(tmp_path / files.RUN_NAME, json.dumps(left))
    assert run("keys", "create", "ann").returncode == 0


def test_a_token_is_not_sent_off_this_machine(run, tmp_path):
    files.announce(tmp_path, "http://192.0.2.1:8080")
    told = run("keys", "list")
    assert (told.returncode, b"admin API cannot be reached" in told.stderr) == (1, True)


def test_a_bad_name_and_an_unknown_id_are_told_in_a_sentence(run):
    for arguments, word in (
        (("create", "a/b"), b"a key's name is"),
        (("revoke", "key_none"), b"no key of this id"),
    ):
        told = run("keys", *arguments)
        assert (told.returncode, told.stdout, b"Traceback" in told.stderr, word in told.stderr) == (
            1,
            b"",
            False,
            True,
        )


# ---------------------------------------------------------------- serve refuses


def test_an_address_that_others_reach_needs_a_key_of_ones_own(run, serve):
    told = run("serve", "--host", "0.0.0.0", "--port", "0")
    assert (told.returncode, b"without a key of your own" in told.stderr) == (78, True)
    run("keys", "create", "ann")
    with serve("--host", "0.0.0.0") as running:
        assert running.address.startswith("http://0.0.0.0:")
        assert "ann" in [row["name"] for row in json.loads(run("keys", "list", "--json").stdout)]


def test_a_bad_configuration_is_refused_in_one_line(run, tmp_path):
    (tmp_path / "torana.yaml").write_text("server:\n  prot: 1\n")
    told = run("serve")
    assert told.returncode == 78
    assert told.stderr == b"torana: torana.yaml, line 2: server.prot: unknown key 'prot'; closest: 'port'\n"


def test_a_database_that_another_server_has_is_refused(run, serve):
    with serve():
        told = run("serve", "--port", "0")
    assert (told.returncode, b"Traceback" in told.stderr) == (78, False)


def test_a_log_can_be_json(serve, tmp_path):
    with serve("--log-json"):
        pass
    lines = [line for line in (tmp_path / "stderr").read_text().splitlines() if line.startswith("{")]
    assert [set(json.loads(line)) for line in lines] == [{"time", "level", "logger", "message"}] * len(lines)
    assert len(lines) > 0


# ---------------------------------------------------------------- check, models, config


def test_check_accepts_the_defaults_and_names_what_is_found(run):
    told = run("check", "--json", OPENAI_API_KEY="sk-1")
    assert told.returncode == 0
    assert json.loads(told.stdout) == {"config": None, "providers": {"openai": None}, "warnings": []}


def test_check_refuses_with_the_line(run, tmp_path):
    (tmp_path / "mine.yaml").write_text("keys:\n  - {name: a, secret: short}\n")
    told = run("check", "--config", "mine.yaml")
    assert (told.returncode, told.stdout) == (1, b"")
    assert b"mine.yaml, line 2: keys[0].secret: the secret can be guessed" in told.stderr


def test_check_pings_what_answers_and_what_does_not(run, serve, tmp_path):
    with serve() as running:
        text = f"""
providers:
  good: {{base_url: "{running.address}/v1", api_key: "{secret_in(tmp_path)}"}}
  bad: {{base_url: "{running.address}/v1", api_key: "wrong-key"}}
  none: {{base_url: "http://127.0.0.1:9/v1", api_key: "x"}}
"""
        (tmp_path / "ping.yaml").write_text(text)
        told = run("check", "--config", "ping.yaml", "--ping", "--json")
    found = json.loads(told.stdout)["providers"]
    assert (told.returncode, found["good"], found["bad"]) == (1, "ok", "refuses the key (401)")
    assert "127.0.0.1:9" in found["none"]


def test_models_lists_what_can_be_called(run):
    assert json.loads(run("models", "--json").stdout) == [
        {"id": "echo", "provider": "echo", "context": None, "output_max": None}
    ]
    told = run("models", "--provider", "openai", OPENAI_API_KEY="sk-1").stdout.decode().splitlines()
    assert told[0].split() == ["MODEL", "CONTEXT", "OUTPUT"]
    assert {line.split("/")[0] for line in told[1:]} == {"openai"}
    assert run("models", "--provider", "nobody").returncode == 1


def test_the_configuration_is_shown_without_its_secrets(run, tmp_path):
    (tmp_path / "torana.yaml").write_text(f"keys: [{{name: dev, secret: {SECRET}}}]")
    told = run("config", "show")
    assert json.loads(told.stdout)["keys"] == [{"name": "dev", "secret": "[redacted]"}]
    assert SECRET.encode() not in told.stdout + told.stderr


def test_the_schema_is_json(run):
    assert json.loads(run("config", "schema").stdout)["title"] == "torana.yaml"


# ---------------------------------------------------------------- translate and version


def test_a_request_is_translated_and_its_losses_are_told_on_stderr(run):
    body = b'{"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "seed": 3}'
    told = run("translate", "--from", "openai_chat", "--to", "anthropic", stdin=body)
    assert json.loads(told.stdout) == {
        "model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]
    }  # fmt: skip
    assert told.stderr.startswith(b"seed was dropped")


def test_a_stream_is_translated_as_it_is(run):
    stream = (
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":'
        b'[{"index":0,"delta":{"role":"assistant","content":"Oslo"},"finish_reason":null}]}\n\n'
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":'
        b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    )
    told = run("translate", "--from", "openai_chat", "--to", "anthropic", "--kind", "stream", stdin=stream)
    assert (told.returncode, b"event: message_stop" in told.stdout, b"Oslo" in told.stdout) == (0, True, True)
    cut = run(
        "translate", "--from", "openai_chat", "--to", "anthropic", "--kind", "stream", stdin=stream[:200]
    )
    assert (cut.returncode, b"Traceback" in cut.stderr) == (1, False)


@pytest.mark.parametrize("stdin", [b"", b"{", b"[]", b"\xff"])
def test_what_cannot_be_translated_is_told_in_a_sentence(run, stdin):
    told = run("translate", "--from", "openai_chat", "--to", "anthropic", stdin=stdin)
    assert (told.returncode, told.stdout, told.stderr[:8], b"Traceback" in told.stderr) == (
        1,
        b"",
        b"torana: ",
        False,
    )


def test_version_loads_nothing_but_itself(run):
    assert run("version").stdout.decode() == f"{__version__}\n"
    script = (
        "import sys, torana.cli as c; c.main(['version']); print([m for m in sys.modules if 'torana' in m])"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=DEADLINE_S, check=True)
    assert told.stdout.decode().splitlines()[1] == "['torana', 'torana.errors', 'torana.cli']"


# ---------------------------------------------------------------- manners


@pytest.mark.parametrize(
    "arguments", [(), ("nothing",), ("keys",), ("serve", "--port", "x"), ("keys", "create")]
)
def test_what_is_not_understood_is_exit_code_2_on_stderr(run, arguments):
    told = run(*arguments)
    assert (told.returncode, told.stdout) == (2, b"")


def test_a_reader_that_leaves_is_not_a_traceback(tmp_path):
    script = f"{sys.executable} -m torana config schema | head -c 10 >/dev/null"
    told = subprocess.run(
        ["sh", "-c", script], cwd=tmp_path, capture_output=True, timeout=DEADLINE_S, check=False
    )
    assert told.stderr == b""


def test_color_is_for_terminals_that_want_it(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    for environ, wanted in (({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)):
        for name in ("NO_COLOR", "TERM"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        assert cli.wants_color() is wanted
    assert "\x1b[" not in cli.greeting(ready(), {}, color=False)
    assert "\x1b[1mGateway\x1b[0m" in cli.greeting(ready(), {}, color=True)
