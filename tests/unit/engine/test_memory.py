"""The Network port in one process, on virtual time."""

from __future__ import annotations

import asyncio
import random

import pytest

from epochgate.core.types import PeerId
from epochgate.engine.memory import Hub, Links, MemoryNetwork
from epochgate.engine.virtual_time import run_virtually
from epochgate.ports import Network, Unreachable
from tests.suites.network_suite import LIMIT, Behaviour, every_behaviour, greet
from tests.support.identities import alice, bob, carol, key_of


class MemoryWorld:
    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    async def join(self, name: str) -> Network:
        return self.hub.join(key_of(name).author)


@every_behaviour
@pytest.mark.parametrize("latency_seconds", [0.0, 0.004])
def test_memory_engine(behaviour: Behaviour, latency_seconds: float) -> None:
    run_virtually(
        lambda rng: behaviour(MemoryWorld(Hub(rng, latency_seconds, max_message_bytes=LIMIT)))
    )


@every_behaviour
async def test_memory_engine_on_a_real_loop(behaviour: Behaviour) -> None:
    await behaviour(MemoryWorld(Hub(random.Random(1), 0.001, max_message_bytes=LIMIT)))


async def join_three(hub: Hub) -> list[MemoryNetwork]:
    networks = [hub.join(key.author) for key in (alice, bob, carol)]
    for network in networks:
        await network.serve(greet)
    return networks


async def is_reached(asker: Network, asked: Network) -> bool:
    """Whether a reply came; where none does, the asker has waited exactly as long as it was ready
    to.
    """
    began = asyncio.get_running_loop().time()
    try:
        return bool(await asker.request(asked.peer_id, b"hi", 2.0))
    except Unreachable:
        assert asyncio.get_running_loop().time() == began + 2.0
        return False


def test_a_silent_peer_answers_nobody_until_it_speaks_again() -> None:
    async def main(rng: random.Random) -> None:
        hub = Hub(rng)
        a, b, c = await join_three(hub)
        hub.silent.add(b.peer_id)
        assert [await is_reached(a, b), await is_reached(a, c), await is_reached(b, c)] == [
            False,
            True,
            True,
        ]
        hub.silent.clear()
        assert await is_reached(a, b)

    run_virtually(main)


def test_a_cut_parts_peers_in_the_direction_it_names() -> None:
    async def main(rng: random.Random) -> None:
        hub = Hub(rng)
        a, b, c = await join_three(hub)
        heard: list[bytes] = []

        async def listen(sender: PeerId, _message: bytes) -> bytes:
            heard.append(sender)
            return b"heard"

        await b.serve(listen)
        hub.is_cut = lambda sender, receiver: (sender, receiver) == (b.peer_id, a.peer_id)
        assert not await is_reached(a, b)
        assert heard == [a.peer_id], "the request arrived, only the reply did not"
        assert await is_reached(c, b)
        hub.is_cut = lambda sender, receiver: (sender, receiver) == (a.peer_id, b.peer_id)
        assert not await is_reached(a, b)
        assert heard == [a.peer_id, c.peer_id], "the request did not arrive"

    run_virtually(main)


def test_as_many_messages_are_lost_as_the_hub_says() -> None:
    async def main(rng: random.Random) -> int:
        a, b, _ = await join_three(Hub(rng, loss=0.2))
        return sum([await is_reached(a, b) for _ in range(500)])

    assert 270 < run_virtually(main, seed=7) < 370  # 0.8 of requests and 0.8 of replies: 320
    assert run_virtually(main, seed=7) == run_virtually(main, seed=7) != run_virtually(main, seed=8)


def test_latency_moves_the_virtual_clock() -> None:
    async def main(rng: random.Random) -> float:
        a, b, _ = await join_three(Hub(rng, latency_seconds=0.5))
        for _ in range(10):
            assert await is_reached(a, b)
        return asyncio.get_running_loop().time()

    assert 2.5 < run_virtually(main, seed=1) < 7.5


