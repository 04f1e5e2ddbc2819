"""The one place where the parts are put together: configuration, store, ledger, both HTTP ends, gateway, control.

Everything that lives longer than a call is made, owned and closed here.
"""

import asyncio
import logging
import os
import signal
import ssl
import time
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from torana import config as settings
from torana.config import Config
from torana.control import files
from torana.errors import ConfigError, Error, StoreError
from torana.gateway import Front, Gateway, Reach, refuse
from torana.gateway.life import Parts
from torana.ledger import Ledger
from torana.net import Exchange
from torana.net.client import Client
from torana.net.origin import parse_origin, render_head
from torana.net.proxies import Proxies
from torana.net.server import Server
from torana.policy import Live
from torana.policy.keys import KeyGate
from torana.providers import auth, discover, echo
from torana.records import Key, Model, Provider, Snapshot, Timeouts
from torana.store import Store, open_store
from torana.telemetry.metrics import Counters, Scrape

log = logging.getLogger("torana.app")

DISCOVER_S = 60.0  # a local server's models change when a person loads one
LIST_S = 10.0  # a server's own list of models; nobody waits for it
LIST_BYTES_MAX = 8 * 1024 * 1024  # OpenRouter's, the longest known, has about 1 MB
ECHO = echo.PROVIDER.name


class ServeOptions(Struct, frozen=True):
    """What the command line may override."""

    config: Path | None = None
    host: str = ""
    port: int = -1


class Ready(Struct, frozen=True):
    """What a person wants to know once calls can come."""

    address: str  # http://127.0.0.1:8080
    providers: tuple[str, ...]
    models: int
    key: files.FirstKey | None
    database: Path | None


