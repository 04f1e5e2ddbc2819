"""Names and addresses: T12, with the system's look-up replaced by one that answers as told."""

import asyncio
import socket

import pytest

from torana.errors import UpstreamUnreachable
from torana.net.client import Origin
from torana.net.resolve import Patience, Resolver, alternate, connect
from upstream_raw import failure, run, until

HERE = Origin("https", "api.example.com", 443)
V4, V6 = int(socket.AF_INET), int(socket.AF_INET6)


class Names:
    """A name server: `says` is a list of addresses, an error, or None for one that never answers."""

    def __init__(self, says) -> None:
        self.says = says
        self.asked = 0

    async def __call__(self, host, port):
        self.asked += 1
        await asyncio.sleep(0)
        if self.says is None:
            await asyncio.sleep(3_600)
        if isinstance(self.says, Exception):
            raise self.says
        return [(V6 if ":" in each else V4, 1, 6, "", (each, port)) for each in self.says]


def test_an_answer_is_remembered_and_asked_for_once():
    async def test():
        names = Names(["10.0.0.1"])
        resolver = Resolver(names)
        answers = await asyncio.gather(*[resolver.resolve(HERE) for _ in range(50)])
        assert answers == [[(V4, ("10.0.0.1", 443))]] * 50
        await resolver.resolve(HERE)
        assert names.asked == 1

    run(test())


def test_an_address_that_moved_is_followed_once_the_answer_is_old():
    async def test():
        names = Names(["10.0.0.1"])
        resolver = Resolver(names, Patience(fresh_s=0.0, stale_s=0.0))
        await resolver.resolve(HERE)
        names.says = ["10.0.0.2"]
        assert await resolver.resolve(HERE) == [(V4, ("10.0.0.2", 443))]

    run(test())


@pytest.mark.parametrize("says", [socket.gaierror(-3, "Temporary failure in name resolution"), None])
def test_an_old_answer_serves_while_the_name_server_fails(says):
    async def test():
        names = Names(["10.0.0.1"])
        resolver = Resolver(names, Patience(lookup_s=0.05, fresh_s=0.0, stale_s=60.0))
        before = await resolver.resolve(HERE)
        names.says = says
        assert await resolver.resolve(HERE) == before
        resolver.close()

    run(test())


@pytest.mark.parametrize("says", [socket.gaierror(-2, "Name or service not known"), None])
def test_without_an_answer_the_name_is_unreachable(says):
    async def test():
        resolver = Resolver(Names(says), Patience(lookup_s=0.05))
        error = await failure(resolver.resolve(HERE))
        assert type(error) is UpstreamUnreachable
        assert "api.example.com" in str(error)
        assert ("not known" if says else "0.05 s") in str(error)
        resolver.close()

    run(test())


def test_a_name_without_addresses_is_unreachable():
    async def test():
        error = await failure(Resolver(Names([])).resolve(HERE))
        assert type(error) is UpstreamUnreachable
        assert "no address" in str(error)

    run(test())


def test_an_answer_too_old_does_not_serve():
    async def test():
        names = Names(["10.0.0.1"])
        resolver = Resolver(names, Patience(fresh_s=0.0, stale_s=0.0))
        await resolver.resolve(HERE)
        names.says = socket.gaierror(-3, "Temporary failure")
        assert type(await failure(resolver.resolve(HERE))) is UpstreamUnreachable

    run(test())


def test_addresses_that_did_not_answer_are_asked_for_again():
    async def test():
        names = Names(["10.0.0.1"])
        resolver = Resolver(names)
        await resolver.resolve(HERE)
        resolver.forget(HERE)
        names.says = ["10.0.0.2"]
        assert await resolver.resolve(HERE) == [(V4, ("10.0.0.2", 443))]

    run(test())


def test_one_caller_that_leaves_does_not_take_the_answer_from_the_others():
    async def test():
        resolver = Resolver(Names(["10.0.0.1"]))
        first = asyncio.create_task(resolver.resolve(HERE))
        second = asyncio.create_task(resolver.resolve(HERE))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == [(V4, ("10.0.0.1", 443))]
        assert first.cancelled()

    run(test())


def test_a_name_that_is_too_long_is_unreachable():
    async def test():
        error = await failure(Resolver().resolve(Origin("http", "a" * 70 + ".invalid", 80)))
        assert type(error) is UpstreamUnreachable

    run(test())


def test_families_take_turns():
    targets = [(V6, ("::1", 1)), (V6, ("::2", 1)), (V6, ("::2", 1)), (V4, ("1.1.1.1", 1)), (V6, ("::3", 1))]
    assert alternate(targets) == [
        (V6, ("::1", 1)),
        (V4, ("1.1.1.1", 1)),
        (V6, ("::2", 1)),
        (V6, ("::3", 1)),
    ]
    assert alternate([]) == []


def _refused():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return V4, server.getsockname()


def test_the_address_that_answers_is_used_and_tried_first_next_time():
    async def test():
        dead = _refused()
        with socket.create_server(("127.0.0.1", 0)) as server:
            live = V4, server.getsockname()
            sock, target = await connect([dead, live])
            assert (sock.getpeername(), target) == (live[1], live)
            sock.close()
        resolver = Resolver(Names(["10.0.0.1", "10.0.0.2"]))
        await resolver.resolve(HERE)
        resolver.prefer(HERE, (V4, ("10.0.0.2", 443)))
        assert [address[0] for _, address in await resolver.resolve(HERE)] == ["10.0.0.2", "10.0.0.1"]

    run(test())


def test_an_address_that_does_not_answer_holds_nobody_up():
    """Happy eyeballs: a full queue drops the SYN, and the second address is tried meanwhile."""

    async def test():
        tasks = len(asyncio.all_tasks())
        with socket.create_server(("127.0.0.1", 0), backlog=0) as hole:
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(hole.getsockname())
            with socket.create_server(("127.0.0.1", 0)) as server:
                targets = [(V4, hole.getsockname()), (V4, server.getsockname())]
                sock, _ = await connect(targets)
                assert sock.getpeername() == server.getsockname()
                sock.close()
            for filler in fillers:
                filler.close()
        await until(lambda: len(asyncio.all_tasks()) == tasks)

    run(test())


def test_no_address_that_answers_is_an_error_and_nothing_is_left_open():
    async def test():
        with pytest.raises(OSError):
            await connect([_refused(), _refused(), _refused()])
        with pytest.raises(OSError):
            await connect([_refused()])

    run(test())


def test_the_system_s_own_look_up_does_not_stop_the_loop():
    async def test():
        found = await Resolver().resolve(Origin("http", "localhost", 80))
        assert {address[0] for _, address in found} <= {"127.0.0.1", "::1"}
        assert found != []

    run(test())
