"""Nodes that send what they should not: under others' names, too much of it, or bytes made to break
who reads them.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Iterator
from contextlib import suppress

from epochgate.adversaries.adversary import Adversary, get_replicas, post_once, sign
from epochgate.core.record import SIGNATURE_BYTES, Record
from epochgate.core.roster import HOSTER
from epochgate.core.types import PeerId, RecordKey
from epochgate.node import duties
from epochgate.node.context import DutyHandler, NodeContext
from epochgate.node.duties import Duty
from epochgate.node.runner import Node
from epochgate.ports import Network, Unreachable
from epochgate.store.wire import List, Post, Request, encode

FLOOD_AT_ONCE = 400
"""Requests in a round; rounds follow each other as fast as they are answered."""
MOST_REQUESTS = 2_000
"""In one duty: more than a replica grants one sender at once, its own share and all that is spare
(1,400).
"""
POISON_TIMEOUT_SECONDS = 1.0

PICKLE = (
    b"\x80\x04\x95\x1d\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94"
    b"\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94."
)
"""What `pickle.loads` would turn into a call of `os.system`."""


def _before(handler: DutyHandler, first: DutyHandler) -> DutyHandler:
    async def do(node: NodeContext, duty: Duty) -> str:
        said = await first(node, duty)
        return f"{said}; {await handler(node, duty)}"

    return do


def _beside(handler: DutyHandler, other: DutyHandler) -> DutyHandler:
    """Do the work, and something else for as long as its window is open."""

    async def do(node: NodeContext, duty: Duty) -> str:
        beside = asyncio.ensure_future(other(node, duty))
        try:
            said = await handler(node, duty)
            return f"{said}; {await beside}"
        finally:
            beside.cancel()

    return do


async def _forge(node: NodeContext, duty: Duty) -> str:
    """In the first block of the window, before anybody honest: a commitment under each other
    hoster's name.
    """
    rule = node.policy.protocol.require_outputs().commit
    key_rule = node.get_key_rule(rule, duty.epoch)
    await node.wait_for_block(key_rule.first)
    expiration_time = (
        node.get_unix_seconds() + key_rule.longest_seconds - 2 * key_rule.block_seconds
    )
    said = []
    for victim in node.schedule.get_context(duty.epoch).roster.hosters:
        if victim != node.author:
            value = node.entropy.get_bytes(SIGNATURE_BYTES + 32)
            forged = Record(key_rule.key, victim, value, expiration_time)
            said.append(await post_once(node, key_rule.replica_set.replicas, forged))
    return f"forged: {'; '.join(said)}"


def _be_a_forger(node: Node) -> None:
    node.handlers[duties.ATTEST] = _before(node.handlers[duties.ATTEST], _forge)


async def _flood(node: NodeContext, duty: Duty) -> str:
    """All it can send to one replica, another one each epoch, until the window closes: posts under
    a key that does not exist, unsigned; heartbeats that say nothing, signed, so that they cost a
    verification; and reads.
    """
    commitments = node.policy.protocol.require_outputs().commit
    others = [
        replica for replica in get_replicas(node, commitments, duty.epoch) if replica != node.author
    ]
    victim = others[duty.epoch % len(others)]
    sent = 0
    rubbish = Record(
        RecordKey(bytes(20)), PeerId(node.author), bytes(512), node.get_unix_seconds() + 60
    )
    heartbeats = next(
        rule for rule in node.policy.rules if rule.by == HOSTER and not rule.is_of_an_epoch
    )
    signed = sign(node, node.get_key_rule(heartbeats, duty.epoch), node.entropy.get_bytes(32))
    key = node.get_key_rule(commitments, duty.epoch).key
    requests: tuple[Request, ...] = (Post(rubbish), Post(signed), List(key))
    while sent < MOST_REQUESTS and node.compute_seconds_until(duty.closes) > node.block_seconds:
        batch = [requests[number % len(requests)] for number in range(FLOOD_AT_ONCE)]
        await asyncio.gather(*(node.store.ask(victim, request) for request in batch))
        sent += len(batch)
    return f"{sent} requests beside it"


def _be_a_flooder(node: Node) -> None:
    for name in (duties.COMMIT_OUTPUT, duties.OPEN_OUTPUT):
        node.handlers[name] = _beside(node.handlers[name], _flood)


def make_frames(valid: PeerId) -> Iterator[bytes]:
    """Malformed messages: empty, cut off, with bits flipped, nested deeply, and claiming to be
    larger than any memory.
    """
    yield b""
    yield PICKLE
    yield valid[: len(valid) // 2]
    for place in range(0, len(valid), max(1, len(valid) // 16)):
        yield valid[:place] + bytes([valid[place] ^ 0x41]) + valid[place + 1 :]
    yield b"\x91" * 100_000
    yield b"\xdd\xff\xff\xff\xff"
    yield b"\x92\xa4post\xdd\xff\xff\xff\xff"
    yield b"\xc6\xff\xff\xff\xff" + bytes(64)


def make_payloads() -> Iterator[bytes]:
    """What a record's author may sign and no schema takes: pickles, NaN, shapes of 10^12 elements,
    nests, cut files.
    """
    yield PICKLE
    yield b"\x81\xa1a" * 500
    for header in (
        b'{"tensor":{"dtype":"F32","shape":[16,64],"data_offsets":[0,4096]}}',
        b'{"tensor":{"dtype":"F32","shape":[1000000,1000000],"data_offsets":[0,4096]}}',
        b'{"tensor":{"dtype":"C64","shape":[8,64],"data_offsets":[0,4096]}}',
    ):
        yield struct.pack("<Q", len(header)) + header + struct.pack("<f", float("nan")) * 1024
    yield struct.pack("<Q", 1 << 62) + b"{}"
    yield b"PK\x03\x04" + bytes(200)


async def _send_frames(network: Network, node: NodeContext, duty: Duty) -> str:
    rule = node.policy.protocol.require_outputs().commit
    key_rule = node.get_key_rule(rule, duty.epoch)
    frames = list(make_frames(PeerId(encode(Post(sign(node, key_rule, bytes(32)))))))[:-1]
    for replica in key_rule.replica_set.replicas:
        if replica != node.author:
            for frame in frames:
                with suppress(Unreachable):
                    await network.request(replica, frame, POISON_TIMEOUT_SECONDS)
    return f"{len(frames)} malformed frames to each replica"


async def _send_payloads(node: NodeContext, duty: Duty) -> str:
    """Properly signed openings that no replica can read, before the real one."""
    rule = node.policy.protocol.require_outputs().reveal
    key_rule = node.get_key_rule(rule, duty.epoch)
    said = [
        await post_once(
            node, key_rule.replica_set.replicas, sign(node, key_rule, bytes(64) + payload)
        )
        for payload in make_payloads()
    ]
    return f"{len(said)} poisoned openings: {', '.join(sorted(set(said)))}"


def _be_a_poisoner(node: Node) -> None:
    """It also answers every other request of others with such bytes."""
    honest = node.replica.handle
    number = itertools.count()
    network = node.network
    frames = list(make_frames(PeerId(encode(List(RecordKey(bytes(20)))))))

    async def answer(sender: PeerId, data: bytes) -> bytes:
        turn = next(number)
        if turn % 2:
            return frames[turn // 2 % len(frames)]
        return await honest(sender, data)

    async def send(node: NodeContext, duty: Duty) -> str:
        return await _send_frames(network, node, duty)

    node.handler = answer
    node.handlers[duties.SEE_CHALLENGE] = _before(node.handlers[duties.SEE_CHALLENGE], send)
    node.handlers[duties.OPEN_OUTPUT] = _before(node.handlers[duties.OPEN_OUTPUT], _send_payloads)


SENDERS = (
    Adversary(
        "forger",
        HOSTER,
        "commits in others' names before them",
        "the sender is the author: nothing",
        _be_a_forger,
    ),
    Adversary(
        "flooder",
        HOSTER,
        "sends what the network carries",
        "its own share, and no one else's",
        _be_a_flooder,
    ),
    Adversary(
        "poisoner",
        HOSTER,
        "sends hostile bytes, asks and answers with them",
        "refused unread",
        _be_a_poisoner,
    ),
)
