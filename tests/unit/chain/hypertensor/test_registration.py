"""Registering subnets and nodes on a chain of the newest source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from epochgate.chain.hypertensor.account import Account
from epochgate.chain.hypertensor.calls import fill_call
from epochgate.chain.hypertensor.registration import (
    NewNode,
    NewSubnet,
    Step,
    plan_activation,
    plan_node,
    plan_subnet,
)
from epochgate.chain.hypertensor.rpc import Rpc
from epochgate.keys import format_peer_id
from epochgate.ports import ChainRefused
from tests.support.hypertensor_values import ALITH, NEWEST_CALLS
from tests.support.identities import alice

NEWEST_SUBNET = {
    *("name", "repo", "description", "misc", "min_stake", "max_stake"),
    *("delegate_stake_percentage", "initial_validators", "bootnodes"),
}
"""The fields of its `RegistrationSubnetData`."""


class NewestChain(Rpc):
    """What registering asks of a chain of the newest source: coldkeys become validators there, each
    with a number.
    """

    def __init__(self, validators: dict[str, int]) -> None:
        super().__init__("ws://127.0.0.1:1")
        self._validators = validators

    async def request(self, method: str, parameters: Sequence[Any] = ()) -> Any:
        return "0x00"

    async def has_storage(self, name: str) -> bool:
        return name == "ColdkeyValidatorId"

    async def query(
        self, name: str, parameters: Sequence[Any], block_hash: str, *, pallet: str = "Network"
    ) -> Any:
        return self._validators.get(parameters[0]) if name == "ColdkeyValidatorId" else None


def fill_newest(step: Step) -> dict[str, Any]:
    return fill_call(step.call, NEWEST_CALLS[step.call], step.known)


async def test_on_the_newest_chain_a_coldkey_becomes_a_validator_before_it_registers_nodes() -> (
    None
):
    owner = Account(ALITH)
    hotkey = Account(b"h" * 32).address
    node = NewNode(
        subnet_id=7,
        author=alice.author,
        hotkey=hotkey,
        stake=100,
        max_burn=50,
        hotkey_balance=0,
        role_field="non_unique",
        role_text="hoster",
    )

    (step,) = await plan_node(NewestChain({}), owner, node)
    assert fill_newest(step) == {
        "hotkey": hotkey,
        "delegate_reward_rate": 0,
        "delegate_account": None,
        "identity": None,
    }

    (step,) = await plan_node(NewestChain({owner.address: 3}), owner, node)
    assert fill_newest(step) == {
        "validator_id": 3,
        "subnet_id": 7,
        "hotkey": hotkey,
        "peer_info": {"peer_id": format_peer_id(alice.author), "multiaddr": None},
        "bootnode_peer_info": None,
        "client_peer_info": None,
        "stake_to_be_added": 100,
        "unique": None,
        "non_unique": "0x" + b"hoster".hex(),
        "max_burn_amount": 50,
    }


async def test_on_the_newest_chain_a_subnet_names_its_first_validators_by_number() -> None:
    owner = Account(ALITH)
    subnet = NewSubnet(
        name="a", repo="b", max_cost=100, min_stake=1, max_stake=2, coldkeys={owner.address: 2}
    )

    (step,) = await plan_subnet(NewestChain({owner.address: 3}), owner, subnet)
    filled = fill_newest(step)
    assert set(filled["subnet_data"]) == NEWEST_SUBNET
    assert filled["subnet_data"]["initial_validators"] == [(3, 2)]
    assert fill_newest(*plan_activation(owner, 7)) == {"subnet_id": 7}
    with pytest.raises(
        ChainRefused, match="is not a validator of the chain yet: register it first"
    ):
        await plan_subnet(NewestChain({}), owner, subnet)
