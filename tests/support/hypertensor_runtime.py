"""A Hypertensor chain in memory, as far as a node asks it: for tests of the client without a
runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from epochgate.chain.hypertensor.account import Account
from epochgate.chain.hypertensor.calls import read_bytes
from epochgate.chain.hypertensor.rpc import ChainUnreachable, Rpc
from epochgate.chain.hypertensor.units import UNIT, BlockHash
from epochgate.core.types import BlockNumber, Epoch


class MemoryRuntime(Rpc):
    """One subnet whose blocks, nodes and elections a test sets.

    `branch` is a part of every block's hash: another one is a reorganisation. `failures` are raised
    by the next extrinsics, one by each; one in `late_failures` after the extrinsic took effect.
    """

    def __init__(self) -> None:
        super().__init__("ws://memory")
        self.head = BlockNumber(0)
        self.branch = "a"
        self.nodes: list[dict[str, Any]] = []
        self.elected: dict[Epoch, int] = {}
        self.submissions: dict[Epoch, dict[str, Any]] = {}
        self.sent: list[str] = []
        self.failures: list[Exception] = []
        self.late_failures: list[Exception] = []
        self.blocks_per_epoch = 20

    async def request(self, method: str, parameters: Sequence[Any] = ()) -> Any:
        assert method == "chain_getBlockHash"
        block = parameters[0] if parameters else self.head
        if block > self.head:
            return None
        return "0x" + f"{self.branch}{block}".encode().hex()

    async def has_storage(self, name: str) -> bool:
        return False

    async def query(
        self,
        name: str,
        parameters: Sequence[Any],
        block_hash: BlockHash,
        *,
        pallet: str = "Network",
    ) -> Any:
        values: dict[str, Any] = {
            "SubnetsData": {"name": "a subnet", "state": "Active", "start_epoch": 0},
            "SubnetSlot": 0,
            "MinAttestationPercentage": 66 * UNIT // 100,
        }
        if name == "SubnetElectedValidator":
            return self.elected.get(parameters[1])
        if name == "SubnetConsensusSubmission":
            return self.submissions.get(parameters[1])
        return values[name]

    async def query_map(
        self, name: str, parameters: Sequence[Any], block_hash: BlockHash
    ) -> list[Any]:
        return list(self.nodes) if name == "SubnetNodesData" else []

    async def query_many(
        self, name: str, keys: Sequence[Sequence[Any]], block_hash: BlockHash
    ) -> list[Any]:
        return [100 for _ in keys]

    async def send(
        self,
        account: Account,
        call: str,
        known: Mapping[str, Any],
        *,
        timeout_seconds: float,
        pallet: str = "Network",
    ) -> None:
        self.sent.append(call)
        if self.failures:
            raise self.failures.pop(0)
        epoch = Epoch(self.head // self.blocks_per_epoch)
        if call == "propose_attestation":
            self.submissions[epoch] = {
                "validator_id": known["subnet_node_id"],
                "block": self.head,
                "attests": {known["subnet_node_id"]: {}},
                "subnet_nodes": list(self.nodes),
                "data": known["data"],
                "args": read_bytes(known["args"]),
            }
        else:
            self.submissions[epoch]["attests"][known["subnet_node_id"]] = {}
        if self.late_failures:
            raise self.late_failures.pop(0)


def lose_answer() -> ChainUnreachable:
    return ChainUnreachable("ws://memory does not answer: look whether the chain node runs")
