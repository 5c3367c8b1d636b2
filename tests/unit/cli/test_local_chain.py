"""`epochgate local-chain`: from a new file to a subnet with a submission."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from epochgate.chain.local import LocalChain
from epochgate.cli import run_command
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.types import BlockNumber, Epoch, Hash32
from epochgate.keys import SigningKey, format_peer_id
from epochgate.ports import Submission
from tests.support.command_line import refuse
from tests.support.identities import alice, victor
from tests.support.local_chain import LENGTH, SLOT, StoppedClock, create


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    capsys.readouterr()
    assert run_command(["local-chain", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_chain_is_made_filled_and_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = f"{tmp_path}/chain.sqlite"
    author = format_peer_id(SigningKey.create(tmp_path / "node.key").author)
    (made,) = run(capsys, "create", file, "--epoch-seconds", "200")
    assert made == f"{file}: epochs of 100 blocks, 200 s; register nodes, and start it"
    (registered,) = run(
        capsys, "register", file, "--identity", f"{tmp_path}/node.key", "--role", "both"
    )
    assert registered == f"{author} is registered as both"
    head, member = run(capsys, "show", file)
    assert head == "block 0, the subnet has not started"
    assert member == f"  {author}  hoster and validator"
    (started,) = run(capsys, "start", file)
    assert started == "epoch 0 begins at block 2, in 4 s"


def test_a_subnet_is_started_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = f"{tmp_path}/chain.sqlite"
    run(capsys, "create", file)
    run(capsys, "start", file)
    line = refuse(capsys, "local-chain", "start", file, exit_code=1)
    assert line == "the subnet has its first block already, 2: it is set once"


async def submit(file: Path, clock: StoppedClock) -> None:
    """Alice hosts, victor is elected in epoch 1 and submits what epoch 0 is worth to her."""
    create(file, clock)
    chain = LocalChain(file, victor.author, clock)
    chain.register(alice.author, HOSTER)
    chain.register(victor.author, VALIDATOR)
    chain.start(BlockNumber(SLOT))
    clock.reach(BlockNumber(SLOT + LENGTH))
    scores = {alice.author: 10**18, victor.author: 0}
    await chain.submit(Submission(Epoch(1), scores, (), Hash32(bytes(32))))
    await chain.close()


def test_what_was_submitted_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = StoppedClock()
    asyncio.run(submit(tmp_path / "chain.sqlite", clock))
    monkeypatch.setattr("epochgate.cli.local_chain.SystemClock", lambda: clock)
    lines = run(capsys, "show", f"{tmp_path}/chain.sqlite")
    assert lines[0] == f"block {SLOT + LENGTH}, epoch 1"
    assert lines[-1] == (
        f"epoch 1: scores of epoch 0 by {format_peer_id(victor.author)}, not attested by 0, 1 nodes"
        " paid"
    )
