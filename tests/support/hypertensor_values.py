"""Calls, nodes and submissions as values, in the form that Hypertensor's runtimes give them."""

from __future__ import annotations

from typing import Any

from epochgate.chain.hypertensor.calls import Args, Field, encode_args
from epochgate.core.types import Epoch, Hash32
from epochgate.keys import format_peer_id
from tests.support.identities import alice, bob, carol

ALITH = bytes.fromhex("5fb92d6e98884f76de468fa3f6278f8807c48bebc13595d45af5bdc4da702133")

ALITH_ADDRESS = "0xf24FF3a9CF04c71Dbc94D0b566f7A27B94566cac"

DEPLOYED_ATTEST = [
    Field("subnet_id", "u32"),
    Field("attest_data", "Option<BoundedVec<u8, DefaultValidatorArgsLimit>>"),
]

NEWEST_ATTEST = [
    Field("subnet_id", "u32"),
    Field("subnet_node_id", "u32"),
    Field("data", "Option<ValidatorArgs<T>>"),
]

NEWEST_CALLS = {
    "propose_attestation": [
        Field("subnet_id", "u32"),
        Field("subnet_node_id", "u32"),
        Field("data", "Vec<SubnetNodeConsensusData>"),
        Field("prioritize_queue_node_id", "Option<u32>"),
        Field("remove_queue_node_id", "Option<u32>"),
        Field("args", "Option<ValidatorArgs<T>>"),
        Field("attest_data", "Option<ValidatorArgs<T>>"),
    ],
    "register_validator": [
        Field("hotkey", "T::AccountId"),
        Field("delegate_reward_rate", "u128"),
        Field("delegate_account", "Option<DelegateAccount<T::AccountId>>"),
        Field("identity", "Option<IdentityData<T>>"),
    ],
    "register_subnet": [
        Field("max_cost", "u128"),
        Field("subnet_data", "RegistrationSubnetData<T>"),
    ],
    "register_subnet_node": [
        Field("validator_id", "u32"),
        Field("subnet_id", "u32"),
        Field("hotkey", "Option<T::AccountId>"),
        Field("peer_info", "PeerInfo<T>"),
        Field("bootnode_peer_info", "Option<PeerInfo<T>>"),
        Field("client_peer_info", "Option<PeerInfo<T>>"),
        Field("stake_to_be_added", "u128"),
        Field("unique", "Option<NetworkBytes<T>>"),
        Field("non_unique", "Option<NetworkBytes<T>>"),
        Field("max_burn_amount", "u128"),
    ],
    "activate_subnet": [Field("subnet_id", "u32")],
}
"""As in the network pallet's source of 16 June 2026, commit e9620fe2."""


def make_raw_node(
    number: int,
    peer_id: str,
    node_class: str = "Validator",
    start: int = 0,
    text: str | None = None,
) -> Any:
    return {
        "id": number,
        "hotkey": f"0x{number:040x}",
        "peer_info": {"peer_id": peer_id, "multiaddr": None},
        "classification": {"node_class": node_class, "start_epoch": start},
        "unique": None,
        "non_unique": text,
    }


def make_consensus(**changes: Any) -> Any:
    nodes = [
        make_raw_node(number, format_peer_id(key.author))
        for number, key in enumerate((alice, bob, carol), start=1)
    ]
    args = "0x" + encode_args(Args(1, Epoch(6), (b"\x07",), Hash32(b"r" * 32))).hex()
    raw = {
        "validator_id": 1,
        "block": 130,
        "attests": {1: {}, 2: {}},
        "subnet_nodes": nodes,
        "data": [{"subnet_node_id": number, "score": number} for number in (1, 2, 3)],
        "args": args,
    }
    return raw | changes
