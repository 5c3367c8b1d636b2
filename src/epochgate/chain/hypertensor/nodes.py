"""The chain's nodes, and the roster that follows from them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from epochgate.chain.hypertensor.calls import read_bytes
from epochgate.chain.hypertensor.units import BlockHash
from epochgate.core.roster import HOSTER, ROLE_NAMES, VALIDATOR, Member
from epochgate.core.types import Epoch, PeerId
from epochgate.keys import parse_peer_id

CLASSES = ("Registered", "Idle", "Included", "Validator")
"""The chain's classes of a node, lowest first (network pallet, `SubnetNodeClass`)."""
SCORED_CLASS = CLASSES.index("Included")
"""The lowest class for which the chain takes scores; a node rises only while it is scored."""
ATTESTING_CLASS = CLASSES.index("Validator")
SEED_DOMAIN = b"epochgate/hypertensor/seed/1\0"


class ChainNode(msgspec.Struct, frozen=True, kw_only=True):
    """A registered node.

    `author` is None where the node's peer id holds no Ed25519 key, so that it cannot take part.
    `node_class` is an index into CLASSES, which counts from `start_epoch` on. `fields` are the
    registration's texts by name, `stake` is in the chain's smallest unit.
    """

    node_id: int
    author: PeerId | None
    hotkey: str | None
    node_class: int
    start_epoch: Epoch
    fields: dict[str, str]
    stake: int = 0

    def is_of_class(self, node_class: int, epoch: Epoch) -> bool:
        """Whether the node is of `node_class` or higher in `epoch`."""
        return self.node_class >= node_class and self.start_epoch <= epoch

    @property
    def class_name(self) -> str:
        return CLASSES[self.node_class]


def parse_node(raw: Mapping[str, Any], *, stake: int = 0) -> ChainNode:
    """Read a `SubnetNode` of the chain.

    The fields of a node differ between runtimes; those read here are in all of them.
    """
    classification = raw["classification"]
    try:
        author = parse_peer_id(read_bytes(raw["peer_info"]["peer_id"]).decode())
    except ValueError:
        author = None
    fields = {
        name: read_bytes(raw[name]).decode(errors="replace")
        for name in ("unique", "non_unique")
        if raw.get(name)
    }
    return ChainNode(
        node_id=raw["id"],
        author=author,
        hotkey=raw.get("hotkey"),
        node_class=CLASSES.index(classification["node_class"]),
        start_epoch=classification["start_epoch"],
        fields=fields,
        stake=stake,
    )


def find_node(nodes: Iterable[ChainNode], author: PeerId | None) -> ChainNode | None:
    """The node of `author`, None where it is not registered or `author` is None."""
    if author is None:
        return None
    return next((node for node in nodes if node.author == author), None)


def compute_roles(text: str) -> int:
    """The roles that a registration field names: `hoster`, `validator`, or both with a comma.

    Other words are ignored. A field that names no role gives both (docs/spec.md#9-proof-of-stake).
    """
    roles = 0
    for name in text.split(","):
        roles |= ROLE_NAMES.get(name.strip().lower(), 0)
    return roles or int(HOSTER | VALIDATOR)


def compute_members(nodes: Iterable[ChainNode], role_field: str) -> list[Member]:
    """The members of a roster.

    Args:
        nodes: The chain's nodes; those without an Ed25519 peer id are left out.
        role_field: The registration field that names a node's roles; where it is empty, all nodes
            have both.

    Returns:
        One member for each node.
    """
    return [
        Member(node.author, compute_roles(node.fields.get(role_field, "")), node.stake)
        for node in nodes
        if node.author is not None
    ]


def compute_seed(block_hash: BlockHash) -> bytes:
    """An epoch's seed: SHA-256 over a domain and the hash of the snapshot's block."""
    return hashlib.sha256(SEED_DOMAIN + bytes.fromhex(block_hash.removeprefix("0x"))).digest()
