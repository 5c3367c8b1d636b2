"""The nodes of a devnet: their keys, their places on the chain, their command lines."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from epochgate.chain.local import LocalChain
from epochgate.cli.devnet_cast import make_waves, plan_outages, register_cast
from epochgate.cli.devnet_options import DevnetOptions
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.types import BlockNumber
from epochgate.devnet.faults import Faults
from epochgate.engine.system import SystemClock
from epochgate.keys import SigningKey, format_peer_id
from tests.support.command_line import get_values

SETTINGS = {"policy": "my:POLICY", "model": "my:model", "challenger": "my:Prompts"}


@pytest.fixture
def chain(tmp_path: Path) -> LocalChain:
    clock = SystemClock()
    LocalChain.create(tmp_path / "chain.sqlite", clock, block_seconds=0.3)
    return LocalChain(tmp_path / "chain.sqlite", None, clock)


def ask(faults: Faults | None = None, adversaries: tuple[str, ...] = ()) -> DevnetOptions:
    return DevnetOptions(
        hosters=3,
        validators=2,
        epochs=2,
        epoch_seconds=30.0,
        settings=SETTINGS,
        faults=faults or Faults(),
        adversaries=adversaries,
    )


def test_everybody_has_a_key_and_is_registered(tmp_path: Path, chain: LocalChain) -> None:
    cast = register_cast(ask(adversaries=("copier", "copier", "empty-scorer")), tmp_path, chain)
    names = [actor.name for actor in cast.actors]
    assert names[:5] == ["hoster-1", "hoster-2", "hoster-3", "validator-1", "validator-2"]
    assert names[5:] == ["copier-1", "copier-2", "empty-scorer-1"]
    roles = {format_peer_id(it.author): it.roles for it in chain.get_waiting_roster().members}
    for actor in cast.actors:
        author = SigningKey.load(tmp_path / f"{actor.name}.key").author
        assert format_peer_id(author) == actor.peer_id
        assert roles[actor.peer_id] == {"hoster": HOSTER, "validator": VALIDATOR}[actor.role]


def test_each_node_is_told_what_concerns_it(tmp_path: Path, chain: LocalChain) -> None:
    options = ask(adversaries=("copier",))
    cast = register_cast(options, tmp_path, chain)
    chain_file = tmp_path / "chain.sqlite"
    first, rest = make_waves(options, tmp_path, cast, chain_file)
    assert list(first) == ["hoster-1", "hoster-2"]
    assert list(rest) == ["hoster-3", "validator-1", "validator-2", "copier-1"]
    for name, command in (first | rest).items():
        assert command[:3] == [sys.executable, "-m", "epochgate"]
        assert get_values(command, "--identity") == [str(tmp_path / f"{name}.key")]
        assert get_values(command, "--data") == [str(tmp_path / name)]
        assert get_values(command, "--chain") == [f"local:{chain_file}"]
        assert get_values(command, "--events") == ["-"]
        assert get_values(command, "--policy") == ["my:POLICY"]
    assert get_values(rest["hoster-3"], "--model") == ["my:model"]
    assert get_values(rest["hoster-3"], "--challenger") == []
    assert get_values(rest["validator-1"], "--model") == []
    assert get_values(rest["validator-1"], "--challenger") == ["my:Prompts"]
    assert rest["validator-1"][3] == "node"
    assert rest["copier-1"][3:5] == ["adversary", "copier"]


def test_all_others_know_the_bootstrap_nodes(tmp_path: Path, chain: LocalChain) -> None:
    cast = register_cast(ask(), tmp_path, chain)
    first, rest = make_waves(ask(), tmp_path, cast, tmp_path / "chain.sqlite")
    peers = [
        f"{get_values(command, '--listen')[0]}/p2p/{actor.peer_id}"
        for command, actor in zip(first.values(), cast.actors, strict=False)
    ]
    assert len(set(peers)) == 2
    for command in rest.values():
        assert get_values(command, "--initial-peers") == peers


def test_faults_meet_different_hosters_and_never_a_bootstrap_node(
    tmp_path: Path, chain: LocalChain
) -> None:
    options = ask(Faults(restart_at=0.45, has_absent_elected=True, has_late_node=True))
    cast = register_cast(options, tmp_path, chain)
    chain.start(BlockNumber(chain.get_head().block + 2))
    late, restarted, absent = plan_outages(options, cast, chain)
    names = {actor.peer_id: actor.name for actor in cast.actors}
    assert names[late.peer_id] == "hoster-3"
    assert names[restarted.peer_id] == "hoster-2"
    assert names[absent.peer_id].startswith("validator-")
