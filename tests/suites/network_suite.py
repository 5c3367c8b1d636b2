"""What every engine of the Network port must do, told once. Both engines run each of `BEHAVIOURS`
in a world of their own.

A world makes peers: `join(name)` gives the network of the peer called so, which has that name's
key; all know each other through the first that joined.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import pytest

from epochgate.core.types import PeerId
from epochgate.ports import Network, Unreachable
from tests.support.identities import key_of

LIMIT = 1 << 18
"""Bytes of the longest message in these worlds."""
LONG_SECONDS = 20.0
SHORT_SECONDS = 0.3


class NetworkFactory(Protocol):
    async def join(self, name: str) -> Network: ...


async def greet(sender: PeerId, message: bytes) -> bytes:
    return b"hello " + sender + b", you said " + message


async def join_two(factory: NetworkFactory) -> tuple[Network, Network]:
    """Alice, who asks, and bob, who greets."""
    alice = await factory.join("alice")
    bob = await factory.join("bob")
    await bob.serve(greet)
    return alice, bob


async def a_reply_comes_back_and_the_sender_is_authenticated(factory: NetworkFactory) -> None:
    alice, bob = await join_two(factory)
    reply = await alice.request(bob.peer_id, b"good morning", LONG_SECONDS)
    assert reply == b"hello " + key_of("alice").author + b", you said good morning"
    assert (alice.peer_id, bob.peer_id) == (key_of("alice").author, key_of("bob").author)


async def an_unknown_peer_is_unreachable(factory: NetworkFactory) -> None:
    alice, _ = await join_two(factory)
    with pytest.raises(Unreachable):
        await alice.request(key_of("nobody").author, b"are you there?", LONG_SECONDS)


async def what_is_no_peer_id_is_unreachable(factory: NetworkFactory) -> None:
    alice, _ = await join_two(factory)
    for name in (b"", b"bob", b"\0" * 38):
        with pytest.raises(Unreachable):
            await alice.request(PeerId(name), b"are you there?", LONG_SECONDS)


async def a_peer_that_does_not_serve_is_unreachable(factory: NetworkFactory) -> None:
    alice, bob = await join_two(factory)
    with pytest.raises(Unreachable):
        await bob.request(alice.peer_id, b"are you there?", LONG_SECONDS)


async def a_handler_that_never_ends_costs_the_caller_its_timeout_and_no_more(
    factory: NetworkFactory,
) -> None:
    alice = await factory.join("alice")
    bob = await factory.join("bob")
    given_up = asyncio.Event()

    async def brood(_sender: bytes, _message: bytes) -> bytes:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            given_up.set()
        return b""

    await bob.serve(brood)
    with pytest.raises(Unreachable):
        await alice.request(bob.peer_id, b"?", SHORT_SECONDS)
    await asyncio.wait_for(given_up.wait(), LONG_SECONDS)


async def a_handler_that_raises_answers_nothing_and_lives_on(factory: NetworkFactory) -> None:
    alice = await factory.join("alice")
    bob = await factory.join("bob")

    async def stumble(sender: PeerId, message: bytes) -> bytes:
        if message == b"stumble":
            raise ValueError("bob stumbles")
        return await greet(sender, message)

    await bob.serve(stumble)
    assert await alice.request(bob.peer_id, b"stumble", LONG_SECONDS) == b""
    assert (await alice.request(bob.peer_id, b"up again", LONG_SECONDS)).endswith(b"up again")


async def messages_up_to_the_limit_pass_whole(factory: NetworkFactory) -> None:
    alice = await factory.join("alice")
    bob = await factory.join("bob")
    assert alice.max_message_bytes == LIMIT
    largest = bytes(range(256)) * (LIMIT // 256)

    async def reverse(_sender: bytes, message: bytes) -> bytes:
        return message[::-1]

    await bob.serve(reverse)
    for message in (b"", b"\0", largest):
        assert await alice.request(bob.peer_id, message, LONG_SECONDS) == message[::-1]


async def a_longer_request_is_the_callers_error(factory: NetworkFactory) -> None:
    alice, bob = await join_two(factory)
    for peer in (bob.peer_id, alice.peer_id):
        with pytest.raises(ValueError, match=f"{LIMIT} bytes.*chunk"):
            await alice.request(peer, b"x" * (LIMIT + 1), LONG_SECONDS)


async def a_longer_reply_is_answered_as_nothing(factory: NetworkFactory) -> None:
    alice = await factory.join("alice")
    bob = await factory.join("bob")

    async def ramble(_sender: bytes, _message: bytes) -> bytes:
        return b"x" * (LIMIT + 1)

    await bob.serve(ramble)
    assert await alice.request(bob.peer_id, b"?", LONG_SECONDS) == b""


async def many_requests_at_once_each_get_their_own_reply(factory: NetworkFactory) -> None:
    alice, bob = await join_two(factory)
    replies = await asyncio.gather(
        *(alice.request(bob.peer_id, b"%d" % i, LONG_SECONDS) for i in range(200))
    )
    assert [reply.rpartition(b" ")[2] for reply in replies] == [b"%d" % i for i in range(200)]


async def callers_that_give_up_disturb_nobody(factory: NetworkFactory) -> None:
    alice, bob = await join_two(factory)
    waits = [i * 0.00002 for i in range(1, 301)]
    for seconds in (
        waits
    ):  # one after the other, so that some give up at the very moment when their reply arrives
        try:
            await alice.request(bob.peer_id, b"quick!", seconds)
        except Unreachable:
            continue
    reply = await alice.request(bob.peer_id, b"take your time", LONG_SECONDS)
    assert reply.endswith(b"take your time")


async def a_node_asks_itself(factory: NetworkFactory) -> None:
    alice = await factory.join("alice")
    with pytest.raises(Unreachable):
        await alice.request(alice.peer_id, b"me", LONG_SECONDS)
    await alice.serve(greet)
    assert (await alice.request(alice.peer_id, b"me", LONG_SECONDS)).startswith(
        b"hello " + alice.peer_id
    )


async def who_has_left_neither_asks_nor_answers(factory: NetworkFactory) -> None:
    alice, bob = await join_two(factory)
    await bob.close()
    await bob.close()
    with pytest.raises(Unreachable):
        await alice.request(bob.peer_id, b"still there?", LONG_SECONDS)
    with pytest.raises(Unreachable):
        await bob.request(alice.peer_id, b"let me in", LONG_SECONDS)


async def who_comes_back_is_reached_by_the_same_name(factory: NetworkFactory) -> None:
    alice, bob = await join_two(factory)
    await bob.close()
    with pytest.raises(Unreachable):
        await alice.request(bob.peer_id, b"still there?", LONG_SECONDS)
    bob_again = await factory.join("bob")
    await bob_again.serve(greet)
    assert (await alice.request(key_of("bob").author, b"welcome back", LONG_SECONDS)).endswith(
        b"welcome back"
    )
    await alice.serve(greet)
    assert (await bob_again.request(alice.peer_id, b"thanks", LONG_SECONDS)).endswith(b"thanks")


async def five_who_know_only_the_first_reach_each_other_by_id(factory: NetworkFactory) -> None:
    networks = [await factory.join(name) for name in ("alice", "bob", "carol", "dave", "erin")]
    for network in networks:
        await network.serve(greet)
    pairs = [(asker, asked) for asker in networks for asked in networks]
    replies = await asyncio.gather(
        *(asker.request(asked.peer_id, b"hi", LONG_SECONDS) for asker, asked in pairs)
    )
    assert replies == [b"hello " + asker.peer_id + b", you said hi" for asker, _ in pairs]


Behaviour = Callable[[NetworkFactory], Awaitable[None]]

BEHAVIOURS: list[Behaviour] = [
    a_reply_comes_back_and_the_sender_is_authenticated,
    an_unknown_peer_is_unreachable,
    what_is_no_peer_id_is_unreachable,
    a_peer_that_does_not_serve_is_unreachable,
    a_handler_that_never_ends_costs_the_caller_its_timeout_and_no_more,
    a_handler_that_raises_answers_nothing_and_lives_on,
    messages_up_to_the_limit_pass_whole,
    a_longer_request_is_the_callers_error,
    a_longer_reply_is_answered_as_nothing,
    many_requests_at_once_each_get_their_own_reply,
    callers_that_give_up_disturb_nobody,
    a_node_asks_itself,
    who_has_left_neither_asks_nor_answers,
    who_comes_back_is_reached_by_the_same_name,
    five_who_know_only_the_first_reach_each_other_by_id,
]
every_behaviour = pytest.mark.parametrize(
    "behaviour", BEHAVIOURS, ids=lambda behaviour: behaviour.__name__
)
