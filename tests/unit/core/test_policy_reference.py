"""`Policy.admit` against a reference that was written from the specification alone: the same
verdict for the same reason.
"""

from __future__ import annotations

import math
from collections import Counter
from fractions import Fraction

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from epochgate.core.challenge import compute_challenge
from epochgate.core.commitment import Opening
from epochgate.core.epoch import Timing
from epochgate.core.receipt import ReceiptedEntry
from epochgate.core.record import Record, compute_key
from epochgate.core.schedule import EpochSchedule
from epochgate.core.schema import EpochContext
from epochgate.core.scoring import ScoreList
from epochgate.core.types import BlockNumber, Epoch, Hash32, NetworkId, RecordKey, Salt
from epochgate.core.verdict import Denied, Reason
from epochgate.keys import SigningKey
from epochgate.policies.inference import CHALLENGE, INFERENCE_POLICY, OUTPUT
from epochgate.schemas import Heartbeat, ServerState
from tests.support.identities import NETWORK, alice, bob, dave, make_roster, vera, victor
from tests.support.reference_policy import TABLE, ReferenceState, Row, judge

NOW_SECONDS = 1_700_000_000.0
SLOT = 1000
EPOCH = 4
TENSOR = OUTPUT.encode(compute_challenge(CHALLENGE, NETWORK, Epoch(0), b"any"))
HEARTBEAT = Heartbeat(
    state=ServerState.ONLINE,
    role="hoster",
    throughput=1.5,
    public_name="a",
    version="0",
    policy_digest="00" * 32,
).to_bytes()
CONSENSUS = TABLE[2]
"""It has the most edges."""
SEEN: Counter[Reason | None] = Counter()

lengths = st.sampled_from([20, 37, 99, 100, 101, 300])
block_times = st.sampled_from([0.25, 0.5, 1.0, 6.0, 12.0])
"""Exact in binary, so that a lifetime is the same number in floats and in fractions."""


def make_payload(row: Row, epoch: Epoch) -> bytes:
    if "{}" not in row.name:
        return HEARTBEAT
    if row.name.startswith("consensus"):
        return OUTPUT.encode(compute_challenge(CHALLENGE, NETWORK, epoch, make_roster(epoch).seed))
    if row.name.startswith("hoster-reveal"):
        return Opening(Salt(bytes(32)), Hash32(bytes(32)), TENSOR).to_bytes()
    if row.name.startswith("validator-reveal"):
        return Opening(
            Salt(bytes(32)), Hash32(bytes(32)), ScoreList().encode((1, 10**6))
        ).to_bytes()
    return bytes(32)


