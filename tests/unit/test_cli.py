from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from epochgate import HOSTER, VALIDATOR, SigningKey, __version__
from epochgate.chain.local import LocalChain
from epochgate.cli import run_command
from epochgate.engine.system import SystemClock
from epochgate.keys import format_peer_id, parse_peer_id
from epochgate.store.database import NodeDatabase


class FarFuture(SystemClock):
    def get_unix_seconds(self) -> float:
        return super().get_unix_seconds() + 3600


class Place:
    """A folder with all that a node needs: alice's key and a chain on which she is a hoster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key_file = folder / "alice.key"
        self.chain_file = folder / "chain.sqlite"
        self.data = folder / "data"
        self.alice = SigningKey.create(self.key_file)

    def make_chain(
        self, clock: SystemClock | None = None, roles: int = HOSTER, blocks_per_epoch: int = 100
    ) -> None:
        clock = clock or SystemClock()
        LocalChain.create(
            self.chain_file, clock, block_seconds=0.3, blocks_per_epoch=blocks_per_epoch
        )
        LocalChain(self.chain_file, None, clock).register(self.alice.author, roles)

    def start(self, **changes: str) -> int:
        options = {
            "role": "hoster",
            "chain": f"local:{self.chain_file}",
            "identity": f"{self.key_file}",
            "data": f"{self.data}",
        }
        parts = [
            part
            for name, value in (options | changes).items()
            for part in (f"--{name.replace('_', '-')}", value)
        ]
        return run_command(["node", *parts])


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def refuse_a_missing_key(place: Place) -> int:
    place.make_chain()
    return place.start(identity=f"{place.folder}/nobody.key")


def refuse_a_key_that_others_can_read(place: Place) -> int:
    place.make_chain()
    place.key_file.chmod(0o644)
    return place.start()


def refuse_a_damaged_key(place: Place) -> int:
    place.make_chain()
    place.key_file.write_bytes(b"no key")
    return place.start()


def refuse_a_missing_chain(place: Place) -> int:
    return place.start()


def refuse_a_chain_that_is_none(place: Place) -> int:
    place.chain_file.write_text("no chain, just words, and enough of them to be no empty file")
    return place.start()


def refuse_an_unknown_kind_of_chain(place: Place) -> int:
    return place.start(chain="bitcoin:main")


def refuse_a_clock_that_is_behind(place: Place) -> int:
    place.make_chain(clock=FarFuture())
    return place.start()


def refuse_a_node_that_is_not_registered(place: Place) -> int:
    place.make_chain()
    bob = place.folder / "bob.key"
    SigningKey.create(bob)
    return place.start(identity=f"{bob}")


def refuse_a_role_that_the_chain_does_not_know(place: Place) -> int:
    place.make_chain(roles=VALIDATOR)
    return place.start()


def refuse_a_policy_that_does_not_fit_the_chain(place: Place) -> int:
    place.make_chain(blocks_per_epoch=10)
    return place.start()


def refuse_an_unknown_policy(place: Place) -> int:
    return place.start(policy="nowhere:POLICY")


def refuse_a_policy_that_is_none(place: Place) -> int:
    return place.start(policy="epochgate:Rule")


def refuse_an_unknown_model(place: Place) -> int:
    place.make_chain()
    return place.start(model="nowhere:make_model")


def refuse_a_busy_port(place: Place) -> int:
    place.make_chain()
    with socket.create_server(("127.0.0.1", 0)) as server:
        return place.start(listen=f"/ip4/127.0.0.1/tcp/{server.getsockname()[1]}")


def refuse_a_malformed_address(place: Place) -> int:
    place.make_chain()
    return place.start(listen="localhost:4001")


def refuse_a_malformed_peer(place: Place) -> int:
    place.make_chain()
    return place.start(initial_peers="127.0.0.1:4001")


def refuse_a_ledger_in_use(place: Place) -> int:
    place.make_chain()
    place.data.mkdir()
    database = NodeDatabase(place.data / "ledger.sqlite")
    try:
        return place.start()
    finally:
        database.close()


def refuse_a_folder_that_is_a_file(place: Place) -> int:
    place.make_chain()
    return place.start(data=f"{place.key_file}")


def refuse_events_to_elsewhere(place: Place) -> int:
    return place.start(events="somewhere.json")


def refuse_a_devnet_in_a_used_folder(place: Place) -> int:
    return run_command(["devnet", "--dir", f"{place.folder}"])


def refuse_a_summary_in_no_folder(place: Place) -> int:
    return run_command(["devnet", "--json", f"{place.folder}/nowhere/summary.json"])


def refuse_a_second_key_of_a_name(place: Place) -> int:
    return run_command(["keygen", f"{place.key_file}"])


@pytest.mark.parametrize(
    ("try_it", "advice"),
    [
        (refuse_a_missing_key, "epochgate keygen"),
        (refuse_a_key_that_others_can_read, "chmod 600"),
        (refuse_a_damaged_key, "epochgate keygen"),
        (refuse_a_missing_chain, "epochgate devnet"),
        (refuse_a_chain_that_is_none, "is not a local chain"),
        (refuse_an_unknown_kind_of_chain, "write local:FILE"),
        (refuse_a_clock_that_is_behind, "this machine's clock is behind: set it"),
        (refuse_a_node_that_is_not_registered, "local-chain register"),
        (refuse_a_role_that_the_chain_does_not_know, "start it with --role validator"),
        (refuse_a_policy_that_does_not_fit_the_chain, "a window needs 2"),
        (refuse_an_unknown_policy, "there is no module 'nowhere'"),
        (refuse_a_policy_that_is_none, "not an epochgate.Policy"),
        (refuse_an_unknown_model, "there is no module 'nowhere'"),
        (refuse_a_busy_port, "choose another port"),
        (refuse_a_malformed_address, "like /ip4/127.0.0.1/tcp/0"),
        (refuse_a_malformed_peer, "like /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW"),
        (refuse_a_ledger_in_use, "another process"),
        (refuse_a_folder_that_is_a_file, "choose another folder"),
        (refuse_events_to_elsewhere, "'-'"),
        (refuse_a_devnet_in_a_used_folder, "choose another one"),
        (refuse_a_summary_in_no_folder, "make it first"),
        (refuse_a_second_key_of_a_name, "choose another name"),
        (lambda _: run_command(["devnet", "--hosters", "0"]), "--hosters"),
        (lambda _: run_command(["devnet", "--validators", "many"]), "--validators"),
        (lambda _: run_command(["devnet", "--epochs", "0"]), "--epochs"),
        (lambda _: run_command(["devnet", "--epoch-seconds", "1"]), "greater than or equal to 5"),
        (
            lambda _: run_command(["devnet", "--model", "nowhere:make_model"]),
            "there is no module 'nowhere'",
        ),
        (
            lambda _: run_command(["devnet", "--challenger", "nowhere:Prompts"]),
            "there is no module 'nowhere'",
        ),
        (lambda _: run_command(["devnet", "--colour", "red"]), "see `epochgate devnet --help`"),
        (lambda _: run_command(["devnet", "--adversary", "nobody"]), "there are copier, latecomer"),
        (lambda _: run_command(["devnet", "--adversary", "copier:many"]), "as in copier:2"),
        (lambda _: run_command(["devnet", "--adversary", "copier:4"]), "so 9 honest ones"),
        (lambda _: run_command(["devnet", "--restart-node-at", "145%"]), "as in 45%"),
        (
            lambda _: run_command(
                ["devnet", "--absent-elected", "--hosters", "1", "--validators", "1"]
            ),
            "at least 4 nodes",
        ),
        (lambda _: run_command(["devnet", "--late-node", "--hosters", "2"]), "--hosters 3"),
        (
            lambda _: run_command(["devnet", "--policy", "nowhere:POLICY"]),
            "there is no module 'nowhere'",
        ),
        (lambda _: run_command(["attack", "--only", "nobody"]), "there are copier, latecomer"),
        (
            lambda place: run_command(["attack", "--page", f"{place.folder}/no.md"]),
            "cannot be read: No such file",
        ),
        (lambda _: run_command(["policy", "--policy", "INFERENCE_POLICY"]), "write module:NAME"),
        (lambda _: run_command(["policy", "--roster", "0"]), "--roster"),
        (lambda _: run_command(["fly"]), "see `epochgate --help`"),
        (lambda _: run_command(["node"]), "--role"),
    ],
)
def test_wrong_input_gets_one_line_that_says_what_to_do(
    place: Place, try_it: Callable[[Place], int], advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert try_it(place) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("epochgate: ")
    assert err.count("\n") == 1
    assert advice in err


def test_keygen_prints_the_peer_id_of_the_key_it_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["keygen", f"{tmp_path}/carol.key"]) == 0
    peer_id = capsys.readouterr().out.strip()
    assert peer_id == format_peer_id(SigningKey.load(tmp_path / "carol.key").author)
    assert parse_peer_id(peer_id)


def test_a_policy_is_printed_with_its_digest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["policy", "--timeline"]) == 0
    out = capsys.readouterr().out
    assert "hoster-commit_epoch_{epoch}" in out
    assert "█" in out
    assert "digest " in out
    assert "problem" not in out


def test_a_policy_that_cannot_work_on_a_chain_says_so_and_exits_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(["policy", "--blocks-per-epoch", "10"]) == 1
    assert "problem: hoster-reveal" in capsys.readouterr().out


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out.strip() == __version__


def test_it_also_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "epochgate", "devnet", "--hosters", "0"],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(b"epochgate: ")
