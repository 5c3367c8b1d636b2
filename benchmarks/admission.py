"""What a verdict costs, against the one thing in it that cannot be avoided: checking the author's
signature.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from unittest import mock

import msgspec
import numpy as np
from nacl.bindings import crypto_sign_open

from benchmarks.timing import Row, time_alternately
from epochgate.core import policy as judge
from epochgate.core.epoch import Timing
from epochgate.core.evaluation import EvaluationContext
from epochgate.core.record import (
    Record,
    compute_key,
    compute_network_id,
    compute_signed_bytes,
    compute_signing_prefix,
)
from epochgate.core.roster import HOSTER, VALIDATOR, Member, Roster
from epochgate.core.schedule import EpochSchedule
from epochgate.core.schema import EpochContext
from epochgate.core.types import BlockNumber, Epoch
from epochgate.keys import SigningKey
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.schemas import Tensor

NETWORK = compute_network_id("benchmark", 1)
TIMING = Timing(slot=BlockNumber(0), blocks_per_epoch=100, block_seconds=6.0)
EPOCH = 3
BLOCK = 320
NOW_SECONDS = 1_700_000_000.0


def make_moment() -> tuple[SigningKey, EvaluationContext]:
    keys = [SigningKey.from_seed(hashlib.sha256(bytes([number])).digest()) for number in range(16)]
    members = [
        Member(key.author, int(HOSTER if number % 2 else VALIDATOR))
        for number, key in enumerate(keys)
    ]
    schedule = EpochSchedule(INFERENCE_POLICY)
    for epoch in range(EPOCH - 2, EPOCH + 1):
        schedule.add(
            EpochContext(NETWORK, TIMING, Roster(Epoch(epoch), bytes(32), members), keys[0].author)
        )
    return keys[1], schedule.compute_evaluation_context(BlockNumber(BLOCK), NOW_SECONDS)


def measure() -> Iterator[Row]:
    hoster, now = make_moment()
    name = f"hoster-commit_epoch_{EPOCH}"
    record = hoster.sign_record(
        NETWORK, compute_key(name), bytes(32), NOW_SECONDS + 2 * TIMING.seconds_per_epoch - 1
    )
    yield measure_admission(record, now)
    yield measure_rules(record, now)
    yield measure_unknown_key(record, now)
    yield measure_tensor()


def measure_admission(record: Record, now: EvaluationContext) -> Row:
    prefix = compute_signing_prefix(NETWORK, record.key)
    signed = record.value[:64] + compute_signed_bytes(
        prefix, record.author, record.expiration_time, record.payload
    )
    public_key = record.author[6:]
    assert INFERENCE_POLICY.admit(record, now)
    bare, full = time_alternately(
        lambda: crypto_sign_open(signed, public_key),
        lambda: INFERENCE_POLICY.admit(record, now),
        number=3000,
    )
    ratio = full / bare
    return Row(
        "a full admission, against verifying the same bytes with PyNaCl",
        f"{ratio:.3f} x",
        "at most 1.06 x",
        ratio <= 1.06,
    )


def measure_rules(record: Record, now: EvaluationContext) -> Row:
    predicate = make_seed_style_predicate()
    assert predicate(record, now)
    with mock.patch.object(judge, "is_signed_under", lambda *_: True):  # noqa: PT008 - a Mock costs more than the rest
        assert INFERENCE_POLICY.admit(record, now)
        seed, ours = time_alternately(
            lambda: predicate(record, now),
            lambda: INFERENCE_POLICY.admit(record, now),
            number=20_000,
        )
    ratio = seed / ours
    return Row(
        "a commitment without its signature, against a predicate in the upstream style",
        f"{ratio:.1f} x as fast ({ours * 1e6:.2f} us)",
        "15 x",
        ratio >= 15,
    )


def make_seed_style_predicate() -> Callable[[Record, EvaluationContext], bool]:
    """A predicate that makes its key table for every record, as those of today do; nothing in it
    unpickles.
    """
    from epochgate.predicate import DHTID  # noqa: PLC0415 - only this row needs hivemind

    kinds = (
        "consensus-epoch",
        "validator-reveal_epoch",
        "hoster-commit_epoch",
        "hoster-reveal_epoch",
        "validator-commit_epoch",
    )

    def predicate(record: Record, now: EvaluationContext) -> bool:
        epoch = now.data.epoch
        complete = now.data.percent_complete
        keys = {DHTID.generate(source=role).to_bytes(): role for role in ("hoster", "validator")}
        keys |= {DHTID.generate(source=f"{kind}_{epoch}").to_bytes(): kind for kind in kinds}
        kind = keys.get(record.key)
        if kind is None or record.expiration_time > now.time_seconds + 1200:
            return False
        return kind != "hoster-commit_epoch" or 0.15 < complete <= 0.5

    return predicate


def measure_unknown_key(record: Record, now: EvaluationContext) -> Row:
    unknown = msgspec.structs.replace(record, key=bytes(20))
    assert not INFERENCE_POLICY.admit(unknown, now)
    admit = INFERENCE_POLICY.admit
    (seconds,) = time_alternately(lambda: admit(unknown, now), number=100_000)
    return Row(
        "a refusal of an unknown key", f"{seconds * 1e6:.2f} us", "0.2 us", seconds <= 0.2e-6
    )


def measure_tensor() -> Row:
    import torch  # noqa: PLC0415 - only this row needs it

    array = np.arange(4, dtype=np.float32).reshape(2, 2)
    schema = Tensor("float32", (2, 2))
    payload = schema.encode(array)
    file = io.BytesIO()
    torch.save(torch.from_numpy(array), file)
    saved = file.getvalue()
    decode = schema.bind(None)
    theirs, ours = time_alternately(
        lambda: torch.load(io.BytesIO(saved), weights_only=True),
        lambda: decode(payload),
        number=2000,
    )
    ratio = theirs / ours
    return Row(
        "a 2 x 2 tensor from safetensors, against torch.load(weights_only=True)",
        f"{ratio:.1f} x as fast ({ours * 1e6:.1f} us)",
        "15 x",
        ratio >= 15,
    )
