"""The command line. stdout is data, stderr is talk, and nothing is asked.

It knows how to say things, not how they are done: each verb imports what it needs when it is called, so that
`torana version` is quick. Exit codes: 0 done, 1 not done, 2 not understood, 78 a configuration or a store that
serve refuses (EX_CONFIG of sysexits.h), 130 interrupted.
"""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torana import __version__
from torana.errors import ConfigError, Error, InvalidRequest, StoreError

if TYPE_CHECKING:
    from torana.app import Ready
    from torana.config import Log
    from torana.control.keys import Keys
    from torana.records import Provider

DONE, FAILED, REFUSED, INTERRUPTED = 0, 1, 78, 130
STDIN_BYTES_MAX = 64 * 1024 * 1024  # what the server takes as one body
CHUNK_BYTES = 64 * 1024
VARIABLES_SHOWN_MAX = 6
PING_S = 10.0
PING_BYTES_MAX = 16 * 1024 * 1024  # the longest list of models has some 2 MB

Object = dict[str, Any]  # JSON of ours


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = parser().parse_args(arguments)
    try:
        code = options.run(options)
        sys.stdout.flush()
    except Error as exc:
        say(f"torana: {exc}")
        booting = options.run is _serve and isinstance(exc, ConfigError | StoreError)
        return REFUSED if booting else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who read us has left. Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as exc:
        if os.environ.get("TORANA_TRACEBACK"):
            raise
        say(f"torana: a bug of ours: {type(exc).__name__}: {exc}. TORANA_TRACEBACK=1 shows where")
        return FAILED
    return int(code)