def test_a_peer_that_leaves_while_it_answers_is_not_heard() -> None:
    async def main(rng: random.Random) -> None:
        a, b, _ = await join_three(Hub(rng))

        async def leave(_sender: bytes, _message: bytes) -> bytes:
            await b.close()
            return b"goodbye"

        await b.serve(leave)
        assert not await is_reached(a, b)

    run_virtually(main)


def test_a_request_does_not_reach_a_peer_that_leaves_while_it_is_on_its_way() -> None:
    async def main(rng: random.Random) -> None:
        a, b, _ = await join_three(Hub(rng, latency_seconds=0.5))
        heard: list[bytes] = []

        async def listen(sender: PeerId, _message: bytes) -> bytes:
            heard.append(sender)
            return b"heard"

        await b.serve(listen)
        asking = asyncio.create_task(is_reached(a, b))
        await asyncio.sleep(0)
        await b.close()
        assert not await asking
        assert not heard

    run_virtually(main)


async def test_a_name_is_taken_once_and_a_late_close_does_not_close_its_successor() -> None:
    hub = Hub()
    first = hub.join(alice.author)
    with pytest.raises(ValueError, match="on the network already"):
        hub.join(alice.author)
    await first.close()
    second = hub.join(alice.author)
    b = hub.join(bob.author)
    await second.serve(greet)
    await first.close()
    assert await b.request(alice.author, b"who are you?", 1.0)


def test_a_request_may_arrive_twice_and_is_answered_once() -> None:
    async def main(rng: random.Random) -> None:
        hub = Hub(rng)
        a, b, _ = await join_three(hub)
        heard: list[bytes] = []

        async def listen(_sender: bytes, message: bytes) -> bytes:
            heard.append(message)
            return b"%d" % len(heard)

        await b.serve(listen)
        hub.links = Links(latency_seconds=0.1, duplication=0.25)
        replies = [await a.request(b.peer_id, b"%d" % number, 1.0) for number in range(200)]
        await asyncio.sleep(1.0)
        assert len(replies) == 200
        assert 230 < len(heard) < 270
        assert set(heard) == {b"%d" % number for number in range(200)}

    run_virtually(main)


def test_a_copy_does_not_reach_who_has_left_or_fallen_silent_meanwhile() -> None:
    async def main(rng: random.Random) -> None:
        hub = Hub(rng)
        a, b, c = await join_three(hub)
        heard: list[bytes] = []

        async def hear_and_leave(_sender: bytes, _message: bytes) -> bytes:
            heard.append(b.peer_id)
            await b.close()
            return b"goodbye"

        async def hear_and_fall_silent(_sender: bytes, _message: bytes) -> bytes:
            heard.append(c.peer_id)
            hub.silent.add(c.peer_id)
            return b"heard"

        await b.serve(hear_and_leave)
        await c.serve(hear_and_fall_silent)
        hub.links = Links(latency_seconds=0.5, duplication=1.0)
        assert not await is_reached(a, b)
        assert await is_reached(a, c)
        await asyncio.sleep(5.0)
        assert heard == [b.peer_id, c.peer_id]

    run_virtually(main)


def test_what_is_held_back_is_overtaken() -> None:
    async def main(rng: random.Random) -> list[int]:
        hub = Hub(rng)
        a, b, _ = await join_three(hub)
        heard: list[int] = []

        async def listen(_sender: bytes, message: bytes) -> bytes:
            heard.append(int(message))
            return b"heard"

        await b.serve(listen)
        hub.links = Links(held_back=0.2, held_back_seconds=1.0)
        await asyncio.gather(*(a.request(b.peer_id, b"%d" % number, 5.0) for number in range(50)))
        return heard

    heard = run_virtually(main, seed=1)
    assert heard != list(range(50)) == sorted(heard)
    assert heard == run_virtually(main, seed=1) != run_virtually(main, seed=2)
