"""A whole Torana in a thread of this process, for tests that speak to it over real sockets."""

import asyncio
import http.client
import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import uvloop

from torana import config as settings
from torana.app import App

SECRET = "sk-torana-a-test-secret-of-enough-length"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Running:
    """`with Running(tmp_path, providers={...}) as torana:` - `torana.url`, `torana.post(...)`, `torana.app`."""

    def __init__(self, folder: Path, *, environ: dict[str, str] | None = None, **config: object) -> None:
        value = {
            "server": {"port": 0, "drain_s": 1, "grace_s": 0},
            "store": {"url": "sqlite:///torana.db"},
            "keys": [{"name": "test", "secret": SECRET}],
        } | config
        self.path = folder / "torana.yaml"
        self.path.write_text(json.dumps(value), encoding="utf-8")  # JSON is YAML
        self._environ = environ or {}
        self._ready = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(20)
        if self._failed is not None:
            raise self._failed
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            self.app = App(settings.load(self.path, self._environ), self.path, self._environ)
            self.ready = await self.app.start()
            self.port = self.app.server.port
            self.url = self.ready.address
        except BaseException as exc:
            self._failed = exc
            self._ready.set()
            return
        self._ready.set()
        await self._stop.wait()
        await self.app.stop()

    def do(self, work):
        """Run a coroutine on the gateway's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    # ---------------------------------------------------------------- as a caller

    def ask(
        self, method: str, path: str, body: object = None, *, key: str | None = SECRET, **headers: str
    ) -> Answer:
        """One request. `body` that is not bytes becomes JSON; header names have _ for -."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            named["authorization"] = f"Bearer {key}"
        if data is not None:
            named.setdefault("content-type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, data, named)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def chat(self, model: str, text: str = "hi", **more: object) -> Answer:
        body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
        return self.ask("POST", "/v1/chat/completions", body)

    def message(self, model: str, text: str = "hi", **more: object) -> Answer:
        body = {"model": model, "max_tokens": 100, "messages": [{"role": "user", "content": text}], **more}
        return self.ask("POST", "/v1/messages", body)

    def account(self, answer: Answer) -> dict:
        """The ledger's entry of an answered call, settled."""
        return self.account_of(answer.headers["x-request-id"])

    def account_of(self, id: str) -> dict:
        for _ in range(200):
            entry = self.ask("GET", f"/v1/calls/{id}").json
            if entry.get("state") not in (None, "intent"):
                return entry
            threading.Event().wait(0.02)
        return entry


def provider(url: str, dialect: str = "openai_chat", **more: object) -> dict:
    """A row of the configuration for a scripted provider."""
    base = url + ("/v1" if dialect == "openai_chat" else "")
    return {"dialect": dialect, "base_url": base, "api_key": "provider-secret-key", **more}