def say(text: str) -> None:
    print(text, file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """Every verb and option. docs/cli.md documents each; a test compares."""
    top = argparse.ArgumentParser(prog="torana", description="An AI gateway: one address for every LLM API.")
    verbs = top.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def verb(name: str, run: Callable[[argparse.Namespace], int], help: str) -> argparse.ArgumentParser:
        added = verbs.add_parser(name, help=help, description=help)
        added.set_defaults(run=run)
        return added

    serve = verb("serve", _serve, "Run the gateway until it is told to stop.")
    _takes_config(serve)
    serve.add_argument("--host", default="", help="listen on this address instead of server.host")
    serve.add_argument("--port", type=_port, default=-1, help="listen on this port instead of server.port")
    serve.add_argument("--log-json", action="store_true", help="write the log as JSON lines")
    _add_keys(verbs)
    models = verb("models", _models, "List the models that can be called.")
    _takes_config(models)
    _takes_json(models)
    models.add_argument("--provider", default="", help="only those of this provider")
    check = verb("check", _check, "Check the configuration and the environment.")
    _takes_config(check)
    _takes_json(check)
    check.add_argument("--ping", action="store_true", help="also ask each provider for its list of models")
    _add_translate(
        verb("translate", _translate, "Translate stdin from one API's dialect to another's, to stdout.")
    )
    _add_config(verbs)
    _takes_json(verb("version", _version, "Print the version."))
    return top


def _add_keys(verbs: Any) -> None:  # argparse's own type for it is private
    keys = verbs.add_parser(
        "keys", help="Create, list and revoke keys.", description="Create, list and revoke keys."
    )
    actions = keys.add_subparsers(title="actions", metavar="ACTION", required=True)
    for name, help in (
        ("create", "Create a key and print its secret, this one time."),
        ("list", "List the keys, revoked ones too."),
        ("revoke", "Take a key out of force, at once."),
    ):
        action = actions.add_parser(name, help=help, description=help)
        action.set_defaults(run=_keys, action=name)
        if name == "create":
            action.add_argument("name", metavar="NAME", help="who will hold it")
        if name == "revoke":
            action.add_argument("id", metavar="ID", help="the key's id, as list prints it")
        _takes_config(action)
        _takes_json(action)


def _add_translate(translate: argparse.ArgumentParser) -> None:
    translate.add_argument(
        "--from", dest="source", required=True, metavar="DIALECT", help="the dialect of stdin"
    )
    translate.add_argument(
        "--to", dest="target", required=True, metavar="DIALECT", help="the dialect of stdout"
    )
    kinds = ("request", "response", "stream")
    translate.add_argument(
        "--kind", choices=kinds, default="request", help="what stdin holds (default: request)"
    )


def _add_config(verbs: Any) -> None:  # argparse's own type for it is private
    help = "Print what there is to know about torana.yaml."
    config = verbs.add_parser("config", help=help, description=help)
    actions = config.add_subparsers(title="actions", metavar="ACTION", required=True)
    schema = actions.add_parser("schema", help="Print its JSON Schema.", description="Print its JSON Schema.")
    schema.set_defaults(run=_schema)
    show = actions.add_parser(
        "show", help="Print it as read, secrets hidden.", description="Print it as read."
    )
    show.set_defaults(run=_show)
    _takes_config(show)


def _takes_config(verb: argparse.ArgumentParser) -> None:
    help = "the configuration (default: torana.yaml, if there is one here)"
    verb.add_argument("--config", type=Path, default=None, metavar="FILE", help=help)


def _takes_json(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--json", action="store_true", help="print JSON")


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or int(text[:6]) > 65_535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return int(text)


def _config_path(options: argparse.Namespace) -> Path | None:
    if options.config is not None:
        return Path(options.config)
    from torana.config import DEFAULT_NAME

    path = Path(DEFAULT_NAME)
    return path if path.exists() else None


# ---------------------------------------------------------------- serve


def _serve(options: argparse.Namespace) -> int:
    from torana import app, config

    path = _config_path(options)
    _listen_to_log(config.voice(path, os.environ), as_json=options.log_json)
    return app.run(app.ServeOptions(path, options.host, options.port), _greet)


def _greet(ready: "Ready") -> None:
    say(greeting(ready, dict(os.environ), color=wants_color()))


def wants_color() -> bool:
    """https://no-color.org"""
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def greeting(ready: "Ready", environ: dict[str, str], *, color: bool = False) -> str:
    """What a person sees once calls can come. The secret of a key is shown only at its making."""
    from torana.providers import load_catalog

    variables = [name for row in load_catalog().values() for name in row.env if environ.get(name)]
    found = f"{_counted(len(ready.providers), 'provider')}, {_counted(ready.models, 'model')}"
    nothing = "no provider's key in the environment; the model 'echo' answers without one"
    lines = [
        f"Found      {_named(variables)}  ->  {found}" if ready.providers else f"Found      {nothing}",
        f"Gateway    {ready.address}/v1      (OpenAI)   {ready.address} (Anthropic)",
    ]
    bearer = "$TORANA_KEY"
    if ready.key is not None and ready.key.new:
        bearer = ready.key.secret
        lines.append(f"Key        {ready.key.secret}      (shown once; kept in {ready.key.path})")
    elif ready.key is not None:
        bearer = f"$(cat {ready.key.path})"
        lines.append(f"Key        in {ready.key.path}")
    lines.append(f"Try        {_curl(ready.address, bearer)}")
    return "\n".join("  " + (_bold(line) if color else line) for line in lines)


def _named(variables: list[str]) -> str:
    if not variables:
        return "providers in the configuration"
    names = list(dict.fromkeys(variables))
    more = len(names) - VARIABLES_SHOWN_MAX
    return ", ".join(names[:VARIABLES_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _curl(address: str, bearer: str) -> str:
    body = '{"model": "echo", "messages": [{"role": "user", "content": "hello"}]}'
    headers = f"-H 'content-type: application/json' -H \"Authorization: Bearer {bearer}\""
    return f"curl {address}/v1/chat/completions {headers} -d '{body}'"


def _bold(line: str) -> str:
    label, gap, rest = line.partition("  ")
    return f"\x1b[1m{label}\x1b[0m{gap}{rest}"


class JsonLines(logging.Formatter):
    """One JSON object a line: {"time","level","logger","message","trace"}."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _listen_to_log(log: "Log", *, as_json: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler.setFormatter(JsonLines() if as_json or log.format == "json" else plain)
    logger = logging.getLogger("torana")
    logger.handlers = [handler]
    logger.setLevel(log.level.upper())
    logger.propagate = False


# ---------------------------------------------------------------- keys


def _keys(options: argparse.Namespace) -> int:
    """Through the server if one runs on the same data, else on the file itself."""
    from torana import config
    from torana.control import client, files
    from torana.control.keys import check_name

    path = _config_path(options)
    store = config.locate(path, os.environ)
    if options.action == "create":
        check_name(options.name)
    running = files.find(config.folder(store))
    if running is not None and files.is_alive(running.pid):
        try:
            return _tell(options, _remotely(options, client.Remote(running)))
        except client.Gone:
            pass  # its number was given to another process; the lock of the file decides
    if store.url == "memory:":
        raise StoreError("no server runs here, and a store in memory ends with its server; start it first")
    return _tell(options, _directly(options, store.url))


def _remotely(options: argparse.Namespace, remote: Any) -> Any:  # Remote; rows or one row of described()
    match options.action:
        case "create":
            return remote.create(options.name)
        case "revoke":
            return remote.revoke(options.id)
        case _:
            return remote.all()


def _directly(options: argparse.Namespace, url: str) -> Any:  # rows or one row of described()
    import asyncio

    from torana.control.keys import Keys
    from torana.store import open_store

    async def act() -> Any:
        store = await open_store(url)
        try:
            return await _act(options, Keys(store.keys, lambda: time.time_ns() // 1000))
        finally:
            await store.close()

    return asyncio.run(act())


async def _act(options: argparse.Namespace, keys: "Keys") -> Any:
    from torana.control.keys import described

    match options.action:
        case "create":
            key, secret = await keys.create(options.name)
            return {**described(key), "secret": secret}
        case "revoke":
            return described(await keys.revoke(options.id))
        case _:
            return [described(key) for key in await keys.all()]


def _tell(options: argparse.Namespace, found: Any) -> int:
    if options.json:
        _print_json(found)
    elif options.action == "create":
        say(f"Created {found['name']} ({found['id']}). The secret is shown this once:")
        print(found["secret"])
    elif options.action == "revoke":
        say(f"Revoked {found['name']} ({found['id']}).")
    else:
        rows = [
            [row["id"], row["name"], row["prefix"] and row["prefix"] + "...", row["source"], _state(row)]
            for row in found
        ]
        _print_table(["ID", "NAME", "SECRET", "FROM", "STATE"], rows)
    return DONE


def _state(row: Object) -> str:
    if row["revoked"] is None:
        return "valid"
    return "revoked " + time.strftime("%Y-%m-%d", time.gmtime(row["revoked"]))


# ---------------------------------------------------------------- models and check


def _models(options: argparse.Namespace) -> int:
    from torana import config
    from torana.providers import echo

    settings = config.load(_config_path(options), os.environ)
    snapshot = config.snapshot(settings, os.environ, (), 0)
    known = {**snapshot.models, echo.PROVIDER.name: {echo.MODEL.id: echo.MODEL}}
    if options.provider and options.provider not in known:
        raise InvalidRequest(f"no provider {options.provider!r} can be used; there are: {', '.join(known)}")
    rows = [
        {"id": id, "provider": provider, "context": row.context, "output_max": row.output_max}
        for provider, models in known.items()
        if options.provider in ("", provider)
        for id, row in models.items()
    ]
    if options.json:
        _print_json(rows)
    else:
        shown = [
            [f"{row['provider']}/{row['id']}", row["context"] or "", row["output_max"] or ""] for row in rows
        ]
        _print_table(["MODEL", "CONTEXT", "OUTPUT"], shown)
    return DONE


def _check(options: argparse.Namespace) -> int:
    from torana import config

    path = _config_path(options)
    settings = config.load(path, os.environ)
    providers = config.snapshot(settings, os.environ, (), 0).providers
    report: Object = {
        "config": None if path is None else str(path),
        "providers": dict.fromkeys(providers),
        "warnings": config.check(settings, os.environ),
    }
    if options.ping:
        report["providers"] = _ping(providers)
    if options.json:
        _print_json(report)
    else:
        _say_report(report)
    silent = [name for name, said in report["providers"].items() if said not in (None, "ok")]
    return FAILED if silent else DONE


def _say_report(report: Object) -> None:
    say(f"{report['config'] or 'No torana.yaml here: the defaults'} can be used.")
    for warning in report["warnings"]:
        say(f"Warning: {warning}")
    _print_table(
        ["PROVIDER", "ANSWER"], [[name, said or "not asked"] for name, said in report["providers"].items()]
    )


def _ping(providers: "dict[str, Provider]") -> dict[str, str]:
    """What each provider says to a request for its models: "ok", or a sentence."""
    import asyncio

    from torana.net.client import Client, Proxies

    async def ask() -> list[str]:
        client = Client(proxies=Proxies.from_env(os.environ))
        try:
            return await asyncio.gather(*(_answer(client, provider) for provider in providers.values()))
        finally:
            await client.close()

    return dict(zip(providers, asyncio.run(ask()), strict=True))


async def _answer(client: Any, provider: "Provider") -> str:  # a torana.net.client.Client
    from torana.net.origin import parse_origin, render_head
    from torana.providers import auth, discover
    from torana.records import Timeouts

    origin, prefix = parse_origin(provider.base_url)
    path = prefix + discover.PATH.get(provider.dialect, "/models")
    headers = [*provider.headers.items(), *auth.credential_headers(provider)]
    limits = Timeouts(connect_s=PING_S, total_s=PING_S)
    try:
        reply = await client.send(
            origin, render_head("GET", origin, path, headers), b"", limits, stream=False
        )
        try:
            await reply.read(PING_BYTES_MAX)
        finally:
            reply.close()
    except Error as exc:
        return exc.message
    if reply.status in (401, 403):
        return f"refuses the key ({reply.status})"
    # A server without a list of models is there, and that was the question.
    return "ok" if reply.status < 500 else f"answers {reply.status}"


# ---------------------------------------------------------------- translate, config, version


def _translate(options: argparse.Namespace) -> int:
    from torana import translate

    if options.kind == "stream":
        relay = translate.Relay(options.source, options.target)
        while chunk := os.read(sys.stdin.fileno(), CHUNK_BYTES):
            sys.stdout.buffer.write(relay.feed(chunk))
            sys.stdout.buffer.flush()
        sys.stdout.buffer.write(relay.close())
        return DONE
    body = sys.stdin.buffer.read(STDIN_BYTES_MAX + 1)
    if len(body) > STDIN_BYTES_MAX:
        raise InvalidRequest(f"stdin holds more than {STDIN_BYTES_MAX} bytes")
    turn = translate.request if options.kind == "request" else translate.response
    rendered = turn(body, options.source, options.target)
    for loss in rendered.losses:
        say(f"{loss.where} was {loss.how}: {loss.why}")
    sys.stdout.buffer.write(rendered.body + b"\n")
    return DONE


def _schema(_: argparse.Namespace) -> int:
    from torana import config

    _print_json(config.schema())
    return DONE


def _show(options: argparse.Namespace) -> int:
    from torana import config

    _print_json(config.redacted(config.load(_config_path(options), os.environ)))
    return DONE


def _version(options: argparse.Namespace) -> int:
    if options.json:
        _print_json({"version": __version__})
    else:
        print(__version__)
    return DONE


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2))


def _print_table(head: list[str], rows: list[list[Any]]) -> None:
    cells = [head, *([str(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
