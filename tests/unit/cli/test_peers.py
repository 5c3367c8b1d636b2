from __future__ import annotations

from pathlib import Path

import pytest

from epochgate import HOSTER, VALIDATOR
from epochgate.chain.local import LocalChain
from epochgate.cli import run_command
from epochgate.engine.peerstore import FILE_NAME, PeerStore
from epochgate.engine.system import SystemClock
from epochgate.keys import format_peer_id
from tests.support.identities import alice, bob, carol

ALICE, BOB, CAROL = (format_peer_id(key.author) for key in (alice, bob, carol))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Of a node that has met alice and carol; alice and bob are on the chain."""
    chain = LocalChain
    chain.create(tmp_path / "chain.sqlite", SystemClock(), block_seconds=1)
    subnet = chain(tmp_path / "chain.sqlite", None, SystemClock())
    subnet.register(alice.author, HOSTER, stake=7)
    subnet.register(bob.author, HOSTER | VALIDATOR, stake=9)
    peerstore = PeerStore(tmp_path / FILE_NAME)
    peerstore.note(
        {
            ALICE: ["/ip4/10.0.0.1/tcp/4001", "/ip4/10.0.0.2/tcp/4001"],
            CAROL: ["/ip4/10.0.0.3/tcp/4001"],
        }
    )
    return tmp_path


def test_the_address_book_and_the_roster_are_shown_together(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["peers", "--data", f"{data}", "--chain", f"local:{data}/chain.sqlite"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "hoster" in lines[ALICE]
    assert "/ip4/10.0.0.2/tcp/4001" in lines[ALICE]
    assert "hoster+validator" in lines[BOB]
    assert "never met" in lines[BOB]
    assert "not on the roster" in lines[CAROL]


def test_addresses_are_what_initial_peers_takes(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run_command(
            ["peers", "--data", f"{data}", "--addresses", "--chain", f"local:{data}/chain.sqlite"]
        )
        == 0
    )
    expected = [f"/ip4/10.0.0.1/tcp/4001/p2p/{ALICE}", f"/ip4/10.0.0.3/tcp/4001/p2p/{CAROL}"]
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(expected)


def test_a_chain_with_many_subnets_is_asked_for_the_one_that_is_named(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = ["peers", "--data", f"{data}", "--chain", "ws://127.0.0.1:1"]
    assert run_command(nowhere) == 2
    assert "say which with --subnet-id N" in capsys.readouterr().err
    assert run_command([*nowhere, "--subnet-id", "7"]) == 2
    assert "ws://127.0.0.1:1 does not answer" in capsys.readouterr().err


def test_an_empty_book_and_a_missing_folder_say_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["peers", "--data", f"{tmp_path}"]) == 0
    assert "look at its --initial-peers" in capsys.readouterr().out
    assert run_command(["peers", "--data", f"{tmp_path}/nowhere"]) == 2
    assert "there is no such folder" in capsys.readouterr().err
