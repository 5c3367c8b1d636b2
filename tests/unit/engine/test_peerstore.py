"""Where peers were last seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from epochgate.engine import peerstore as peerstore_module
from epochgate.engine.peerstore import PeerStore, parse_peer_address
from epochgate.keys import format_peer_id
from tests.support.identities import alice

HOME = "/ip4/127.0.0.1/tcp/4001"


def test_what_was_noted_is_there_after_a_restart_newest_first(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    peerstore = PeerStore(path)
    peerstore.note({"alice": [HOME], "bob": [HOME + "2"]})
    peerstore.note({"carol": [HOME + "3"]})
    assert (
        PeerStore(path).get_recent(2)
        == peerstore.get_recent(2)
        == [("carol", HOME + "3"), ("bob", HOME + "2")]
    )


def test_a_peer_that_moved_is_found_where_it_is_now(tmp_path: Path) -> None:
    peerstore = PeerStore(tmp_path / "peers.json")
    peerstore.note({"alice": [HOME]})
    peerstore.note({"alice": ["/ip4/127.0.0.1/tcp/4002"]})
    assert PeerStore(tmp_path / "peers.json").get_recent(9) == [
        ("alice", "/ip4/127.0.0.1/tcp/4002")
    ]


def test_nothing_is_written_while_nothing_is_new(tmp_path: Path) -> None:
    path = tmp_path / "peers.json"
    peerstore = PeerStore(path)
    peerstore.note({"alice": [HOME]})
    path.unlink()
    peerstore.note({"alice": [HOME]})
    assert not path.exists()


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"alice": 7}', b"\xff\xfe", b'{"\xff": ["\xff"]}']
)
def test_a_damaged_book_is_an_empty_one_and_fills_again(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "peers.json"
    path.write_bytes(damage)
    peerstore = PeerStore(path)
    assert peerstore.get_recent(9) == []
    peerstore.note({"alice": [HOME]})
    assert PeerStore(path).get_recent(9) == [("alice", HOME)]


def test_the_longest_unseen_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peerstore_module, "MAX_PEERS", 3)
    peerstore = PeerStore(tmp_path / "peers.json")
    for name in ("alice", "bob", "carol", "alice", "dave"):
        peerstore.note({name: [HOME]})
    assert [peer for peer, _ in peerstore.get_recent(9)] == ["dave", "alice", "carol"]


def test_a_peer_has_only_so_many_addresses(tmp_path: Path) -> None:
    peerstore = PeerStore(tmp_path / "peers.json")
    peerstore.note({"alice": [f"/ip4/127.0.0.1/tcp/{port}" for port in range(1, 100)]})
    assert len(peerstore.get_recent(9)) == peerstore_module.MAX_ADDRESSES


def test_a_folder_that_cannot_be_written_costs_the_book_and_not_the_node(tmp_path: Path) -> None:
    peerstore = PeerStore(tmp_path / "missing" / "peers.json")
    peerstore.note({"alice": [HOME]})
    assert peerstore.get_recent(9) == [("alice", HOME)]


def test_an_address_of_a_peer_is_an_address_and_a_peer() -> None:
    name = format_peer_id(alice.author)
    assert parse_peer_address(f"{HOME}/p2p/{name}") == (name, HOME)
    for text in (
        "",
        HOME,
        f"/p2p/{name}",
        name,
        f"{HOME}/p2p/",
        f"{HOME}/p2p/bob",
        f"{HOME}/p2p/{name}/",
    ):
        with pytest.raises(ValueError, match=r"is no|is not"):
            parse_peer_address(text)
