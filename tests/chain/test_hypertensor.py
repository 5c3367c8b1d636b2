"""The client against Hypertensor's own runtime. Where its spec is missing these skip, and say how
to get it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest

from epochgate.chain.hypertensor.chain import HypertensorChain
from epochgate.chain.hypertensor.units import UNIT
from epochgate.cli import run_command
from epochgate.core.epoch import compute_deciding_block
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.types import BlockNumber, Epoch, Hash32
from epochgate.engine.system import SystemClock
from epochgate.keys import SigningKey, format_peer_id
from epochgate.ports import ChainRefused, Submission
from tests.chain.devchain import DevChain
from tests.chain.proxy import Proxy
from tests.chain.subnet import BLOCK_SECONDS, ChainSubnet, until
from tests.support.identities import alice, bob, carol, vera, victor

pytestmark = pytest.mark.chain

NODES = (alice, bob, carol, victor)
MAX_FORKS = 16
FORKED_BLOCKS = 9
"""The chain draws from the majority of its blocks' hashes, so reorganising one of them seldom
changes the elected node.
"""


@pytest.fixture
async def subnet(devchain: DevChain) -> AsyncIterator[ChainSubnet]:
    """Four nodes, active, at the first block of the first epoch in which one of them is elected."""
    subnet = await ChainSubnet.register(devchain)
    await subnet.add_nodes()
    await subnet.activate()
    await subnet.begin()
    yield subnet
    await subnet.close()


async def reach(subnet: ChainSubnet, chain: HypertensorChain, block: BlockNumber) -> None:
    await subnet.devchain.reach(block)
    await until(lambda: chain.get_head().block >= block)


async def find_elected(chain: HypertensorChain, epoch: Epoch) -> SigningKey:
    elected = await chain.get_elected(epoch)
    return next(key for key in NODES if key.author == elected)


def make_submission(epoch: Epoch, root: Hash32 = Hash32(b"1" * 32)) -> Submission:
    scores = {key.author: UNIT // 4 for key in sorted(NODES, key=lambda key: key.author)}
    return Submission(epoch, scores, (b"\x0f", b"\x07"), root)


async def test_three_epochs_are_submitted_attested_and_paid(subnet: ChainSubnet) -> None:
    chains = {key: await subnet.see(key) for key in NODES}
    chain = chains[alice]
    first = chain.timing.compute_epoch(chain.get_head().block)
    stakes = [get_stakes(chain)]
    elected_then: list[SigningKey] = []
    for epoch in range(first, first + 3):
        await reach(subnet, chain, chain.timing.compute_first_block(Epoch(epoch)))
        elected = await find_elected(chain, Epoch(epoch))
        await chains[elected].submit(make_submission(Epoch(epoch)))
        for key in NODES:
            if key is not elected:
                await chains[key].attest(Epoch(epoch))

        found = await chain.get_submission(Epoch(epoch))
        assert found is not None
        assert found.submission == make_submission(Epoch(epoch))
        assert found.submitter == elected.author
        assert set(found.attested_by) == {key.author for key in NODES if key is not elected}
        assert found.is_attested

        roster = await chain.get_roster(Epoch(epoch))
        assert roster.roles == {
            alice.author: HOSTER,
            bob.author: HOSTER,
            carol.author: HOSTER | VALIDATOR,
            victor.author: VALIDATOR,
        }
        assert (await chains[bob].get_roster(Epoch(epoch))).seed == roster.seed
        await reach(subnet, chain, chain.timing.compute_first_block(Epoch(epoch + 1)))
        elected_then.append(elected)
        seen = await subnet.see(None)
        stakes.append(get_stakes(seen))

    for elected, before, after in zip(elected_then, stakes, stakes[1:], strict=False):
        assert after[elected.author] > before[elected.author], (
            "the elected node is paid for its submission"
        )


def get_stakes(chain: HypertensorChain) -> dict[bytes, int]:
    return {node.author: node.stake for node in chain.nodes if node.author is not None}


async def test_every_refusal_says_why_and_what_to_do(subnet: ChainSubnet) -> None:
    chains = {key: await subnet.see(key) for key in NODES}
    chain = chains[alice]
    epoch = chain.timing.compute_epoch(chain.get_head().block)
    elected = await find_elected(chain, epoch)
    other, third, _ = (key for key in NODES if key is not elected)

    await refuse(chains[other].attest(epoch), "no submission yet")
    await refuse(chains[other].submit(make_submission(epoch)), "not elected")
    await refuse(chains[elected].submit(make_submission(Epoch(epoch - 1))), "is over")
    await refuse(chains[elected].submit(make_submission(Epoch(epoch + 1))), "has not begun")
    await chains[elected].submit(make_submission(epoch))
    await refuse(
        chains[elected].submit(make_submission(epoch, root=Hash32(b"2" * 32))),
        "has a submission already",
    )
    await refuse(chains[elected].attest(epoch), "stands by its submission")
    await chains[third].attest(epoch)
    await refuse(chains[third].attest(epoch), "once is enough")
    await refuse((await subnet.see(None)).attest(epoch), "no hotkey")
    found = await chain.get_submission(epoch)
    assert found is not None
    assert found.attested_by == (third.author,)
    assert not found.is_attested


async def test_a_cut_line_and_a_silent_server_make_the_head_stale_until_they_are_back(
    subnet: ChainSubnet,
) -> None:
    async with Proxy(subnet.devchain.url) as line:
        epoch = compute_epoch(await subnet.see(None))
        direct = await subnet.see(None)
        elected = await find_elected(direct, epoch)
        chain = await subnet.see(elected, line.url)

        line.cut()
        await until(lambda: is_stale(chain))
        submitting = asyncio.create_task(chain.submit(make_submission(epoch)))
        await asyncio.sleep(1)
        assert not submitting.done()
        await line.open()
        await subnet.devchain.make_blocks()
        await until(lambda: not is_stale(chain))
        await submitting
        assert await direct.get_submission(epoch) is not None

        line.hold()
        await until(lambda: is_stale(chain))
        asking = asyncio.create_task(chain.get_submission(epoch))
        await asyncio.sleep(1)
        assert not asking.done()
        line.release()
        await subnet.devchain.make_blocks()
        await until(lambda: not is_stale(chain))
        assert await asking is not None
    assert any("is gone" in what for what in subnet.troubles)
    assert any("has been silent" in what for what in subnet.troubles)


def compute_epoch(chain: HypertensorChain) -> Epoch:
    return chain.timing.compute_epoch(chain.get_head().block)


def is_stale(chain: HypertensorChain) -> bool:
    return compute_deciding_block(
        chain.get_head(), SystemClock().get_unix_seconds(), BLOCK_SECONDS
    )[1]


async def test_when_the_epochs_first_block_is_reorganised_the_other_elected_node_submits(
    subnet: ChainSubnet,
) -> None:
    chains = {key: await subnet.see(key) for key in NODES}
    chain = chains[alice]
    first = chain.get_head().block
    epoch = compute_epoch(chain)
    before = await find_elected(chain, epoch)
    for amount in range(1, MAX_FORKS):
        await subnet.devchain.go_back(BlockNumber(first - FORKED_BLOCKS))
        await until(lambda: chain.get_head().block == first - FORKED_BLOCKS)
        assert await chain.get_elected(epoch) is None
        await subnet.pay_somebody(amount)  # so that the blocks from there on differ
        await subnet.devchain.reach(first)
        await until(lambda: all(each.get_head().block == first for each in chains.values()))
        after = await find_elected(chain, epoch)
        if after is not before:
            break
    assert after is not before

    await refuse(chains[before].submit(make_submission(epoch)), "not elected")
    await chains[after].submit(make_submission(epoch))
    found = await chain.get_submission(epoch)
    assert found is not None
    assert found.submitter == after.author


async def test_a_submission_that_a_reorganisation_took_away_is_made_again(
    subnet: ChainSubnet,
) -> None:
    chain = await subnet.see(None)
    first = chain.get_head().block
    epoch = compute_epoch(chain)
    elected = await find_elected(chain, epoch)
    author = await subnet.see(elected)
    await author.submit(make_submission(epoch))
    await subnet.devchain.go_back(first)
    await until(lambda: author.get_head().block == first)
    assert await author.get_submission(epoch) is None

    await author.submit(make_submission(epoch))

    assert await chain.get_submission(epoch) is not None


async def test_a_node_that_leaves_before_the_submission_is_in_a_block_keeps_its_score(
    subnet: ChainSubnet,
) -> None:
    chain = await subnet.see(None)
    epoch = compute_epoch(chain)
    elected = await find_elected(chain, epoch)
    author = await subnet.see(elected)
    leaver = next(key for key in (bob, carol) if key is not elected)
    send = author._rpc.send

    async def leave_first(*arguments: Any, **options: Any) -> None:
        await subnet.remove_node(leaver)
        await send(*arguments, **options)

    author._rpc.send = leave_first  # type: ignore[method-assign] # the worst moment: all is composed
    await author.submit(make_submission(epoch))

    found = await chain.get_submission(epoch)
    assert found is not None
    assert found.submission == make_submission(epoch)
    nodes = await author._reader.get_nodes(await author._rpc.get_head_hash())
    assert leaver.author not in {node.author for node in nodes}


async def test_an_operator_sees_who_is_registered(
    devchain: DevChain, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subnet = await ChainSubnet.register(devchain)
    await subnet.add_nodes()
    command = [
        "peers",
        "--data",
        f"{tmp_path}",
        "--chain",
        devchain.url,
        "--subnet-id",
        f"{subnet.subnet_id}",
    ]
    assert await asyncio.to_thread(run_command, command) == 0
    _, *rows = capsys.readouterr().out.splitlines()
    roles = {alice: "hoster", bob: "hoster", carol: "hoster+validator", victor: "validator"}
    assert dict(row.split()[:2] for row in rows) == {
        format_peer_id(key.author): role for key, role in roles.items()
    }
    await subnet.close()


async def test_a_subnet_that_is_not_active_and_hotkeys_without_a_balance_are_told_in_words(
    devchain: DevChain,
) -> None:
    subnet = await ChainSubnet.register(devchain)
    await subnet.add_nodes(hotkey_balance=0)
    chains = {key: await subnet.see(key) for key in NODES}
    assert set(chains[alice].get_waiting_roster().authors) == {key.author for key in NODES}
    assert "the subnet is not active yet" in subnet.troubles
    await refuse(chains[alice].submit(make_submission(Epoch(0))), "not active yet")

    await subnet.activate()
    await subnet.begin()
    await until(lambda: chains[alice].timing.slot is not None)
    epoch = compute_epoch(chains[alice])
    elected = chains[await find_elected(chains[alice], epoch)]
    await until(lambda: elected.timing.slot is not None)
    await refuse(elected.submit(make_submission(epoch)), "send that account a little TENSOR")
    await subnet.close()


async def test_a_node_that_is_not_in_the_consensus_yet_is_told_so_and_is_on_no_roster(
    subnet: ChainSubnet,
) -> None:
    await subnet.add_node("alith", vera)
    chain = await subnet.see(vera)
    assert vera.author in chain.get_waiting_roster().roles
    assert any("registered, but not in the consensus yet" in what for what in subnet.troubles)
    epoch = compute_epoch(chain)
    assert vera.author not in (await chain.get_roster(epoch)).roles
    await (await subnet.see(await find_elected(chain, epoch))).submit(make_submission(epoch))
    await refuse(chain.attest(epoch), "which does not attest yet: keep it running")


async def refuse(action: Awaitable[None], words: str) -> None:
    with pytest.raises(ChainRefused, match=words):
        await action