@st.composite
def make_blocks(draw: st.DrawFn, row: Row, length: int) -> int:
    """Blocks elapsed, mostly inside the row's window or at its edges."""
    first = int(row.first * length)
    last = int(row.last * length)
    edges = [
        0,
        first - 1,
        first,
        first + 1,
        last - 1,
        last,
        last + 1,
        length // 10,
        length // 10 + 1,
        length - 1,
    ]
    stands_in = (
        st.sampled_from([length // 10, length // 10 + 1])
        if row.name.startswith("consensus")
        else st.nothing()
    )
    return (
        draw(
            stands_in
            | st.integers(first, last)
            | st.sampled_from(edges)
            | st.integers(0, length - 1)
        )
        % length
    )


@st.composite
def make_expiries(draw: st.DrawFn, row: Row, timing: Timing, elapsed: int) -> float:
    """Mostly a lifetime that is allowed, or at an edge of what is."""
    longest = row.epochs * timing.blocks_per_epoch * Fraction(timing.block_seconds)
    shortest = Fraction(0)
    if row.read_until is not None:
        read_block = int(row.read_until * timing.blocks_per_epoch)
        shortest = Fraction(max(0, read_block - elapsed - 2)) * Fraction(timing.block_seconds)
    step = Fraction(1, 1 << 20)
    edges = [
        longest,
        longest + step,
        shortest,
        shortest - step,
        shortest + step,
        Fraction(0),
        Fraction(-5),
    ]
    odd = st.sampled_from([float("nan"), float("inf"), float("-inf"), 0.0, 1e300, 5e-324])
    inside = st.just(NOW_SECONDS + float(max(shortest, longest - 1)))
    return draw(
        inside | inside | st.sampled_from([NOW_SECONDS + float(edge) for edge in edges]) | odd
    )


@st.composite
def make_values(
    draw: st.DrawFn,
    row: Row,
    key: RecordKey,
    epoch: Epoch,
    author: SigningKey,
    expiration_time: float,
) -> bytes:
    payload = make_payload(row, epoch)
    bad = st.sampled_from(
        [
            b"",
            b"\x80",
            bytes(31),
            bytes(64),
            payload[:-1],
            payload + b"\0",
            bytes(70_000),
            bytes(9000),
        ]
    )
    other = st.sampled_from([make_payload(each, epoch) for each in TABLE])
    payload = draw(st.just(payload) | st.just(payload) | bad | other)
    network = draw(st.sampled_from([NETWORK] * 6 + [bytes(32)]))
    value = bytearray(author.sign_record(NetworkId(network), key, payload, expiration_time).value)
    if draw(st.integers(0, 7)) == 0:
        value[draw(st.integers(0, len(value) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(value[: draw(st.sampled_from([len(value)] * 12 + [63, 0]))])


# the same worlds each time: that every reason is seen must not hang on luck, and fuzzing looks for
# new ones
@settings(
    max_examples=1500, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(st.data())
def compare(data: st.DataObject) -> None:
    draw = data.draw
    row = draw(st.sampled_from(TABLE + (CONSENSUS,) * 3))
    length = draw(lengths)
    block_seconds = draw(block_times)
    slot = draw(st.sampled_from([BlockNumber(SLOT)] * 9 + [None]))
    timing = Timing(slot, length, block_seconds)
    elapsed = draw(make_blocks(row, length))
    block = SLOT + EPOCH * length + elapsed
    if slot is not None and draw(st.integers(0, 11)) == 0:
        block = SLOT - 1 - elapsed  # before the subnet's first block
    now_epoch = timing.compute_epoch(BlockNumber(block))
    epoch = max(0, now_epoch + draw(st.sampled_from([0] * 8 + [-3, -2, -1, 1, 2])))
    elected = draw(st.sampled_from([victor, vera, alice, None]))
    usual = [alice, bob] if row.by == 1 else [victor, vera]
    author = draw(st.sampled_from([*usual * 4, alice, victor, dave]))
    key = (
        compute_key(row.name.format(epoch))
        if draw(st.integers(0, 15))
        else draw(st.binary(max_size=21))
    )
    expiration_time = draw(make_expiries(row, timing, elapsed))
    record = Record(
        RecordKey(key),
        author.author,
        draw(make_values(row, RecordKey(key), Epoch(epoch), author, expiration_time)),
        expiration_time,
    )
    is_stale = draw(st.integers(0, 11)) == 0
    held_expiry = draw(st.sampled_from([None] * 6 + [expiration_time, NOW_SECONDS + 1.0]))
    held = (
        {}
        if held_expiry is None or not math.isfinite(held_expiry)
        else {(key, author.author): held_expiry}
    )

    schedule = EpochSchedule(INFERENCE_POLICY)
    for known in range(max(0, now_epoch - 2), now_epoch + 1):
        schedule.add(
            EpochContext(
                NETWORK, timing, make_roster(Epoch(known)), elected.author if elected else None
            )
        )
    kept = {
        (RecordKey(key), author): ReceiptedEntry(Hash32(bytes(32)), expiry, now_epoch, 96, ())
        for (key, author), expiry in held.items()
    }
    moment = schedule.compute_evaluation_context(
        BlockNumber(block), NOW_SECONDS, kept, is_stale=is_stale
    )
    verdict = INFERENCE_POLICY.admit(record, moment)

    state = ReferenceState(
        network=NETWORK,
        slot=slot,
        length=length,
        block_seconds=Fraction(block_seconds),
        block=block,
        now_seconds=Fraction(NOW_SECONDS),
        roster=make_roster(now_epoch),
        elected=elected.author if elected else None,
        is_stale=is_stale,
        held={place: Fraction(expiry) for place, expiry in held.items()},
    )
    seen = verdict.reason if isinstance(verdict, Denied) else None
    assert seen is judge(record, state), (
        row.name,
        str(verdict),
        msgspec.structs.asdict(moment.data),
    )
    SEEN[seen] += 1


def test_the_policy_and_the_reference_give_the_same_reason_and_every_reason_was_seen() -> None:
    SEEN.clear()
    compare()
    reasons = {
        None,
        Reason.TOO_LARGE,
        Reason.UNKNOWN_KEY,
        Reason.CHAIN_STALE,
        Reason.EARLY,
        Reason.LATE,
        Reason.EXPIRY,
    }
    reasons |= {
        Reason.NOT_ON_ROSTER,
        Reason.WRONG_ROLE,
        Reason.NOT_ELECTED,
        Reason.ALREADY_THERE,
        Reason.BAD_SIGNATURE,
    }
    assert SEEN.keys() == reasons | {Reason.MALFORMED}