class App:
    """A gateway that can be started and stopped, with or without a process of its own."""

    def __init__(self, config: Config, path: Path | None, environ: dict[str, str]) -> None:
        self.config = config
        self._path = path
        self._environ = environ
        self._version = 0
        self._draining = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._drain: asyncio.Task[int] | None = None
        self._change = asyncio.Lock()  # held from reading configuration and keys until they are in force
        self._told: dict[tuple[str, str], dict[str, Model]] = {}
        # (provider, address) -> the models that the server there lists, by id

    # ---------------------------------------------------------------- life

    async def start(self) -> Ready:
        """Open everything and listen. Raises ConfigError or StoreError before anything listens."""
        config = self.config
        self._store = await open_store(config.store.url, durability=config.store.durability)
        self.ledger = Ledger(self._store.entries)
        try:
            return await self._start(self._store)
        except BaseException:
            await self.ledger.close()
            await self._store.close()
            raise

    async def _start(self, store: Store) -> Ready:
        config, folder = self.config, settings.folder(self.config.store)
        stored = await store.keys.all()
        settings.guard(config.server.host, settings.keys(config, stored))
        first = files.first_key(folder, settings.keys(config, stored), _now_us())
        if first is not None and first.new:
            await store.keys.add(first.key)
            stored = await store.keys.all()
        snapshot = self._stated = self._snapshot(config, stored)
        self.live = Live(snapshot)
        await self.ledger.open()
        self.counters = Counters()
        self._client = Client(proxies=Proxies.from_env(self._environ))
        self.server = Server(self._front(), config.server.limits, _refuse)
        await self._listen(config)
        address = self._address()
        self._token = files.announce(folder, address, config.server.tls.cert if config.server.tls else "")
        self.own(self._discover())
        if self._path is not None:
            seen = settings.sight(self._path)
            self.own(settings.watch(self._path, self.reload, seen=seen))
        names = tuple(name for name in snapshot.providers if name != ECHO)
        models = sum([len(snapshot.models.get(name, {})) for name in names])
        return Ready(address, names, models, first, settings.database(config.store))

    async def _listen(self, config: Config) -> None:
        server = config.server
        try:
            await self.server.start(server.host, server.port, ssl=_tls(config))
        except OSError as error:
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
            raise ConfigError(
                f"cannot listen on {server.host} port {server.port}: {why}. Stop whoever does, or take another "
                "with --host and --port or under `server:`"
            ) from None

    async def stop(self, *, grace_s: float | None = None, drain_s: float | None = None) -> int:
        """Let live calls end, then close everything; returns how many calls had to be broken off."""
        server = self.config.server
        self._draining = True
        drain_s = server.drain_s if drain_s is None else drain_s
        grace_s = server.grace_s if grace_s is None else grace_s
        self._drain = asyncio.create_task(self.server.drain(drain_s, grace_s))
        await asyncio.wait([self._drain])
        left = self.server.active if self._drain.cancelled() else self._drain.result()
        await self.server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._client.close()
        await self.ledger.close()
        await self._store.close()
        files.withdraw(settings.folder(self.config.store))
        return left

    def hurry(self) -> None:
        """While stopping: wait for no call any longer."""
        if self._drain is not None:
            self._drain.cancel()

    def own(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it until it ends or the gateway stops."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _address(self) -> str:
        server = self.config.server
        scheme = "https" if server.tls else "http"
        host = f"[{server.host}]" if ":" in server.host else server.host
        return f"{scheme}://{host}:{self.server.port}"

    # ---------------------------------------------------------------- the parts

    def _front(self) -> Front:
        gateway = Gateway(
            parts := Parts(
                live=self.live,
                reach=Reach(self._client, {ECHO: echo.Echo()}),
                ledger=self.ledger,
                counters=self.counters,
                gates=[KeyGate()],
                clock=time.monotonic,
                now=_now_us,
                strict=self.config.store.durability == "strict",
            )
        )
        return Front(
            gateway,
            parts,
            admin=self._admin,
            metrics=Scrape(self.counters, self._gauges).render,
            unready=self._unready,
            public_models=self.config.server.public_models,
            public_metrics=self.config.server.public_metrics,
        )

    async def _admin(self, exchange: Exchange) -> None:
        """The control plane is loaded when it is first asked for: most processes never are."""
        if self._control is None:
            self._control = await asyncio.to_thread(self._load_control)
        await self._control(exchange)

    _control: Callable[[Exchange], Any] | None = None  # awaited with an exchange

    def _load_control(self) -> Callable[[Exchange], Any]:
        from torana import control
        from torana.net.asgi import AsgiHost

        keys = control.Keys(self._store.keys, _now_us, self._configured, self.publish)
        application: Any = control.build(keys, self._token)  # Starlette's types of ASGI are wider than ours
        return AsgiHost(application)

    def _configured(self) -> Iterable[Key]:
        return settings.keys(self.config, ())

    def _unready(self) -> str:
        if self._draining:
            return "shutting down"
        if self.ledger.full:
            return "the ledger cannot take more entries"
        return self.ledger.failing

    def _gauges(self) -> Iterable[tuple[str, str, float]]:
        yield "torana_connections", "Connections of callers", self.server.connections
        yield "torana_calls_active", "Calls under way", self.counters.active
        yield "torana_upstream_connections", "Connections to providers", self._client.open
        yield "torana_upstream_connections_idle", "Of these, idle", self._client.idle
        yield "torana_ledger_waiting", "Entries not yet in the database", self.ledger.depth
        yield "torana_ledger_failing", "1 while the database cannot be written", bool(self.ledger.failing)

    # ---------------------------------------------------------------- the configuration in force

    def _snapshot(self, config: Config, stored: Iterable[Key]) -> Snapshot:
        self._version += 1
        found = settings.snapshot(config, self._environ, stored, self._version)
        return replace(
            found,
            providers={**found.providers, ECHO: echo.PROVIDER},
            models={**found.models, ECHO: {echo.MODEL.id: echo.MODEL}},
        )

    async def publish(self) -> None:
        """Put the stored keys in force."""
        async with self._change:
            stored = await self._store.keys.all()
            self._swap(self._snapshot(self.config, stored))

    async def reload(self) -> None:
        """Put the file's new contents in force, whole or not at all. Raises ConfigError and changes nothing."""
        async with self._change:
            await self._reload()

    async def _reload(self) -> None:
        config = settings.load(self._path, self._environ)
        stored = await self._store.keys.all()
        settings.guard(self.config.server.host, settings.keys(config, stored))
        snapshot = self._snapshot(config, stored)
        if (config.server, config.store) != (self.config.server, self.config.store):
            log.warning("changes of server and store take effect at the next start")
        self.config = replace(config, server=self.config.server, store=self.config.store)
        self._swap(snapshot)
        log.info("the configuration was loaded anew: %d providers", len(snapshot.providers) - 1)

    def _swap(self, stated: Snapshot) -> None:
        """Put in force what was stated, with what servers told of their models last."""
        self._stated = stated
        models = {
            name: self._told.get((name, provider.base_url), {}) | stated.models.get(name, {})
            for name, provider in stated.providers.items()
        }
        self.live.snapshot = replace(stated, models=models)

    async def _discover(self) -> None:
        """Ask the servers that have live lists what they serve, now and every minute."""
        while True:
            asked = [row for row in self._stated.providers.values() if row.discover and row.name != ECHO]
            for provider in asked:
                try:
                    await self._learn(provider)
                except Error as error:
                    log.debug("%s does not list its models: %s", provider.name, error)
                except Exception:
                    log.exception("the models of %s cannot be read: a bug of ours", provider.name)
            await asyncio.sleep(DISCOVER_S)

    async def _learn(self, provider: Provider) -> None:
        told = {row.id: row for row in await discover.discover(provider, self._fetch)}
        place = provider.name, provider.base_url
        if told != self._told.get(place):
            self._told[place] = told
            self._swap(self._stated)

    async def _fetch(self, provider: Provider, path: str) -> tuple[int, bytes]:
        """GET base_url + path."""
        origin, prefix = parse_origin(provider.base_url)
        headers = [*provider.headers.items(), *auth.credential_headers(provider)]
        head = render_head("GET", origin, prefix + path, headers)
        reply = await self._client.send(origin, head, b"", Timeouts(total_s=LIST_S), stream=False)
        try:
            return reply.status, await reply.read(LIST_BYTES_MAX)
        finally:
            reply.close()


# ---------------------------------------------------------------- a process


def run(options: ServeOptions, ready: Callable[[Ready], None]) -> int:
    """Serve until SIGTERM or SIGINT; returns the process's exit code. Raises ConfigError and StoreError."""
    import uvloop

    config = settings.load(options.config, os.environ)
    server = config.server
    server = replace(
        server, host=options.host or server.host, port=server.port if options.port < 0 else options.port
    )
    app = App(replace(config, server=server), options.config, dict(os.environ))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(app, ready))


async def _serve(app: App, ready: Callable[[Ready], None]) -> int:
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    ready(await app.start())
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: app.own(_reload(app)))
    await asked.wait()
    log.info("shutting down: waiting for %d calls", app.counters.active)
    for number in (signal.SIGTERM, signal.SIGINT):  # asked again: do not wait
        loop.add_signal_handler(number, app.hurry)
    broken = await app.stop()
    if broken:
        log.warning("%d calls were broken off", broken)
    return 0


async def _reload(app: App) -> None:
    try:
        await app.reload()
    except (ConfigError, StoreError) as error:
        log.error("the configuration in force stays: %s", error)  # noqa: TRY400 - a sentence, not a trace


def _refuse(error: Error, path: str) -> Any:  # headers and body
    headers, _, body = refuse(error, path, {})
    return headers, body


def _tls(config: Config) -> ssl.SSLContext | None:
    if config.server.tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(config.server.tls.cert, config.server.tls.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"the certificate or key of server.tls cannot be used: {error}") from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _now_us() -> int:
    return time.time_ns() // 1000
