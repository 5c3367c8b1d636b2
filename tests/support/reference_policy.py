"""What docs/spec.md#1-records and docs/spec.md#2-keys-and-windows say of the default policy's
POSTs, again: slowly, obviously, and without a float.

It shares data types with `core/policy.py` and nothing else: keys, windows, lifetimes, signatures,
payloads and the challenge are worked out here once more, from the text. A disagreement is a bug on
one side or a hole in the text.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import msgpack
import nacl.exceptions
import nacl.signing

from epochgate.core.record import Record
from epochgate.core.roster import Roster
from epochgate.core.verdict import Reason

HOSTER = 1
VALIDATOR = 2


@dataclass(frozen=True)
class Row:
    """A row of the table in docs/spec.md#2-keys-and-windows. `first` and `last` are shares of an
    epoch; `after` leaves out the first block itself.
    """

    name: str
    by: int
    first: Fraction
    last: Fraction
    after: bool
    epochs: Fraction
    most_bytes: int
    once: bool
    read_until: Fraction | None
    """Epochs after the beginning of its own at which a record that decides something is last read.
    """


def share(percent: int) -> Fraction:
    return Fraction(percent, 100)


LONG = Fraction(11, 10)
TWO = Fraction(2)
TABLE = (
    Row("hoster", HOSTER, share(0), share(100), False, LONG, 4096, False, None),
    Row("validator", VALIDATOR, share(0), share(100), False, LONG, 4096, False, None),
    Row(
        "consensus-epoch_{}", VALIDATOR, share(0), share(15), False, LONG, 16_384, True, Fraction(1)
    ),
    Row("hoster-commit_epoch_{}", HOSTER, share(15), share(50), True, TWO, 4096, True, TWO),
    Row("validator-reveal_epoch_{}", VALIDATOR, share(15), share(50), True, TWO, 65_536, True, TWO),
    Row("hoster-reveal_epoch_{}", HOSTER, share(50), share(60), True, TWO, 16_384, True, TWO),
    Row(
        "validator-commit_epoch_{}",
        VALIDATOR,
        share(60),
        share(100),
        False,
        TWO,
        4096,
        True,
        Fraction(5, 2),
    ),
)
LAG_BLOCKS = 2


@dataclass(frozen=True)
class ReferenceState:
    """All that a verdict depends on beside the record. Seconds are exact, `held` maps (key, author)
    to an expiry.
    """

    network: bytes
    slot: int | None
    length: int
    block_seconds: Fraction
    block: int
    now_seconds: Fraction
    roster: Roster
    elected: bytes | None
    is_stale: bool = False
    held: dict[tuple[bytes, bytes], Fraction] = field(default_factory=dict)


def judge(record: Record, state: ReferenceState) -> Reason | None:
    """Why the record is refused; None where it is admitted."""
    if len(record.value) > max(row.most_bytes for row in TABLE):
        return Reason.TOO_LARGE
    found = find_row(record.key, state)
    if found is None:
        return Reason.UNKNOWN_KEY
    row, epoch = found
    if len(record.value) > row.most_bytes:
        return Reason.TOO_LARGE
    if state.is_stale:
        return Reason.CHAIN_STALE
    return (
        judge_window(row, epoch, state)
        or judge_expiry(row, epoch, record, state)
        or judge_author(row, epoch, record, state)
        or judge_content(row, epoch, record, state)
    )


def get_epoch(state: ReferenceState) -> int:
    return 0 if not is_started(state) else (state.block - (state.slot or 0)) // state.length


def is_started(state: ReferenceState) -> bool:
    return state.slot is not None and state.block >= state.slot


def find_row(key: bytes, state: ReferenceState) -> tuple[Row, int | None] | None:
    """A key is known by trying every legal name; of neighbouring epochs only to say early
    or late.
    """
    for row in TABLE:
        if "{}" not in row.name:
            if key == digest_name(row.name):
                return row, None
        elif is_started(state):
            for epoch in range(max(0, get_epoch(state) - 2), get_epoch(state) + 2):
                if key == digest_name(row.name.format(epoch)):
                    return row, epoch
    return None


def digest_name(name: str) -> bytes:
    return hashlib.sha1(msgpack.packb(name), usedforsecurity=False).digest()


def judge_window(row: Row, epoch: int | None, state: ReferenceState) -> Reason | None:
    if epoch is None:
        return None
    elapsed = state.block - (state.slot or 0) - epoch * state.length
    passed = Fraction(elapsed, state.length)
    if passed < row.first or (row.after and passed == row.first):
        return Reason.EARLY
    return Reason.LATE if passed > row.last or elapsed >= state.length else None


def judge_expiry(
    row: Row, epoch: int | None, record: Record, state: ReferenceState
) -> Reason | None:
    if not math.isfinite(record.expiration_time):
        return Reason.EXPIRY
    left_seconds = Fraction(record.expiration_time) - state.now_seconds
    if not 0 < left_seconds <= row.epochs * state.length * state.block_seconds:
        return Reason.EXPIRY
    if row.read_until is not None and epoch is not None:
        read_block = (
            (state.slot or 0) + epoch * state.length + math.floor(row.read_until * state.length)
        )
        if left_seconds < (read_block - state.block - LAG_BLOCKS) * state.block_seconds:
            return Reason.EXPIRY
    return None


def judge_author(
    row: Row, epoch: int | None, record: Record, state: ReferenceState
) -> Reason | None:
    roles = {member.author: member.roles for member in state.roster.members}
    if record.author not in roles:
        return Reason.NOT_ON_ROSTER
    is_elected = (
        row.name.startswith("consensus") and record.author == state.elected
    )  # the chain may elect a hoster
    if not roles[record.author] & row.by and not is_elected:
        return Reason.WRONG_ROLE
    if row.name.startswith("consensus") and record.author != state.elected:
        passed = Fraction(
            state.block - (state.slot or 0) - (epoch or 0) * state.length, state.length
        )
        if passed * state.length < math.floor(Fraction(1, 10) * state.length) + 1:
            return Reason.NOT_ELECTED
    held = state.held.get((record.key, record.author))
    if held is not None and (row.once or Fraction(record.expiration_time) <= held):
        return Reason.ALREADY_THERE
    return None


def judge_content(
    row: Row, epoch: int | None, record: Record, state: ReferenceState
) -> Reason | None:
    signature = record.value[:64]
    payload = record.value[64:]
    domain = b"epochgate/record/1\0" + struct.pack(">I", len(state.network)) + state.network
    message = (
        domain
        + record.key
        + record.author
        + struct.pack(">d", record.expiration_time)
        + hashlib.sha256(payload).digest()
    )
    try:
        nacl.signing.VerifyKey(record.author[-32:]).verify(message, signature)
    except (nacl.exceptions.BadSignatureError, nacl.exceptions.ValueError):
        return Reason.BAD_SIGNATURE
    try:
        is_good = is_payload(row, epoch, payload, state)
    except Exception:  # noqa: BLE001 - whatever a payload does to a plain reader, it is malformed
        is_good = False
    return None if is_good else Reason.MALFORMED


def is_payload(row: Row, epoch: int | None, payload: bytes, state: ReferenceState) -> bool:
    if row.name in ("hoster", "validator"):
        return is_heartbeat(payload)
    if row.name.startswith("consensus"):
        return read_tensor(payload) == derive_challenge(state, epoch or 0)
    if "commit" in row.name:
        return len(payload) == 32
    if row.name.startswith("hoster-reveal"):
        return len(read_tensor(payload[64:])) == 1024
    scores = payload[64:]
    return len(payload) >= 64 and all(
        score <= 10**6 for (score,) in struct.iter_unpack(">I", scores)
    )


def is_heartbeat(payload: bytes) -> bool:
    """State, role, throughput, public name, software version and policy digest, each of its own
    type (docs/spec.md#8-heartbeats).
    """
    value: Any = msgpack.unpackb(payload, strict_map_key=True)
    known = {"state", "role", "throughput", "public_name", "version", "policy_digest"}
    return (
        set(value) == known
        and type(value["state"]) is int
        and value["state"] in (0, 1, 2)
        and type(value["throughput"]) is float
        and 0 <= value["throughput"] < math.inf
        and all(type(value[name]) is str for name in known - {"state", "throughput"})
    )


def read_tensor(payload: bytes) -> tuple[float, ...]:
    """1,024 finite float32, 16 by 64, as safetensors."""
    length = int.from_bytes(payload[:8], "little")
    header = json.loads(payload[8 : 8 + length])
    data = payload[8 + length :]
    entry = header["tensor"]
    assert set(header) == {"tensor"}
    assert (entry["dtype"], entry["shape"], entry["data_offsets"]) == ("F32", [16, 64], [0, 4096])
    assert len(data) == 4096
    values = struct.unpack("<1024f", data)
    assert all(map(math.isfinite, values))
    return values


def derive_challenge(state: ReferenceState, epoch: int) -> tuple[float, ...]:
    fields = (state.network, struct.pack(">Q", epoch), state.roster.seed)
    text = b"epochgate/challenge/1\0" + b"".join(
        struct.pack(">I", len(part)) + part for part in fields
    )
    stream = hashlib.shake_256(text).digest(3 * 1024)
    return tuple(
        (int.from_bytes(stream[i : i + 3], "big") - 2**23) / 2**23 for i in range(0, 3 * 1024, 3)
    )
