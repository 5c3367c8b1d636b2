"""The client's own logic, without a chain: formulae, arguments, texts of the chain, heads over a
loopback server.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.asyncio.server import ServerConnection

from epochgate.chain.hypertensor.account import Account, find_account
from epochgate.chain.hypertensor.calls import (
    MAX_ARGS_BYTES,
    Args,
    Field,
    decode_args,
    encode_args,
    encode_submission,
    fill_call,
    read_bytes,
)
from epochgate.chain.hypertensor.chain import HypertensorChain
from epochgate.chain.hypertensor.clock import HeadClock
from epochgate.chain.hypertensor.heads import follow_heads
from epochgate.chain.hypertensor.nodes import (
    compute_members,
    compute_roles,
    compute_seed,
    parse_node,
)
from epochgate.chain.hypertensor.registration import (
    NewNode,
    NewSubnet,
    Step,
    plan_activation,
    plan_node,
    plan_subnet,
)
from epochgate.chain.hypertensor.rpc import ChainUnreachable, Rpc
from epochgate.chain.hypertensor.subnet import parse_submission
from epochgate.core.epoch import Timing, compute_deciding_block
from epochgate.core.policy_lint import check_policy
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.types import BlockNumber, Epoch, Hash32, PeerId
from epochgate.engine.system import SystemClock
from epochgate.keys import KeyFileError, format_peer_id
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.ports import ChainRefused, Submission
from tests.support.identities import alice, bob, carol, victor

ALITH = bytes.fromhex("5fb92d6e98884f76de468fa3f6278f8807c48bebc13595d45af5bdc4da702133")
ALITH_ADDRESS = "0xf24FF3a9CF04c71Dbc94D0b566f7A27B94566cac"
SHARE = 10**18


class StoppedClock:
    def __init__(self) -> None:
        self.unix_seconds = 1_700_000_000.0

    def get_unix_seconds(self) -> float:
        return self.unix_seconds


# Accounts.


def test_an_address_is_that_of_frontiers_development_account() -> None:
    assert Account(ALITH).address == ALITH_ADDRESS
    assert ALITH.hex() not in repr(Account(ALITH))


def test_a_signature_recovers_to_the_account() -> None:
    from eth_keys.datatypes import Signature

    account = Account(ALITH)
    signature = account.sign("0x" + b"extrinsic".hex())
    assert signature == account.sign(b"extrinsic")
    public_key = Signature(signature).recover_public_key_from_msg(b"extrinsic")
    assert public_key.to_checksum_address() == ALITH_ADDRESS


def test_a_key_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "hot.key"
    account = Account.create(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Account.load(path).address == account.address
    with pytest.raises(KeyFileError, match="never overwritten"):
        Account.create(path)
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="open to others"):
        Account.load(path)


def test_what_is_no_key_is_named_and_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "hot.key"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(descriptor, b"my secret phrase")
    os.close(descriptor)

    with pytest.raises(KeyFileError, match="no secp256k1 key") as refused:
        Account.load(path)
    assert "phrase" not in str(refused.value)
    with pytest.raises(KeyFileError, match="no secp256k1 key"):
        find_account(None, "HOT", {"HOT": "00" * 32})


def test_a_key_may_come_from_the_environment() -> None:
    assert find_account(None, "HOT", {"HOT": f"0x{ALITH.hex()}\n"}).address == ALITH_ADDRESS
    with pytest.raises(KeyFileError, match="into the environment as HOT"):
        find_account(None, "HOT", {})


# Arguments.

DEPLOYED_ATTEST = [
    Field("subnet_id", "u32"),
    Field("attest_data", "Option<BoundedVec<u8, DefaultValidatorArgsLimit>>"),
]
NEWEST_ATTEST = [
    Field("subnet_id", "u32"),
    Field("subnet_node_id", "u32"),
    Field("data", "Option<ValidatorArgs<T>>"),
]
KNOWN = {"subnet_id": 7, "subnet_node_id": 3, "attest_data": None}


def test_a_call_is_filled_for_the_deployed_and_for_the_newest_runtime() -> None:
    assert fill_call("attest", DEPLOYED_ATTEST, KNOWN) == {"subnet_id": 7, "attest_data": None}
    assert fill_call("attest", NEWEST_ATTEST, KNOWN) == {
        "subnet_id": 7,
        "subnet_node_id": 3,
        "data": None,
    }


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
        self, name: str, parameters: Sequence[Any], block_hash: str, pallet: str = "Network"
    ) -> Any:
        return self._validators.get(parameters[0]) if name == "ColdkeyValidatorId" else None


def fill_newest(step: Step) -> dict[str, Any]:
    return fill_call(step.call, NEWEST_CALLS[step.call], step.known)


async def test_on_the_newest_chain_a_coldkey_becomes_a_validator_before_it_registers_nodes() -> (
    None
):
    owner = Account(ALITH)
    hotkey = Account(b"h" * 32).address
    node = NewNode(7, alice.author, hotkey, 100, 50, 0, "non_unique", "hoster")

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
    subnet = NewSubnet("a", "b", 100, 1, 2, {owner.address: 2})

    (step,) = await plan_subnet(NewestChain({owner.address: 3}), owner, subnet)
    filled = fill_newest(step)
    assert set(filled["subnet_data"]) == NEWEST_SUBNET
    assert filled["subnet_data"]["initial_validators"] == [(3, 2)]
    assert fill_newest(*plan_activation(owner, 7)) == {"subnet_id": 7}
    with pytest.raises(ChainRefused, match="is no validator of the chain yet: register it first"):
        await plan_subnet(NewestChain({}), owner, subnet)


def test_the_newest_chain_is_told_which_node_submits() -> None:
    known = {"subnet_id": 7, "subnet_node_id": 3, "data": [], "args": "0x", "attest_data": None}
    filled = fill_call("propose_attestation", NEWEST_CALLS["propose_attestation"], known)
    assert filled == known | {"prioritize_queue_node_id": None, "remove_queue_node_id": None}


def test_a_field_that_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(ChainRefused, match=r"asks for 'fork' \(u32\).*: install a newer"):
        fill_call("attest", [*NEWEST_ATTEST, Field("fork", "u32")], KNOWN)


def test_args_are_read_back_and_no_others() -> None:
    args = Args(1, Epoch(9), (b"\x0f", b""), Hash32(b"r" * 32), {alice.author: 5})

    assert decode_args(encode_args(args)) == args
    assert decode_args(read_bytes("0x" + encode_args(args).hex())) == args
    for other in (None, b"", b"rubbish", encode_args(Args(2, Epoch(9), (), Hash32(b"")))):
        assert decode_args(other) is None
    with pytest.raises(UnicodeDecodeError):
        encode_args(args)[:1].decode()  # so the library never takes them for text


def test_args_that_the_chain_would_not_take_are_refused() -> None:
    with pytest.raises(ChainRefused, match="the roster is too large"):
        encode_args(Args(1, Epoch(9), (bytes(MAX_ARGS_BYTES),), Hash32(b"")))


# Nodes and submissions.


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


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("hoster", HOSTER),
        ("Validator", VALIDATOR),
        ("hoster, validator", HOSTER | VALIDATOR),
        ("", HOSTER | VALIDATOR),
        ("gpu=8", HOSTER | VALIDATOR),
    ],
)
def test_roles_come_from_the_registration_and_are_both_until_it_names_one(
    text: str, roles: int
) -> None:
    node = parse_node(make_raw_node(1, format_peer_id(alice.author), text=text or None))

    assert compute_roles(text) == roles
    assert compute_members([node], "non_unique")[0].roles == roles
    assert compute_members([node], "")[0].roles == HOSTER | VALIDATOR


def test_a_peer_id_without_a_key_takes_no_part() -> None:
    node = parse_node(make_raw_node(1, "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"))

    assert node.author is None
    assert compute_members([node], "") == []


def test_a_class_counts_from_its_epoch_on() -> None:
    node = parse_node(make_raw_node(1, format_peer_id(alice.author), "Included", start=4))

    assert [node.is_of_class(2, Epoch(epoch)) for epoch in (3, 4)] == [False, True]
    assert not node.is_of_class(3, Epoch(4))


def test_the_seed_is_a_digest_of_the_blocks_hash() -> None:
    import hashlib

    expected = hashlib.sha256(b"epochgate/hypertensor/seed/1\0" + b"h" * 32).digest()
    assert compute_seed("0x" + (b"h" * 32).hex()) == expected


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


def test_a_submission_is_read_with_authors_for_numbers() -> None:
    found = parse_submission(make_consensus(), Epoch(6), 66 * SHARE // 100)

    assert found.submission.epoch == 6
    assert found.submission.scores == {alice.author: 1, bob.author: 2, carol.author: 3}
    assert (found.submission.bitmaps, found.submission.root) == ((b"\x07",), b"r" * 32)
    assert (found.submitter, found.attested_by) == (alice.author, (bob.author,))
    assert found.is_attested
    assert not parse_submission(
        make_consensus(attests={1: {}}), Epoch(6), 66 * SHARE // 100
    ).is_attested


def test_the_newest_runtime_names_who_may_attest() -> None:
    found = parse_submission(
        make_consensus(validator_ids=[1, 2, 3, 4]), Epoch(6), 66 * SHARE // 100
    )

    assert not found.is_attested


def test_a_submission_that_is_none_of_ours_has_no_set() -> None:
    found = parse_submission(make_consensus(args="rubbish"), Epoch(6), SHARE)

    assert (found.submission.epoch, found.submission.bitmaps, found.submission.root) == (6, (), b"")


def test_who_left_keeps_its_score_and_who_is_there_cannot_be_moved_aside() -> None:
    others = {victor.author: 9, bob.author: 1000}
    args = "0x" + encode_args(Args(1, Epoch(6), (), Hash32(b""), others)).hex()
    found = parse_submission(make_consensus(args=args), Epoch(6), SHARE)

    assert found.submission.scores == {
        alice.author: 1,
        bob.author: 2,
        carol.author: 3,
        victor.author: 9,
    }


@pytest.mark.parametrize(
    "node_class", [None, "Idle"], ids=["it has left", "it is in the consensus no longer"]
)
def test_a_node_for_which_the_chain_takes_no_score_any_more_costs_nobody_the_attestation(
    node_class: str | None,
) -> None:
    """Bob was there when the submission was made, and not when a block took it."""
    submission = Submission(
        Epoch(6), {alice.author: 1, bob.author: 2, carol.author: 3}, (b"\x07",), Hash32(b"r" * 32)
    )
    args = encode_submission(submission, submission.scores)
    raw = make_consensus(args="0x" + args.hex())
    nodes = [node for node in raw["subnet_nodes"] if node["id"] != 2]
    if node_class is not None:
        nodes.append(make_raw_node(2, format_peer_id(bob.author), node_class))
    data = [entry for entry in raw["data"] if entry["subnet_node_id"] != 2]

    assert (
        parse_submission(raw | {"subnet_nodes": nodes, "data": data}, Epoch(6), SHARE).submission
        == submission
    )


def test_of_a_roster_too_large_for_all_scores_only_those_who_have_left_are_named() -> None:
    everybody = {PeerId(bytes([number]) * 38): 10**15 for number in range(256)}
    gone = PeerId(bytes(38))
    args = decode_args(
        encode_submission(
            Submission(Epoch(6), everybody, (b"\xff" * 32,) * 6, Hash32(b"r" * 32)),
            everybody.keys() - {gone},
        )
    )

    assert args is not None
    assert args.scores == {gone: 10**15}


# The clock.


def test_a_head_is_moved_on_by_local_time_with_a_cap_and_may_go_back() -> None:
    clock = StoppedClock()
    heads = HeadClock(clock, BlockNumber(100))
    decided = []
    for age_seconds in (0, 6, 12, 24, 30, 300):
        clock.unix_seconds = 1_700_000_000.0 + age_seconds
        decided.append(compute_deciding_block(heads.get_head(), clock.unix_seconds, 6.0))
    assert decided == [
        (100, False),
        (100, False),
        (101, False),
        (103, False),
        (103, True),
        (103, True),
    ]
    assert heads.compute_age_seconds() == 300

    heads.take(BlockNumber(100))
    assert heads.compute_age_seconds() == 300, "a server that hangs has no other head to tell"

    heads.take(BlockNumber(98))
    assert compute_deciding_block(heads.get_head(), clock.unix_seconds, 6.0) == (98, False)


def test_the_default_policy_fits_the_live_epoch_of_20_blocks() -> None:
    check_policy(INFERENCE_POLICY, Timing(BlockNumber(3), 20, 6.0), roster_size=64)


# Heads over a loopback server.


class FakeChain:
    """Announces heads; it may drop a connection, fall silent, or speak rubbish."""

    def __init__(self) -> None:
        self.connections: list[ServerConnection] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        async with websockets.serve(self._talk, "127.0.0.1", self.port) as server:
            self.port = next(iter(server.sockets)).getsockname()[1]
            yield

    async def _talk(self, connection: ServerConnection) -> None:
        asked = json.loads(await connection.recv())
        assert asked["method"] == "chain_subscribeNewHeads"
        await connection.send(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": "sub"}))
        self.connections.append(connection)
        await connection.wait_closed()

    async def announce(self, block: BlockNumber) -> None:
        params = {"subscription": "sub", "result": {"number": hex(block)}}
        await self.connections[-1].send(
            json.dumps({"jsonrpc": "2.0", "method": "chain_newHead", "params": params})
        )


async def until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - what is waited for comes over a socket
            await asyncio.sleep(0.005)


async def test_heads_come_again_after_drops_silence_and_rubbish() -> None:
    fake = FakeChain()
    heads: list[BlockNumber] = []
    troubles: list[str] = []
    async with fake.serve():
        following = asyncio.create_task(follow_heads(fake.url, 0.01, heads.append, troubles.append))
        try:
            await until(lambda: len(fake.connections) == 1)
            await fake.announce(BlockNumber(7))
            await fake.announce(BlockNumber(6))
            await until(lambda: heads == [7, 6])

            await fake.connections[-1].close()
            await until(lambda: len(fake.connections) == 2)
            await fake.announce(BlockNumber(8))
            await until(lambda: heads[-1] == 8)
            assert "is gone" in troubles[0]

            await fake.connections[-1].send("hello")
            await until(lambda: len(fake.connections) == 3)
            await fake.announce(BlockNumber(9))
            await until(lambda: heads[-1] == 9)
            assert "speaks no JSON-RPC" in troubles[1]

            await until(lambda: len(fake.connections) == 4)  # silent for too long
            assert "has been silent" in troubles[2]
            await fake.announce(BlockNumber(9))  # and it has nothing new to tell
            await until(lambda: len(fake.connections) == 5)
            await fake.announce(BlockNumber(10))
            await until(lambda: heads[-1] == 10)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
    assert len(troubles) == 3, "an outage is told once"


async def test_a_chain_that_is_not_there_is_told_in_words() -> None:
    fake = FakeChain()
    async with fake.serve():
        pass
    with pytest.raises(
        ChainUnreachable, match=r"does not answer .*: look whether the chain node runs"
    ):
        await HypertensorChain.open(fake.url, 1, SystemClock())


class StubbornInterface:
    """The library at its worst: it swallows the first cancellation, and never answers."""

    async def rpc_request(self, method: str, parameters: list[Any]) -> Any:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
        await asyncio.sleep(3600)

    async def close(self) -> None: ...


async def test_nobody_waits_for_a_library_that_swallows_a_cancellation() -> None:
    rpc = Rpc("ws://127.0.0.1:1", timeout_seconds=0.01)
    rpc._interface = StubbornInterface()  # type: ignore[assignment]
    with pytest.raises(ChainUnreachable, match="no answer in time"):
        await rpc.request("system_chain")

    rpc = Rpc("ws://127.0.0.1:1")
    rpc._interface = StubbornInterface()  # type: ignore[assignment]
    asking = asyncio.create_task(rpc.request("system_chain"))
    await asyncio.sleep(0)
    asking.cancel()
    done, _ = await asyncio.wait({asking}, timeout=5)
    assert done == {asking}
    assert asking.cancelled()
    await rpc.close()
