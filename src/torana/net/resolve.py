"""Host name to connected socket: cached look-ups and happy eyeballs. Knows no TLS and no HTTP.

https://www.rfc-editor.org/rfc/rfc8305: families take turns, and the next address is tried when one has not
answered within 250 ms. An address that won is tried first next time, so one dead address of two costs one delay.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable

from msgspec import Struct

from torana.errors import UpstreamUnreachable
from torana.net.origin import Origin

ATTEMPT_DELAY_S = 0.25  # RFC 8305, section 5
HOSTS_MAX = 1_000  # names come from the configuration; this only bounds a mistake

Target = tuple[int, tuple[object, ...]]  # address family and socket address
Found = list[tuple[int, int, int, str, tuple[object, ...]]]  # what getaddrinfo returns
Lookup = Callable[[str, int], Awaitable[Found]]


class Patience(Struct, frozen=True):
    """How long an answer of the name server may take, and how long it counts."""

    lookup_s: float = 2.0  # a stub resolver tries for 5 s, which is all the time a connection has
    fresh_s: float = 30.0  # a provider that moves is followed within this time
    stale_s: float = 60.0  # an answer this old is better than none while the name server fails


class Resolver:
    """Addresses of hosts, remembered. One look-up per host at a time, however many wait for it."""

    __slots__ = ("_known", "_look_up", "_patience", "_running")

    def __init__(self, look_up: Lookup | None = None, patience: Patience | None = None) -> None:
        """`look_up`: the system's getaddrinfo, in a thread of the loop's, unless given."""
        self._look_up = look_up or _getaddrinfo
        self._patience = patience or Patience()
        self._known: dict[tuple[str, int], tuple[float, list[Target]]] = {}
        self._running: dict[tuple[str, int], asyncio.Task[list[Target]]] = {}

    async def resolve(self, origin: Origin) -> list[Target]:
        """Socket addresses in the order to try. Raises UpstreamUnreachable."""
        key, patience = (origin.host, origin.port), self._patience
        now = asyncio.get_running_loop().time()
        since, targets = self._known.get(key, (float("-inf"), []))
        if now - since < patience.fresh_s:
            return targets
        try:
            # Shielded: a caller that leaves does not take the answer from the others that wait for it.
            async with asyncio.timeout(patience.lookup_s):
                return await asyncio.shield(self._lookup(key))
        except (OSError, UnicodeError) as error:  # the latter of a label too long for IDNA
            if now - since < patience.stale_s:
                return targets
            why = f"no answer within {patience.lookup_s:g} s"
            if not isinstance(error, TimeoutError):
                why = _reason(error)
            raise UpstreamUnreachable(f"the name {origin.host} cannot be looked up: {why}") from None

    def prefer(self, origin: Origin, target: Target) -> None:
        """`target` answered: try it first next time."""
        known = self._known.get((origin.host, origin.port))
        if known is not None and target in known[1]:
            known[1].remove(target)
            known[1].insert(0, target)

    def forget(self, origin: Origin) -> None:
        """None of the addresses answered: ask again next time, and keep these only in case nobody answers then."""
        known = self._known.get((origin.host, origin.port))
        if known is not None:
            self._known[origin.host, origin.port] = known[0] - self._patience.fresh_s, known[1]

    def close(self) -> None:
        for task in self._running.values():
            task.cancel()

    def _lookup(self, key: tuple[str, int]) -> asyncio.Task[list[Target]]:
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._ask(key))
            task.add_done_callback(lambda done: self._settle(key, done))
        return task

    async def _ask(self, key: tuple[str, int]) -> list[Target]:
        found = await self._look_up(*key)
        targets = alternate([(int(family), address) for family, _, _, _, address in found])
        if not targets:
            raise OSError(None, "it has no address")
        if len(self._known) >= HOSTS_MAX:
            self._known.clear()
        self._known[key] = asyncio.get_running_loop().time(), targets
        return targets

    def _settle(self, key: tuple[str, int], done: asyncio.Task[list[Target]]) -> None:
        del self._running[key]
        if not done.cancelled():
            done.exception()  # whoever still waited has it; nobody is warned of it twice


async def _getaddrinfo(host: str, port: int) -> Found:
    loop = asyncio.get_running_loop()
    return [*await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _reason(error: OSError | UnicodeError) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or "it is not a host name"


def alternate(targets: list[Target]) -> list[Target]:
    """Families in turns, beginning with the system's first choice; within a family the system's order."""
    unique = list(dict.fromkeys(targets))
    first = [target for target in unique if target[0] == unique[0][0]]
    other = [target for target in unique if target[0] != unique[0][0]]
    mixed: list[Target] = []
    for place in range(max(len(first), len(other))):
        mixed += first[place : place + 1] + other[place : place + 1]
    return mixed


async def connect(targets: list[Target]) -> tuple[socket.socket, Target]:
    """The first socket that connects. Raises the OSError of the last address when none does."""
    if len(targets) == 1:
        return await _attempt(targets[0]), targets[0]
    attempts: dict[asyncio.Task[socket.socket], Target] = {}
    waiting, winner = list(targets), None
    try:
        while True:
            if waiting:
                target = waiting.pop(0)
                attempts[asyncio.create_task(_attempt(target))] = target
            running = [task for task in attempts if not task.done()]
            if running:
                delay_s = ATTEMPT_DELAY_S if waiting else None
                await asyncio.wait(running, timeout=delay_s, return_when=asyncio.FIRST_COMPLETED)
            for task, target in attempts.items():
                if task.done() and task.exception() is None:
                    winner = task
                    return task.result(), target
            if not waiting and all(task.done() for task in attempts):
                raise next(error for task in reversed(attempts) if (error := task.exception()) is not None)
    finally:
        for task in attempts:
            if task is not winner:
                task.cancel()
                task.add_done_callback(_discard)


def _discard(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _attempt(target: Target) -> socket.socket:
    family, address = target
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock
