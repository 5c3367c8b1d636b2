"""One subnet as the chain's storage holds it: its facts, its nodes, its submissions.

Reads only, each at one block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from epochgate.chain.hypertensor.calls import Args, decode_args, read_bytes
from epochgate.chain.hypertensor.nodes import ATTESTING_CLASS, SCORED_CLASS, ChainNode, parse_node
from epochgate.chain.hypertensor.rpc import Rpc
from epochgate.chain.hypertensor.units import UNIT, BlockHash
from epochgate.core.types import NOBODY, BlockNumber, Epoch, Hash32, PeerId
from epochgate.errors import EpochgateError
from epochgate.ports import OnChain, Submission

REGISTERED = "Registered"
PAUSED = "Paused"


class NoSuchSubnet(EpochgateError, LookupError):
    """The chain has no subnet of that number; the message says what to do."""


class SubnetFacts(msgspec.Struct, frozen=True):
    """The chain's entry of a subnet.

    `state` is Registered, Active or Paused. Epochs count from block `slot` on, and `start_epoch` is
    the first in which the chain elects a node.
    """

    name: str
    state: str
    slot: BlockNumber
    start_epoch: Epoch

    @property
    def is_active(self) -> bool:
        """Whether its owner has activated it; a paused subnet is active too."""
        return self.state != REGISTERED

    @property
    def is_paused(self) -> bool:
        return self.state == PAUSED


class SubnetReader:
    """Reads one subnet. Each method raises ChainUnreachable where the chain does not answer."""

    def __init__(self, rpc: Rpc, subnet_id: int) -> None:
        self._rpc = rpc
        self._subnet_id = subnet_id

    async def get_facts(self, block_hash: BlockHash) -> SubnetFacts:
        """Raise NoSuchSubnet where the chain has none of this number."""
        data = await self._rpc.query("SubnetsData", [self._subnet_id], block_hash)
        slot = await self._rpc.query("SubnetSlot", [self._subnet_id], block_hash)
        if data is None or slot is None:
            raise NoSuchSubnet(await self._advise(block_hash))
        return SubnetFacts(
            name=read_bytes(data["name"]).decode(errors="replace"),
            state=data["state"],
            slot=slot,
            start_epoch=data["start_epoch"],
        )

    async def get_nodes(
        self, block_hash: BlockHash, *, with_queue: bool = False
    ) -> list[ChainNode]:
        """The subnet's nodes in order of their number.

        Args:
            block_hash: The block to read at.
            with_queue: Whether to read nodes that wait to be let in, too.

        Returns:
            The nodes, with their stakes.
        """
        raws = await self._rpc.query_map("SubnetNodesData", [self._subnet_id], block_hash)
        if with_queue:
            raws += await self._rpc.query_map(
                "RegisteredSubnetNodesData", [self._subnet_id], block_hash
            )
        raws.sort(key=lambda raw: raw["id"])
        stakes = await self._get_stakes(raws, block_hash)
        return [parse_node(raw, stake=stake) for raw, stake in zip(raws, stakes, strict=True)]

    async def get_elected_id(self, epoch: Epoch, block_hash: BlockHash) -> int | None:
        """The number of the node that is elected in `epoch`, None while there is none."""
        node_id: int | None = await self._rpc.query(
            "SubnetElectedValidator", [self._subnet_id, epoch], block_hash
        )
        return node_id

    async def get_submission(self, epoch: Epoch, block_hash: BlockHash) -> OnChain | None:
        """The submission made in `epoch`, None while there is none."""
        raw = await self._rpc.query(
            "SubnetConsensusSubmission", [self._subnet_id, epoch], block_hash
        )
        if raw is None:
            return None
        min_share = await self._rpc.query("MinAttestationPercentage", [], block_hash)
        return parse_submission(raw, epoch, min_share=min_share)

    async def _get_stakes(
        self, raws: Sequence[Mapping[str, Any]], block_hash: BlockHash
    ) -> list[int]:
        """The nodes' stakes, kept by hotkey in the deployed runtime, by node in the newest."""
        if not raws:
            return []
        name = "AccountSubnetStake"
        owner_field = "hotkey"
        if await self._rpc.has_storage("NodeSubnetStake"):
            name = "NodeSubnetStake"
            owner_field = "id"
        keys = [[raw[owner_field], self._subnet_id] for raw in raws]
        return [stake or 0 for stake in await self._rpc.query_many(name, keys, block_hash)]

    async def _advise(self, block_hash: BlockHash) -> str:
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


def parse_submission(raw: Mapping[str, Any], epoch: Epoch, *, min_share: int) -> OnChain:
    """Read a `ConsensusData` of the chain.

    Node numbers become authors by the nodes that the chain noted down when it took the submission.
    An entry that no epochgate made has no bitmaps and an empty root, and every attestor refuses it.

    Args:
        raw: The entry, as the client library decodes it.
        epoch: The epoch it was made in.
        min_share: The share of the electors that has to attest, in parts of UNIT.

    Returns:
        The submission, and who has attested it.
    """
    nodes = {node.node_id: node for node in map(parse_node, raw["subnet_nodes"])}
    args = Args(0, epoch, (), Hash32(b""))
    if raw["args"]:
        args = decode_args(read_bytes(raw["args"])) or args
    scores = _read_scores(raw, nodes, args, epoch)
    submission = Submission(args.epoch, scores, args.bitmaps, args.root)
    attested = set(raw["attests"])
    authors = [
        _get_author(nodes, node_id) for node_id in attested if node_id != raw["validator_id"]
    ]
    return OnChain(
        submission=submission,
        submitter=_get_author(nodes, raw["validator_id"]) or NOBODY,
        block=raw["block"],
        attested_by=tuple(sorted(author for author in authors if author is not None)),
        is_attested=len(attested) * UNIT >= min_share * max(1, _count_electors(raw, nodes)),
    )


def _read_scores(
    raw: Mapping[str, Any], nodes: Mapping[int, ChainNode], args: Args, epoch: Epoch
) -> dict[PeerId, int]:
    """All scores, in order of author: the chain's own entries, and of others those in the args.

    A score in the args of a node that the chain takes one for is ignored: it may not be moved there
    to evade the chain.
    """
    scores: dict[PeerId, int] = {}
    for entry in raw["data"]:
        author = _get_author(nodes, entry["subnet_node_id"])
        if author is not None:
            scores[author] = entry["score"]
    scored = {node.author for node in nodes.values() if node.is_of_class(SCORED_CLASS, epoch)}
    scores |= {author: score for author, score in args.scores.items() if author not in scored}
    return {author: scores[author] for author in sorted(scores)}


def _count_electors(raw: Mapping[str, Any], nodes: Mapping[int, ChainNode]) -> int:
    """The number of nodes that may attest; only the newest runtime lists them."""
    listed = raw.get("validator_ids")
    if listed:
        return len(listed)
    return sum(node.node_class >= ATTESTING_CLASS for node in nodes.values())


def _get_author(nodes: Mapping[int, ChainNode], node_id: int) -> PeerId | None:
    node = nodes.get(node_id)
    if node is None:
        return None
    return node.author
