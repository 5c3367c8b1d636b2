"""Arguments of calls, filled by the field names of a runtime, and the args of a submission."""

from __future__ import annotations

import pytest

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
from epochgate.core.types import Epoch, Hash32, PeerId
from epochgate.ports import ChainRefused, Submission
from tests.support.hypertensor_values import DEPLOYED_ATTEST, NEWEST_ATTEST, NEWEST_CALLS
from tests.support.identities import alice

KNOWN = {"subnet_id": 7, "subnet_node_id": 3, "attest_data": None}


def test_a_call_is_filled_for_the_deployed_and_for_the_newest_runtime() -> None:
    assert fill_call("attest", DEPLOYED_ATTEST, KNOWN) == {"subnet_id": 7, "attest_data": None}
    assert fill_call("attest", NEWEST_ATTEST, KNOWN) == {
        "subnet_id": 7,
        "subnet_node_id": 3,
        "data": None,
    }


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
