"""The Chain port on Hypertensor, over a chain in memory, and opening one that is not there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from epochgate.chain.hypertensor.account import Account
from epochgate.chain.hypertensor.chain import HypertensorChain
from epochgate.chain.hypertensor.clock import HeadClock
from epochgate.chain.hypertensor.rpc import ChainUnreachable, RpcError
from epochgate.core.epoch import Timing
from epochgate.core.policy_lint import check_policy
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.types import BlockNumber, Epoch, Hash32, NetworkId
from epochgate.engine.system import SystemClock
from epochgate.keys import SigningKey, format_peer_id
from epochgate.observe.events import AnyEvent, Emit, NodeWarning
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.ports import ChainRefused, Submission
from tests.support.head_server import HeadServer
from tests.support.hypertensor_runtime import MemoryRuntime
from tests.support.hypertensor_values import ALITH, make_raw_node
from tests.support.identities import alice, bob, dave, victor

EPOCH = Epoch(1)
FIRST = BlockNumber(20)
SUBMISSION = Submission(EPOCH, {alice.author: 1, bob.author: 2}, (b"\x07",), Hash32(b"r" * 32))


@pytest.fixture
def runtime() -> MemoryRuntime:
    runtime = MemoryRuntime()
    runtime.head = FIRST
    runtime.nodes = [
        make_raw_node(1, format_peer_id(alice.author), text="hoster"),
        make_raw_node(2, format_peer_id(bob.author), text="hoster"),
        make_raw_node(3, format_peer_id(victor.author), text="validator"),
    ]
    runtime.elected = {EPOCH: 3}
    return runtime


def see(
    runtime: MemoryRuntime,
    key: SigningKey | None,
    slot: BlockNumber | None = BlockNumber(0),
    emit: Emit | None = None,
) -> HypertensorChain:
    """The chain as that node sees it; one that only looks has no hotkey."""
    account = None
    author = None
    if key is not None:
        account = Account(ALITH)
        author = key.author
    return HypertensorChain(
        runtime,
        7,
        network_id=NetworkId(bytes(32)),
        timing=Timing(slot, runtime.blocks_per_epoch, 0.001),
        heads=HeadClock(SystemClock(), runtime.head),
        author=author,
        account=account,
        role_field="non_unique",
        emit=emit,
    )


def test_the_default_policy_fits_the_live_epoch_of_20_blocks() -> None:
    check_policy(INFERENCE_POLICY, Timing(BlockNumber(3), 20, 6.0), roster_size=64)


async def test_a_chain_that_is_not_there_is_told_in_words() -> None:
    server = HeadServer()
    async with server.serve():
        pass
    with pytest.raises(
        ChainUnreachable, match=r"does not answer .*: look whether the chain node runs"
    ):
        await HypertensorChain.open(server.url, 1, SystemClock())


async def test_the_roster_comes_from_the_registrations(runtime: MemoryRuntime) -> None:
    roster = await see(runtime, None).get_roster(EPOCH)

    assert roster.roles == {
        alice.author: HOSTER,
        bob.author: HOSTER,
        victor.author: VALIDATOR,
    }


async def test_a_roster_waits_until_its_block_is_buried(runtime: MemoryRuntime) -> None:
    """A reorganisation takes the snapshot's block at the moment it is read."""
    runtime.head = BlockNumber(16)
    chain = see(runtime, None)
    waiting = asyncio.create_task(chain.get_roster(EPOCH))
    await asyncio.sleep(0)
    runtime.head = BlockNumber(14)
    chain._take_head(BlockNumber(17))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not waiting.done()

    runtime.head = BlockNumber(18)
    chain._take_head(BlockNumber(18))
    assert set((await waiting).authors) == {alice.author, bob.author, victor.author}


async def test_there_is_no_epoch_before_the_first(runtime: MemoryRuntime) -> None:
    chain = see(runtime, None)
    with pytest.raises(ValueError, match="count from 0, saw -1"):
        await chain.get_roster(Epoch(-1))
    assert await chain.get_elected(Epoch(-1)) is None
    assert await chain.get_elected(Epoch(2)) is None
    assert await see(runtime, None, slot=None).get_elected(Epoch(0)) is None


async def test_the_elected_node_submits_and_the_others_attest(runtime: MemoryRuntime) -> None:
    await see(runtime, victor).submit(SUBMISSION)
    await see(runtime, alice).attest(EPOCH)

    found = await see(runtime, None).get_submission(EPOCH)
    assert found is not None
    assert found.submission == SUBMISSION
    assert (found.submitter, found.attested_by) == (victor.author, (alice.author,))
    assert runtime.sent == ["propose_attestation", "attest"]


async def test_every_refusal_says_why_and_what_to_do(runtime: MemoryRuntime) -> None:
    elected = format_peer_id(victor.author)
    with pytest.raises(ChainRefused, match=r"has no hotkey.*: start it with --hotkey FILE"):
        await see(runtime, None).submit(SUBMISSION)
    with pytest.raises(
        ChainRefused, match="has not reached its first block, now is block 20: wait"
    ):
        await see(runtime, victor, slot=None).submit(SUBMISSION)
    with pytest.raises(ChainRefused, match=f"not elected in epoch 1, {elected} is: leave"):
        await see(runtime, alice).submit(SUBMISSION)
    with pytest.raises(ChainRefused, match="epoch 1 has no submission yet: wait"):
        await see(runtime, alice).attest(EPOCH)
    await see(runtime, victor).submit(SUBMISSION)
    with pytest.raises(ChainRefused, match="has a submission already and takes one only: wait"):
        await see(runtime, victor).submit(SUBMISSION)
    with pytest.raises(ChainRefused, match="counts as its attestation: leave"):
        await see(runtime, victor).attest(EPOCH)
    with pytest.raises(ChainRefused, match="not on the roster of epoch 1: register it"):
        await see(runtime, dave).attest(EPOCH)
    assert runtime.sent == ["propose_attestation"], "the others are refused before anything is sent"


async def test_a_chain_that_does_not_answer_is_asked_again(
    runtime: MemoryRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = see(runtime, None)
    query = runtime.query
    failures = [ChainUnreachable("silent"), ChainUnreachable("silent")]

    async def fail_twice(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return await query(*arguments, **options)

    monkeypatch.setattr(runtime, "query", fail_twice)
    assert await chain.get_submission(EPOCH) is None
    assert failures == []


async def test_an_error_in_the_background_is_told_and_reading_goes_on(
    runtime: MemoryRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[AnyEvent] = []
    chain = see(runtime, None, emit=told.append)
    query = runtime.query
    failures = [RpcError("ws://memory", "State already discarded")]

    async def fail_once(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return await query(*arguments, **options)

    monkeypatch.setattr(runtime, "query", fail_once)
    chain._follow("ws://127.0.0.1:1")
    async with asyncio.timeout(20):
        while not chain.nodes:
            chain._take_head(BlockNumber(21))
            await asyncio.sleep(0.001)
    await chain.close()

    warnings = [event.what for event in told if isinstance(event, NodeWarning)]
    assert any("reading the subnet ended with RpcError" in what for what in warnings)
