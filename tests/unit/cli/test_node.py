"""`epochgate node`: what it refuses, and the signals and the terminal around `open_node`."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from epochgate import HOSTER, VALIDATOR, SigningKey
from epochgate.chain.local import LocalChain
from epochgate.cli import run_command
from epochgate.engine.system import SystemClock
from epochgate.keys import format_peer_id
from epochgate.observe.events import Emit, NodeStopped, NodeWarning, decode_line
from epochgate.runtime.settings import NodeSettings, make_arguments
from epochgate.store.database import NodeDatabase
from tests.support.command_line import refuse


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
        return run_command(["node", *make_arguments(options | changes)])


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
    ],
)
def test_a_node_that_cannot_work_says_why_in_one_line(
    place: Place, try_it: Callable[[Place], int], advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert try_it(place) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("epochgate: ")
    assert err.count("\n") == 1
    assert advice in err


def test_a_missing_setting_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--role is missing" in refuse(capsys, "node")


def test_an_unknown_variable_is_told_and_no_hindrance(
    place: Place, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPOCHGATE_LISEN", "/ip4/0.0.0.0/tcp/4001")
    assert place.start() == 2
    warning, refusal = capsys.readouterr().err.splitlines()
    assert "EPOCHGATE_LISEN is set and is not a setting of a node" in warning
    assert "does not exist" in refusal


class StubNode:
    def __init__(self) -> None:
        self.stopped = asyncio.Event()


class Stage:
    """Takes the place of `open_node`, and does what a test says at the start and in the block."""

    def __init__(self) -> None:
        self.at_start: Callable[[], None] = lambda: None
        self.in_block: Callable[[StubNode, Emit], None] = lambda _node, _emit: None
        self.is_slow = False
        self.was_left = False

    @asynccontextmanager
    async def open_node(
        self, _settings: NodeSettings, *, emit: Emit, **_parts: object
    ) -> AsyncIterator[StubNode]:
        self.at_start()
        if self.is_slow:
            await asyncio.Event().wait()
        node = StubNode()
        asyncio.get_running_loop().call_soon(self.in_block, node, emit)
        yield node
        self.was_left = True


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    monkeypatch.setattr("epochgate.cli.node.open_node", stage.open_node)
    return stage


def send_sigterm() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_ends_the_node(
    place: Place, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.in_block = lambda _node, _emit: send_sigterm()
    assert place.start() == 0
    assert stage.was_left
    assert capsys.readouterr().err == ""


def test_a_signal_during_the_start_ends_that(
    place: Place, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.at_start = send_sigterm
    stage.is_slow = True
    assert place.start() == 0
    assert not stage.was_left
    assert "left before the node had started" in capsys.readouterr().err


def test_a_node_that_ends_by_itself_ends_the_command(place: Place, stage: Stage) -> None:
    stage.in_block = lambda node, _emit: node.stopped.set()
    assert place.start() == 0
    assert stage.was_left


def test_facts_are_printed_in_words_or_as_json(
    place: Place, stage: Stage, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    def tell(node: StubNode, emit: Emit) -> None:
        emit(NodeWarning("network", "nobody answers", "look at the cable"))
        emit(NodeStopped())
        node.stopped.set()

    stage.in_block = tell
    assert place.start() == 0
    words = capfdbinary.readouterr().out
    assert words == b"warning from network: nobody answers (look at the cable)\n"
    assert place.start(events="-") == 0
    lines = [decode_line(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert [type(line.fact) for line in lines] == [NodeWarning, NodeStopped]
    assert {line.node for line in lines} == {format_peer_id(place.alice.author)}


def test_a_node_leaves_when_nobody_reads_its_facts_any_more(
    place: Place, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    class ClosedPipe(io.RawIOBase):
        def write(self, _data: object) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", SimpleNamespace(buffer=ClosedPipe()))
    stage.in_block = lambda _node, emit: emit(NodeStopped())
    assert place.start(events="-") == 0
    assert stage.was_left


def test_a_node_that_others_can_reach_says_so(
    place: Place, stage: Stage, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.in_block = lambda node, _emit: node.stopped.set()
    assert place.start(listen="/ip4/0.0.0.0/tcp/4001") == 0
    assert "can be reached from beyond this machine" in capsys.readouterr().err
