"""The chain's nodes, and the roster that follows from them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from epochgate.chain.hypertensor.calls import read_bytes
from epochgate.core.roster import HOSTER, VALIDATOR, Member
from epochgate.core.types import Epoch, PeerId
from epochgate.keys import parse_peer_id

CLASSES = ("Registered", "Idle", "Included", "Validator")
"""The chain's classes of a node, lowest first (network pallet, `SubnetNodeClass`)."""
SCORED_CLASS = CLASSES.index("Included")
"""From here on the chain takes scores for a node; it climbs only while it is scored."""
ATTESTING_CLASS = CLASSES.index("Validator")
SEED_DOMAIN = b"epochgate/hypertensor/seed/1\0"
ROLE_NAMES = {"hoster": HOSTER, "validator": VALIDATOR}


class ChainNode(msgspec.Struct, frozen=True):
    """A registered node. `author` is None where its peer id holds no Ed25519 key, so that it can
    take no part.
    """

    node_id: int
    author: PeerId | None
    hotkey: str | None
    node_class: int
    start_epoch: Epoch
    fields: dict[str, str]
    stake: int = 0

    def is_of_class(self, node_class: int, epoch: Epoch) -> bool:
        return self.node_class >= node_class and self.start_epoch <= epoch

    @property
    def class_name(self) -> str:
        return CLASSES[self.node_class]


def parse_node(raw: Mapping[str, Any], stake: int = 0) -> ChainNode:
    """A `SubnetNode` of the chain, whose fields differ between runtimes; those read here are in all
    of them.
    """
    classification = raw["classification"]
    try:
        author = parse_peer_id(read_bytes(raw["peer_info"]["peer_id"]).decode())
    except ValueError:
        author = None
    texts = {
        name: read_bytes(raw[name]).decode(errors="replace")
        for name in ("unique", "non_unique")
        if raw.get(name)
    }
    node_class = CLASSES.index(classification["node_class"])
    return ChainNode(
        raw["id"],
        author,
        raw.get("hotkey"),
        node_class,
        classification["start_epoch"],
        texts,
        stake,
    )


def compute_roles(text: str) -> int:
    """The roles that a registration field names: `hoster`, `validator`, or both with a comma
    between. Anything else names none, and a node whose field names none holds both
    (docs/spec.md#9-proof-of-stake).
    """
    roles = 0
    for word in text.split(","):
        roles |= ROLE_NAMES.get(word.strip().lower(), 0)
    return roles or int(HOSTER | VALIDATOR)


def compute_members(nodes: Iterable[ChainNode], role_field: str) -> list[Member]:
    """`role_field` is the registration field that names a node's roles; an empty one gives
    everybody both.
    """
    return [
        Member(node.author, compute_roles(node.fields.get(role_field, "")), node.stake)
        for node in nodes
        if node.author is not None
    ]


def compute_seed(block_hash: str) -> bytes:
    """SHA-256 over a domain and the hash of the snapshot's block."""
    return hashlib.sha256(SEED_DOMAIN + bytes.fromhex(block_hash.removeprefix("0x"))).digest()
