"""Putting a subnet and its nodes on the chain: the extrinsics, step by step, before any is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from epochgate.chain.hypertensor.account import Account
from epochgate.chain.hypertensor.rpc import PALLET, Rpc
from epochgate.chain.hypertensor.units import UNIT
from epochgate.core.types import PeerId
from epochgate.keys import format_peer_id
from epochgate.ports import ChainRefused

SEND_SECONDS = 60.0
DELEGATE_SHARE = UNIT // 10
"""The share of the rewards that goes to delegates."""


class Step(msgspec.Struct, frozen=True):
    """One extrinsic. `description` tells the operator what it does and what it spends."""

    description: str
    account: Account
    call: str
    known: Mapping[str, Any]
    pallet: str = PALLET


class NewSubnet(msgspec.Struct, frozen=True, kw_only=True):
    """A subnet to register. Amounts are in the chain's smallest unit.

    `coldkeys` may register the first nodes: address to number of nodes. `bootnodes` are peer ids as
    text, each with its multiaddress in binary form.
    """

    name: str
    repo: str
    max_cost: int
    min_stake: int
    max_stake: int
    coldkeys: Mapping[str, int]
    bootnodes: Sequence[tuple[str, bytes]] = ()


class NewNode(msgspec.Struct, frozen=True, kw_only=True):
    """A node to register. Amounts are in the chain's smallest unit.

    An empty hotkey is sent `hotkey_balance`; 0 sends nothing. `role_text` goes into the field
    `role_field` of the registration.
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
    """Send one after the other. Raise ChainRefused at the first that the chain refuses."""
    for step in steps:
        await rpc.send(
            step.account, step.call, step.known, timeout_seconds=SEND_SECONDS, pallet=step.pallet
        )


async def get_balance(rpc: Rpc, address: str) -> int:
    """The amount that the account may spend, in the chain's smallest unit."""
    found = await rpc.query("Account", [address], await rpc.get_head_hash(), pallet="System")
    if not found:
        return 0
    return int(found["data"]["free"])


async def plan_subnet(rpc: Rpc, owner: Account, subnet: NewSubnet) -> list[Step]:
    """The steps that register a subnet.

    Args:
        rpc: The chain's server.
        owner: The account that pays, and owns the subnet.
        subnet: The subnet.

    Returns:
        The steps, in the order in which to send them.

    Raises:
        ChainRefused: The chain wants a coldkey to be a validator of the chain first.
    """
    first_nodes_field, first_nodes = await _list_first_nodes(rpc, subnet.coldkeys)
    data = {
        "name": _to_hex(subnet.name),
        "repo": _to_hex(subnet.repo),
        "description": _to_hex(subnet.name),
        "misc": "0x",
        "min_stake": subnet.min_stake,
        "max_stake": subnet.max_stake,
        "delegate_stake_percentage": DELEGATE_SHARE,
        "bootnodes": sorted((peer, f"0x{address.hex()}") for peer, address in subnet.bootnodes),
        first_nodes_field: first_nodes,
    }
    description = (
        f"register the subnet {subnet.name!r} for at most {_format_amount(subnet.max_cost)}, owned"
        f" by {owner.address}"
    )
    known = {"max_cost": subnet.max_cost, "subnet_data": data}
    return [Step(description, owner, "register_subnet", known)]


async def plan_node(rpc: Rpc, coldkey: Account, node: NewNode) -> list[Step]:
    """The steps that register a node.

    The newest source wants the coldkey to be a validator of the chain first, and its number is
    known only then. So where the last step is `register_validator`, send the steps and call this
    again. The deployed runtime has no such validators.
    """
    steps: list[Step] = []
    if node.hotkey_balance and not await get_balance(rpc, node.hotkey):
        steps.append(_plan_transfer(coldkey, node))
    validator_id = None
    if await rpc.has_storage("ColdkeyValidatorId"):
        validator_id = await _find_validator_id(rpc, coldkey.address)
        if validator_id is None:
            return [*steps, _plan_validator(coldkey, node)]
    return [*steps, _plan_registration(coldkey, node, validator_id)]


def plan_activation(owner: Account, subnet_id: int) -> list[Step]:
    """The steps that activate a subnet."""
    known = {"subnet_id": subnet_id}
    return [Step(f"activate subnet {subnet_id}", owner, "activate_subnet", known)]


async def find_subnet(rpc: Rpc, owner: str) -> int | None:
    """The number of the newest subnet that `owner`, an address, has registered."""
    head_hash = await rpc.get_head_hash()
    subnet_ids = [int(raw["id"]) for raw in await rpc.query_map("SubnetsData", [], head_hash)]
    for subnet_id in sorted(subnet_ids, reverse=True):
        registered_by = await rpc.query("SubnetOwner", [subnet_id], head_hash)
        if str(registered_by).lower() == owner.lower():
            return subnet_id
    return None


async def _list_first_nodes(
    rpc: Rpc, coldkeys: Mapping[str, int]
) -> tuple[str, list[tuple[Any, int]]]:
    """The field that says who may register the first nodes, and its value.

    The deployed runtime names them by coldkey, the newest source by the coldkey's validator number.
    """
    if not await rpc.has_storage("ColdkeyValidatorId"):
        by_address = sorted(coldkeys.items(), key=lambda item: bytes.fromhex(item[0][2:]))
        return "initial_coldkeys", list(by_address)
    by_number = []
    for coldkey, count in coldkeys.items():
        validator_id = await _find_validator_id(rpc, coldkey)
        if validator_id is None:
            raise ChainRefused(
                f"{coldkey} is not a validator of the chain yet",
                "register it first, on its owner's machine",
            )
        by_number.append((validator_id, count))
    return "initial_validators", sorted(by_number)


async def _find_validator_id(rpc: Rpc, coldkey: str) -> int | None:
    """The number of the coldkey as a validator of the chain, None where it is not one."""
    validator_id: int | None = await rpc.query(
        "ColdkeyValidatorId", [coldkey], await rpc.get_head_hash()
    )
    return validator_id


def _plan_transfer(coldkey: Account, node: NewNode) -> Step:
    description = (
        f"send {_format_amount(node.hotkey_balance)} to the hotkey {node.hotkey}, so that the chain"
        " takes its extrinsics"
    )
    known = {"dest": node.hotkey, "value": node.hotkey_balance}
    return Step(description, coldkey, "transfer_keep_alive", known, "Balances")


def _plan_validator(coldkey: Account, node: NewNode) -> Step:
    description = f"make {coldkey.address} a validator of the chain"
    known = {"hotkey": node.hotkey, "delegate_reward_rate": 0}
    return Step(description, coldkey, "register_validator", known)


def _plan_registration(coldkey: Account, node: NewNode, validator_id: int | None) -> Step:
    peer_id = format_peer_id(node.author)
    description = (
        f"register {peer_id} as a node of subnet {node.subnet_id} with a stake of"
        f" {_format_amount(node.stake)}, burning at most {_format_amount(node.max_burn)}"
    )
    known = {
        "validator_id": validator_id,
        "subnet_id": node.subnet_id,
        "hotkey": node.hotkey,
        "peer_info": {"peer_id": peer_id, "multiaddr": None},
        "delegate_reward_rate": 0,
        "stake_to_be_added": node.stake,
        "max_burn_amount": node.max_burn,
    }
    if node.role_text and node.role_field:
        known[node.role_field] = _to_hex(node.role_text)
    return Step(description, coldkey, "register_subnet_node", known)


def _to_hex(text: str) -> str:
    return "0x" + text.encode().hex()


def _format_amount(amount: int) -> str:
    return f"{amount / UNIT:g} TENSOR"
