"""Putting a subnet and its nodes on the chain: what would be sent, step by step, before anything is
spent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from epochgate.chain.hypertensor.account import Account
from epochgate.chain.hypertensor.rpc import PALLET, Rpc
from epochgate.core.types import PeerId
from epochgate.keys import format_peer_id
from epochgate.ports import ChainRefused

UNIT = 10**18
"""One TENSOR in the chain's smallest unit."""
SEND_SECONDS = 60.0


class Step(msgspec.Struct, frozen=True):
    """One extrinsic. `words` say what it does and what it spends."""

    words: str
    account: Account
    call: str
    known: Mapping[str, Any]
    pallet: str = PALLET


class NewSubnet(msgspec.Struct, frozen=True):
    """Amounts are in the chain's smallest unit. `coldkeys` own the first nodes: address to how
    many. `bootnodes` are peer id and multiaddress, both as text, the latter in its binary form.
    """

    name: str
    repo: str
    max_cost: int
    min_stake: int
    max_stake: int
    coldkeys: Mapping[str, int]
    bootnodes: Sequence[tuple[str, bytes]] = ()


class NewNode(msgspec.Struct, frozen=True):
    """`hotkey_balance` is what an empty hotkey is sent; `role_text` goes into the registration's
    field `role_field`.
    """

    subnet_id: int
    author: PeerId
    hotkey: str
    stake: int
    max_burn: int
    hotkey_balance: int
    role_field: str
    role_text: str


async def send(rpc: Rpc, steps: Sequence[Step]) -> None:
    """One after the other. Raises ChainRefused at the first that the chain refuses."""
    for step in steps:
        await rpc.send(
            step.account, step.call, step.known, timeout_seconds=SEND_SECONDS, pallet=step.pallet
        )


async def get_balance(rpc: Rpc, address: str) -> int:
    """What the account may spend."""
    found = await rpc.query(
        "Account", [address], await rpc.request("chain_getBlockHash"), pallet="System"
    )
    return int(found["data"]["free"]) if found else 0


async def plan_subnet(rpc: Rpc, owner: Account, subnet: NewSubnet) -> list[Step]:
    """Who may register first is named by coldkey on the deployed runtime, by validator number in
    the newest source.
    """
    data: dict[str, Any] = {
        "name": _to_hex(subnet.name),
        "repo": _to_hex(subnet.repo),
        "description": _to_hex(subnet.name),
        "misc": "0x",
        "min_stake": subnet.min_stake,
        "max_stake": subnet.max_stake,
        "delegate_stake_percentage": UNIT // 10,
        "bootnodes": sorted((peer, f"0x{address.hex()}") for peer, address in subnet.bootnodes),
    }
    if await rpc.has_storage("ColdkeyValidatorId"):
        head = await rpc.request("chain_getBlockHash")
        numbers = {
            key: await rpc.query("ColdkeyValidatorId", [key], head) for key in subnet.coldkeys
        }
        if missing := [key for key, number in numbers.items() if number is None]:
            raise ChainRefused(
                f"{missing[0]} is no validator of the chain yet: register it first, on its owner's"
                " machine"
            )
        data["initial_validators"] = sorted(
            (numbers[key], count) for key, count in subnet.coldkeys.items()
        )
    else:
        data["initial_coldkeys"] = sorted(
            subnet.coldkeys.items(), key=lambda item: bytes.fromhex(item[0][2:])
        )
    words = (
        f"register the subnet {subnet.name!r} for at most {_tensor(subnet.max_cost)}, owned by"
        f" {owner.address}"
    )
    known = {"max_cost": subnet.max_cost, "subnet_data": data}
    return [Step(words, owner, "register_subnet", known)]


async def plan_node(rpc: Rpc, coldkey: Account, node: NewNode) -> list[Step]:
    """The newest source wants a validator identity of the coldkey first; the deployed runtime knows
    none.
    """
    steps: list[Step] = []
    if node.hotkey_balance and not await get_balance(rpc, node.hotkey):
        words = (
            f"send {_tensor(node.hotkey_balance)} to the hotkey {node.hotkey}, so that the chain"
            " takes its extrinsics"
        )
        known: dict[str, Any] = {"dest": node.hotkey, "value": node.hotkey_balance}
        steps.append(Step(words, coldkey, "transfer_keep_alive", known, "Balances"))
    validator_id = None
    if await rpc.has_storage("ColdkeyValidatorId"):
        head = await rpc.request("chain_getBlockHash")
        validator_id = await rpc.query("ColdkeyValidatorId", [coldkey.address], head)
        if validator_id is None:
            known = {"hotkey": node.hotkey, "delegate_reward_rate": 0}
            steps.append(
                Step(
                    f"make {coldkey.address} a validator of the chain",
                    coldkey,
                    "register_validator",
                    known,
                )
            )
            return (
                steps  # its number is known only then: the node is registered by calling this again
            )
    words = (
        f"register {format_peer_id(node.author)} as a node of subnet {node.subnet_id} with a stake"
        f" of {_tensor(node.stake)}, burning at most {_tensor(node.max_burn)}"
    )
    known = {
        "validator_id": validator_id,
        "subnet_id": node.subnet_id,
        "hotkey": node.hotkey,
        "peer_info": {"peer_id": format_peer_id(node.author), "multiaddr": None},
        "delegate_reward_rate": 0,
        "stake_to_be_added": node.stake,
        "max_burn_amount": node.max_burn,
    }
    if node.role_text and node.role_field:
        known[node.role_field] = _to_hex(node.role_text)
    return [*steps, Step(words, coldkey, "register_subnet_node", known)]


def plan_activation(owner: Account, subnet_id: int) -> list[Step]:
    return [
        Step(f"activate subnet {subnet_id}", owner, "activate_subnet", {"subnet_id": subnet_id})
    ]


async def find_subnet(rpc: Rpc, owner: str) -> int | None:
    """The number of the newest subnet that `owner` has registered."""
    head = await rpc.request("chain_getBlockHash")
    for subnet_id in sorted(
        (raw["id"] for raw in await rpc.query_map("SubnetsData", [], head)), reverse=True
    ):
        if str(await rpc.query("SubnetOwner", [subnet_id], head)).lower() == owner.lower():
            return int(subnet_id)
    return None


def _to_hex(text: str) -> str:
    return "0x" + text.encode().hex()


def _tensor(amount: int) -> str:
    return f"{amount / UNIT:g} TENSOR"
