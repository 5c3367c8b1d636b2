"""The chain that a URL names, and whether a node may start on it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from epochgate.chain.hypertensor.account import Account
from epochgate.chain.hypertensor.rpc import ChainUnreachable
from epochgate.chain.local import ChainFileError, LocalChain
from epochgate.core.policy_lint import PolicyError
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.types import PeerId
from epochgate.keys import KeyFileError, format_peer_id
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.runtime.chains import (
    ChainIdentity,
    OpenedChain,
    check_node,
    open_chain,
    require_hypertensor,
)
from epochgate.runtime.loading import InputError
from tests.support.identities import alice, bob
from tests.support.local_chain import PERIOD_SECONDS, StoppedClock

NOWHERE = "ws://127.0.0.1:1"


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock()


@pytest.fixture
def file(tmp_path: Path, clock: StoppedClock) -> Path:
    """A chain on which alice is a hoster and a validator."""
    file = tmp_path / "chain.sqlite"
    LocalChain.create(file, clock, block_seconds=PERIOD_SECONDS)
    LocalChain(file, None, clock).register(alice.author, HOSTER | VALIDATOR)
    return file


async def open_as(url: str, clock: StoppedClock, author: PeerId | None = None) -> OpenedChain:
    return await open_chain(url, author=author, clock=clock)


async def test_a_local_chain_is_opened_by_its_file(file: Path, clock: StoppedClock) -> None:
    opened = await open_as(f"local:{file}", clock)
    assert opened.where == f"the chain in {file}"
    assert opened.chain.get_waiting_roster().authors == (alice.author,)
    await opened.chain.close()


async def test_a_clock_that_is_behind_the_chain_is_told(file: Path, clock: StoppedClock) -> None:
    clock.unix_seconds -= 2 * PERIOD_SECONDS
    with pytest.raises(InputError, match="this machine's clock is behind") as refused:
        await open_as(f"local:{file}", clock)
    assert refused.value.advice.startswith("set it")


async def test_a_clock_may_be_behind_by_a_block(file: Path, clock: StoppedClock) -> None:
    clock.unix_seconds -= PERIOD_SECONDS
    opened = await open_as(f"local:{file}", clock)
    await opened.chain.close()


@pytest.mark.parametrize("url", ["bitcoin:main", "chain.sqlite", "http://127.0.0.1:1", ""])
async def test_another_kind_of_chain_is_refused(url: str, clock: StoppedClock) -> None:
    with pytest.raises(InputError, match="write local:FILE, ws://HOST:PORT or wss://HOST"):
        await open_as(url, clock)


async def test_errors_of_a_chain_come_as_they_are(tmp_path: Path, clock: StoppedClock) -> None:
    with pytest.raises(ChainFileError, match="does not exist"):
        await open_as(f"local:{tmp_path}/none.sqlite", clock)
    with pytest.raises(ChainUnreachable, match="does not answer"):
        await open_chain(NOWHERE, author=None, clock=clock, chain_identity=ChainIdentity(7))


async def test_a_chain_with_many_subnets_asks_which_and_as_whom(
    tmp_path: Path, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EPOCHGATE_HOTKEY_SECRET", raising=False)
    with pytest.raises(InputError, match="say which with --subnet-id N"):
        await open_as(NOWHERE, clock)
    with pytest.raises(KeyFileError, match="EPOCHGATE_HOTKEY_SECRET"):
        await open_chain(NOWHERE, author=alice.author, clock=clock, chain_identity=ChainIdentity(7))
    Account.create(tmp_path / "hotkey")
    identity = ChainIdentity(7, hotkey=tmp_path / "hotkey")
    with pytest.raises(ChainUnreachable):
        await open_chain(NOWHERE, author=alice.author, clock=clock, chain_identity=identity)


def test_a_client_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    require_hypertensor()
    monkeypatch.setitem(sys.modules, "eth_keys", None)
    with pytest.raises(InputError, match=r"needs eth_keys: pip install 'epochgate\[hypertensor\]'"):
        require_hypertensor()


async def test_a_node_starts_in_the_roles_it_is_registered_in(
    file: Path, clock: StoppedClock
) -> None:
    opened = await open_as(f"local:{file}", clock)
    check_node(opened, alice.author, HOSTER | VALIDATOR, INFERENCE_POLICY)
    with pytest.raises(InputError, match="start it with --role hoster --role validator"):
        check_node(opened, alice.author, HOSTER, INFERENCE_POLICY)
    with pytest.raises(InputError, match="is not registered on the chain in") as refused:
        check_node(opened, bob.author, HOSTER, INFERENCE_POLICY)
    assert format_peer_id(bob.author) in str(refused.value)
    assert f"local-chain register {file}" in refused.value.advice
    await opened.chain.close()


async def test_a_policy_that_does_not_fit_the_chain_stops_a_node(
    tmp_path: Path, clock: StoppedClock
) -> None:
    LocalChain.create(tmp_path / "short.sqlite", clock, block_seconds=1.0, blocks_per_epoch=10)
    opened = await open_as(f"local:{tmp_path}/short.sqlite", clock)
    assert isinstance(opened.chain, LocalChain)
    opened.chain.register(alice.author, HOSTER)
    with pytest.raises(PolicyError, match="a window needs 2"):
        check_node(opened, alice.author, HOSTER, INFERENCE_POLICY)
    await opened.chain.close()
