"""The addresses at which peers were seen last, on disk.

With them a node whose bootstrap peers are gone finds its way back into the network.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import msgspec

from epochgate.keys import parse_peer_id

FILE_NAME = "peers.json"
MAX_PEERS = 1000
MAX_ADDRESSES = 4
"""Addresses kept for each peer, those that libp2p tries first."""


class PeerAddress(NamedTuple):
    """A peer's id as text (12D3KooW...), and a multiaddress at which it may be reached."""

    peer: str
    address: str


def parse_peer_address(text: str) -> PeerAddress:
    """Split `ADDRESS/p2p/PEER`. Raise ValueError where PEER is not the id of an Ed25519 key."""
    address, _, peer = text.rpartition("/p2p/")
    if not address.startswith("/"):
        raise ValueError(
            f"{text!r} is not an address of a peer like /ip4/127.0.0.1/tcp/4001/p2p/12D3KooW..."
        )
    parse_peer_id(peer)
    return PeerAddress(peer, address)


class PeerStore:
    """Peers in the order in which they were seen, the latest at the end.

    A file that is missing or damaged is an empty store, for what it holds can be learnt again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._addresses: dict[str, list[str]] = {}
        with suppress(OSError, UnicodeDecodeError, msgspec.DecodeError):
            self._addresses = msgspec.json.decode(path.read_bytes(), type=dict[str, list[str]])

    def note(self, seen: Mapping[str, Sequence[str]]) -> None:
        """Remember peers that are connected now.

        What is new goes to disk. Beyond MAX_PEERS the peers that were not seen for longest are
        forgotten.

        Args:
            seen: The addresses of each peer, by its id as text.
        """
        before = {peer: self._addresses.get(peer) for peer in seen}
        now = {peer: list(addresses[:MAX_ADDRESSES]) for peer, addresses in seen.items()}
        others = {peer: self._addresses[peer] for peer in self._addresses if peer not in now}
        kept = others | now
        self._addresses = dict(islice(kept.items(), max(0, len(kept) - MAX_PEERS), None))
        if before != now:
            self._save()

    def get_recent(self, count: int) -> list[PeerAddress]:
        """All addresses of the `count` peers that were seen last, the latest first."""
        newest = islice(reversed(self._addresses.items()), count)
        return [PeerAddress(peer, address) for peer, addresses in newest for address in addresses]

    def _save(self) -> None:
        """Replace the file in one step, so that a kill leaves one that can be read.

        A full disk costs the file, and not the node.
        """
        temporary = self._path.with_suffix(".tmp")
        with suppress(OSError):
            temporary.write_bytes(msgspec.json.encode(self._addresses))
            os.replace(temporary, self._path)
