"""What the chain says of one subnet: its facts, its nodes, its submissions. Reads only, each at one
block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from epochgate.chain.hypertensor.calls import decode_args, read_bytes
from epochgate.chain.hypertensor.nodes import ATTESTING_CLASS, SCORED_CLASS, ChainNode, parse_node
from epochgate.chain.hypertensor.rpc import Rpc
from epochgate.core.types import NOBODY, BlockNumber, Epoch, Hash32, PeerId
from epochgate.errors import EpochgateError
from epochgate.ports import OnChain, Submission

SHARE = 10**18
"""The chain's shares are of this."""
REGISTERED = "Registered"


class NoSuchSubnet(EpochgateError, LookupError):
    """The chain has no subnet of that number; the message says what to do."""


class SubnetFacts(msgspec.Struct, frozen=True):
    """What the chain keeps of a subnet. `state` is Registered, Active or Paused; epochs count from
    `slot` on, and the first in which a node is elected is `start_epoch`.
    """

    name: str
    state: str
    slot: BlockNumber
    start_epoch: Epoch

    @property
    def is_active(self) -> bool:
        return self.state != REGISTERED


class SubnetReader:
    def __init__(self, rpc: Rpc, subnet_id: int) -> None:
        self._rpc = rpc
        self._subnet_id = subnet_id

    async def get_facts(self, block_hash: str) -> SubnetFacts:
        """Raises NoSuchSubnet."""
        data = await self._rpc.query("SubnetsData", [self._subnet_id], block_hash)
        slot = await self._rpc.query("SubnetSlot", [self._subnet_id], block_hash)
        if data is None or slot is None:
            raise NoSuchSubnet(await self._advise(block_hash))
        return SubnetFacts(
            read_bytes(data["name"]).decode(errors="replace"),
            data["state"],
            slot,
            data["start_epoch"],
        )

    async def get_nodes(self, block_hash: str, *, with_queue: bool = False) -> list[ChainNode]:
        """The nodes of the subnet in order of their number; `with_queue` also those that wait to be
        let in.
        """
        raws = await self._rpc.query_map("SubnetNodesData", [self._subnet_id], block_hash)
        if with_queue:
            raws += await self._rpc.query_map(
                "RegisteredSubnetNodesData", [self._subnet_id], block_hash
            )
        raws.sort(key=lambda raw: raw["id"])
        stakes = await self._get_stakes(raws, block_hash)
        return [parse_node(raw, stake) for raw, stake in zip(raws, stakes, strict=True)]

    async def get_elected_id(self, epoch: Epoch, block_hash: str) -> int | None:
        found: int | None = await self._rpc.query(
            "SubnetElectedValidator", [self._subnet_id, epoch], block_hash
        )
        return found

    async def get_submission(self, epoch: Epoch, block_hash: str) -> OnChain | None:
        raw = await self._rpc.query(
            "SubnetConsensusSubmission", [self._subnet_id, epoch], block_hash
        )
        if raw is None:
            return None
        share = await self._rpc.query("MinAttestationPercentage", [], block_hash)
        return parse_submission(raw, epoch, share)

    async def _get_stakes(self, raws: Sequence[Mapping[str, Any]], block_hash: str) -> list[int]:
        """The deployed runtime keeps stake by hotkey, the newest source by node."""
        if not raws:
            return []
        is_by_node = await self._rpc.has_storage("NodeSubnetStake")
        name = "NodeSubnetStake" if is_by_node else "AccountSubnetStake"
        keys = [[raw["id"] if is_by_node else raw["hotkey"], self._subnet_id] for raw in raws]
        return [stake or 0 for stake in await self._rpc.query_many(name, keys, block_hash)]

    async def _advise(self, block_hash: str) -> str:
        number = await self._rpc.query("FriendlyUidSubnetId", [self._subnet_id], block_hash)
        if number:
            return (
                f"{self._subnet_id} is the friendly number of subnet {number}: give --subnet-id"
                f" {number}"
            )
        return (
            f"the chain has no subnet {self._subnet_id}: register it with `epochgate chain"
            " register-subnet`"
        )


def parse_submission(raw: Mapping[str, Any], epoch: Epoch, min_share: int) -> OnChain:
    """A `ConsensusData` of the chain. What is no submission of ours has no bitmaps, and every
    attestor refuses it.

    Node numbers become authors by the nodes that the chain noted down when it took the submission.
    """
    nodes = {node.node_id: node for node in map(parse_node, raw["subnet_nodes"])}
    args = decode_args(read_bytes(raw["args"])) if raw["args"] else None
    scores: dict[PeerId, int] = {}
    for entry in raw["data"]:
        author = _get_author(nodes, entry["subnet_node_id"])
        if author is not None:
            scores[author] = entry["score"]
    scored = {node.author for node in nodes.values() if node.is_of_class(SCORED_CLASS, epoch)}
    others = (
        {}
        if args is None
        else {author: score for author, score in args.scores.items() if author not in scored}
    )
    everybody = (
        scores | others
    )  # a score for somebody for whom the chain takes one stands in the data, or nowhere
    submission = Submission(
        epoch if args is None else args.epoch,
        {author: everybody[author] for author in sorted(everybody)},
        () if args is None else args.bitmaps,
        Hash32(b"") if args is None else args.root,
    )
    attested = set(raw["attests"])
    electors = raw.get("validator_ids") or [
        node_id for node_id, node in nodes.items() if node.node_class >= ATTESTING_CLASS
    ]
    is_attested = len(attested) * SHARE >= min_share * max(1, len(electors))
    authors = [
        _get_author(nodes, node_id) for node_id in attested if node_id != raw["validator_id"]
    ]
    attested_by = tuple(sorted(author for author in authors if author is not None))
    submitter = _get_author(nodes, raw["validator_id"]) or NOBODY
    return OnChain(submission, submitter, raw["block"], attested_by, is_attested)


def _get_author(nodes: Mapping[int, ChainNode], node_id: int) -> PeerId | None:
    node = nodes.get(node_id)
    return None if node is None else node.author
