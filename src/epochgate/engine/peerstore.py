"""Where peers were last seen, on disk: a node whose bootstrap peers are gone finds its way back
with it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path

import msgspec

from epochgate.keys import parse_peer_id

FILE_NAME = "peers.json"
MAX_PEERS = 1000
MAX_ADDRESSES = 4
"""A peer. What libp2p tries first is what worked last."""


def parse_peer_address(text: str) -> tuple[str, str]:
    """Split `ADDRESS/p2p/PEER` into peer and address. Raises ValueError for anything without the
    peer id of an Ed25519 key.
    """
    address, _, peer = text.rpartition("/p2p/")
    if not address.startswith("/"):
        raise ValueError(
            f"{text!r} is no address of a peer like /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW..."
        )
    parse_peer_id(peer)
    return peer, address


class PeerStore:
    """Peers by the text form of their id, those seen last at the end. A missing or damaged file is
    an empty book.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._addresses: dict[str, list[str]] = {}
        with suppress(OSError, msgspec.DecodeError):
            self._addresses = msgspec.json.decode(path.read_bytes(), type=dict[str, list[str]])

    def note(self, seen: Mapping[str, Sequence[str]]) -> None:
        """Peers that are connected now, and where. What is new goes to disk; the longest unseen
        make room.
        """
        before = {peer: self._addresses.get(peer) for peer in seen}
        now = {peer: list(addresses[:MAX_ADDRESSES]) for peer, addresses in seen.items()}
        kept = {
            peer: addresses for peer, addresses in self._addresses.items() if peer not in now
        } | now
        self._addresses = dict(islice(kept.items(), max(0, len(kept) - MAX_PEERS), None))
        if before != now:
            self._save()

    def get_recent(self, count: int) -> list[tuple[str, str]]:
        """(peer, address) of the `count` peers seen last, newest first."""
        newest = islice(reversed(self._addresses.items()), count)
        return [(peer, address) for peer, addresses in newest for address in addresses]

    def _save(self) -> None:
        """Whole or not at all, so that a kill leaves a book that can be read. A full disk costs the
        book, not the node.
        """
        temporary = self._path.with_suffix(".tmp")
        with suppress(OSError):
            temporary.write_bytes(msgspec.json.encode(self._addresses))
            os.replace(temporary, self._path)
