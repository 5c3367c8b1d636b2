"""The policy as a judge: windows at every block, lifetimes, authors, and the order in which it
looks.
"""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import msgspec
import pytest
from nacl.bindings import crypto_sign_open

from epochgate.core.challenge import compute_challenge
from epochgate.core.commitment import Opening
from epochgate.core.epoch import Timing, epochs, percent
from epochgate.core.evaluation import EvaluationContext
from epochgate.core.limits import Allowance, Limits, Quota, Rate
from epochgate.core.peer_id import format_peer_id
from epochgate.core.policy import Policy
from epochgate.core.record import Record, compute_value_digest
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.rule import Rule
from epochgate.core.schedule import EpochSchedule
from epochgate.core.schema import Digest
from epochgate.core.scoring import ScoreList
from epochgate.core.types import BlockNumber, Epoch, Hash32, NetworkId, RecordKey, Salt
from epochgate.core.verdict import Admitted, Denied, Reason
from epochgate.keys import SigningKey
from epochgate.policies.inference import CHALLENGE, INFERENCE_POLICY, OUTPUT
from epochgate.schemas import Heartbeat, ServerState
from tests.support.identities import (
    GENESIS_SECONDS,
    NETWORK,
    TIMING,
    alice,
    bob,
    compute_unix_seconds,
    dave,
    make_context,
    make_roster,
    sign,
    vera,
    victor,
)

EPOCH = 7
FIRST_BLOCK = TIMING.compute_first_block(Epoch(EPOCH))
COMMIT_KEY = f"hoster-commit_epoch_{EPOCH}"

# What docs/spec.md#2-keys-and-windows says of an epoch of 100 blocks, by kind: first and last
# block, author, longest lifetime in epochs.
WINDOWS = {
    "hoster": (0, 99, alice, "1.1"),
    "validator": (0, 99, victor, "1.1"),
    "consensus": (0, 15, victor, "1.1"),
    "hoster-commit": (16, 50, alice, "2"),
    "validator-reveal": (16, 50, victor, "2"),
    "hoster-reveal": (51, 60, alice, "2"),
    "validator-commit": (60, 99, victor, "2"),
}


def make_schedule(policy: Policy = INFERENCE_POLICY, timing: Timing = TIMING) -> EpochSchedule:
    schedule = EpochSchedule(policy)
    for epoch in range(EPOCH - 2, EPOCH + 1):
        schedule.add(make_context(Epoch(epoch), timing=timing))
    return schedule


CALENDAR = make_schedule()


def at(blocks_elapsed: int, epoch: Epoch = Epoch(EPOCH), **facts: object) -> EvaluationContext:
    block = TIMING.compute_first_block(epoch) + blocks_elapsed
    return CALENDAR.compute_evaluation_context(block, compute_unix_seconds(block), **facts)  # type: ignore[arg-type]


def name_of(kind: str, epoch: Epoch) -> str:
    return INFERENCE_POLICY.get_rule(kind).name.format(epoch=epoch)


def make_payload(kind: str, epoch: Epoch) -> bytes:
    if kind in ("hoster", "validator"):
        return Heartbeat(
            state=ServerState.ONLINE,
            role="hoster" if kind == "hoster" else "validator",
            throughput=1.5,
            public_name="a",
            version="0",
            policy_digest="00" * 32,
        ).to_bytes()
    if kind == "consensus":
        return OUTPUT.encode(compute_challenge(CHALLENGE, NETWORK, epoch, make_roster(epoch).seed))
    if kind == "hoster-reveal":
        return Opening(
            Salt(bytes(32)),
            Hash32(bytes(32)),
            OUTPUT.encode(compute_challenge(CHALLENGE, NETWORK, Epoch(0), b"")),
        ).to_bytes()
    if kind == "validator-reveal":
        return Opening(Salt(bytes(32)), Hash32(bytes(32)), ScoreList().encode((1, 2, 3))).to_bytes()
    return bytes(32)


def make_record(
    kind: str,
    epoch: Epoch,
    now: EvaluationContext,
    lifetime: str | None = None,
    author: SigningKey | None = None,
) -> Record:
    _, _, usual_author, longest = WINDOWS[kind]
    expiration_time = (
        now.time_seconds + float(Fraction(lifetime or longest)) * TIMING.seconds_per_epoch - 1
    )
    return sign(
        author or usual_author, name_of(kind, epoch), make_payload(kind, epoch), expiration_time
    )


@pytest.mark.parametrize("kind", WINDOWS)
def test_every_block_of_the_current_epoch(kind: str) -> None:
    first, last, _, _ = WINDOWS[kind]
    for block in range(100):
        now = at(block)
        verdict = INFERENCE_POLICY.admit(make_record(kind, Epoch(EPOCH), now), now)
        if block < first:
            assert isinstance(verdict, Denied)
            assert (verdict.reason, verdict.wait_blocks) == (Reason.EARLY, first - block), block
        elif block > last:
            assert isinstance(verdict, Denied)
            assert verdict.reason is Reason.LATE, block
        else:
            assert isinstance(verdict, Admitted), (block, str(verdict))


@pytest.mark.parametrize("kind", [kind for kind in WINDOWS if kind not in ("hoster", "validator")])
@pytest.mark.parametrize(
    ("offset", "reason"),
    [
        (-2, Reason.LATE),
        (-1, Reason.LATE),
        (1, Reason.EARLY),
        (2, Reason.UNKNOWN_KEY),
        (-3, Reason.UNKNOWN_KEY),
    ],
)
def test_every_block_refuses_the_same_key_of_another_epoch(
    kind: str, offset: int, reason: Reason
) -> None:
    for block in range(100):
        now = at(block)
        verdict = INFERENCE_POLICY.admit(make_record(kind, Epoch(EPOCH + offset), now), now)
        assert isinstance(verdict, Denied)
        assert verdict.reason is reason, block


def test_the_edges_that_the_specification_names() -> None:
    edges = [
        (15, "consensus", "hoster-commit"),
        (16, "hoster-commit", "consensus"),
        (50, "hoster-commit", "hoster-reveal"),
    ]
    edges += [
        (51, "hoster-reveal", "hoster-commit"),
        (61, "validator-commit", "hoster-reveal"),
        (59, "hoster-reveal", "validator-commit"),
    ]
    for block, admitted, refused in edges:
        assert INFERENCE_POLICY.admit(make_record(admitted, Epoch(EPOCH), at(block)), at(block)), (
            block,
            admitted,
        )
        assert not INFERENCE_POLICY.admit(
            make_record(refused, Epoch(EPOCH), at(block)), at(block)
        ), (
            block,
            refused,
        )
    for kind in ("hoster-reveal", "validator-commit"):
        assert INFERENCE_POLICY.admit(make_record(kind, Epoch(EPOCH), at(60)), at(60)), kind


@pytest.mark.parametrize("kind", WINDOWS)
def test_a_lifetime_of_this_chains_epochs_and_no_longer(kind: str) -> None:
    first, _, author, longest = WINDOWS[kind]
    now = at(first)
    most = now.time_seconds + float(Fraction(longest)) * TIMING.seconds_per_epoch
    for expiration_time, is_admitted in (
        (most, True),
        (most + 0.01, False),
        (now.time_seconds, False),
        (now.time_seconds - 5, False),
    ):
        record = sign(
            author, name_of(kind, Epoch(EPOCH)), make_payload(kind, Epoch(EPOCH)), expiration_time
        )
        verdict = INFERENCE_POLICY.admit(record, now)
        assert bool(verdict) is is_admitted, (expiration_time - now.time_seconds, str(verdict))


@pytest.mark.parametrize(
    "expiration_time", [float("nan"), float("inf"), float("-inf"), 0.0, 1e300, -1.0]
)
def test_odd_expiries_are_refused(expiration_time: float) -> None:
    verdict = INFERENCE_POLICY.admit(sign(alice, COMMIT_KEY, bytes(32), expiration_time), at(20))
    assert isinstance(verdict, Denied)
    assert verdict.reason is Reason.EXPIRY


def test_a_record_that_decides_must_outlive_its_last_reading() -> None:
    now = at(20)
    end_of_next_epoch = compute_unix_seconds(TIMING.compute_first_block(Epoch(EPOCH + 2)))
    for short_by, is_admitted in ((0, True), (4 * TIMING.block_seconds, False)):
        record = sign(alice, COMMIT_KEY, bytes(32), end_of_next_epoch - short_by)
        assert bool(INFERENCE_POLICY.admit(record, now)) is is_admitted


def test_a_validators_commitment_lives_until_the_middle_of_the_epoch_that_pays_it() -> None:
    now = at(70)
    name = name_of("validator-commit", Epoch(EPOCH))
    middle = compute_unix_seconds(BlockNumber(TIMING.compute_first_block(Epoch(EPOCH + 2)) + 50))
    assert INFERENCE_POLICY.admit(sign(victor, name, bytes(32), middle), now)
    assert not INFERENCE_POLICY.admit(
        sign(victor, name, bytes(32), middle - 4 * TIMING.block_seconds), now
    )


def test_who_may_write() -> None:
    now = at(20)
    assert INFERENCE_POLICY.admit(make_record("hoster-commit", Epoch(EPOCH), now, author=bob), now)
    refusals = {dave: Reason.NOT_ON_ROSTER, victor: Reason.WRONG_ROLE}
    for author, reason in refusals.items():
        verdict = INFERENCE_POLICY.admit(
            make_record("hoster-commit", Epoch(EPOCH), now, author=author), now
        )
        assert isinstance(verdict, Denied)
        assert verdict.reason is reason


def test_the_elected_validator_first_and_stand_ins_after_a_tenth() -> None:
    for block, author, is_admitted in (
        (0, victor, True),
        (10, vera, False),
        (11, vera, True),
        (15, vera, True),
        (15, victor, True),
    ):
        now = at(block)
        verdict = INFERENCE_POLICY.admit(
            make_record("consensus", Epoch(EPOCH), now, author=author), now
        )
        assert bool(verdict) is is_admitted, (block, str(verdict))
    denied = INFERENCE_POLICY.admit(
        make_record("consensus", Epoch(EPOCH), at(4), author=vera), at(4)
    )
    assert isinstance(denied, Denied)
    assert (denied.reason, denied.wait_blocks) == (Reason.NOT_ELECTED, 7)


def test_an_elected_hoster_publishes_the_challenge_and_no_other_hoster_does() -> None:
    """The chain elects among all of its nodes, and knows no roles."""
    schedule = EpochSchedule(INFERENCE_POLICY)
    schedule.add(make_context(Epoch(EPOCH), elected=alice))
    now = schedule.compute_evaluation_context(at(3).block, at(3).time_seconds)
    admitted = INFERENCE_POLICY.admit(
        make_record("consensus", Epoch(EPOCH), now, author=alice), now
    )
    denied = INFERENCE_POLICY.admit(make_record("consensus", Epoch(EPOCH), now, author=bob), now)
    assert admitted, str(admitted)
    assert isinstance(denied, Denied)
    assert denied.reason is Reason.WRONG_ROLE


def test_any_other_challenge_than_the_derived_one_is_malformed() -> None:
    now = at(3)
    other = OUTPUT.encode(
        compute_challenge(CHALLENGE, NETWORK, Epoch(EPOCH + 1), make_roster(Epoch(EPOCH)).seed)
    )
    record = sign(
        victor,
        name_of("consensus", Epoch(EPOCH)),
        other,
        now.time_seconds + TIMING.seconds_per_epoch,
    )
    verdict = INFERENCE_POLICY.admit(record, now)
    assert isinstance(verdict, Denied)
    assert verdict.reason is Reason.MALFORMED


def test_a_signature_binds_network_key_author_expiry_and_payload() -> None:
    now = at(20)
    honest = make_record("hoster-commit", Epoch(EPOCH), now)
    other_network = sign(
        alice, COMMIT_KEY, bytes(32), honest.expiration_time, network=NetworkId(bytes(32))
    )
    forgeries = {
        "another network": other_network,
        "another author": msgspec.structs.replace(honest, author=bob.author),
        "another expiry": msgspec.structs.replace(
            honest, expiration_time=honest.expiration_time - 1
        ),
        "another payload": msgspec.structs.replace(honest, value=honest.value[:-1] + b"\1"),
        "another key": msgspec.structs.replace(
            sign(alice, "elsewhere", bytes(32), honest.expiration_time), key=honest.key
        ),
        "no signature": msgspec.structs.replace(honest, value=bytes(64) + honest.payload),
        "truncated": msgspec.structs.replace(honest, value=honest.value[:40]),
        "nothing": msgspec.structs.replace(honest, value=b""),
    }
    for what, record in forgeries.items():
        verdict = INFERENCE_POLICY.admit(record, now)
        assert isinstance(verdict, Denied), what
        assert verdict.reason is Reason.BAD_SIGNATURE, what


@dataclasses.dataclass
class Kept:
    value_digest: Hash32
    expiration_time: float


def test_once_is_once_and_a_heartbeat_is_renewed_only_by_a_later_one() -> None:
    now = at(20)
    commitment = make_record("hoster-commit", Epoch(EPOCH), now)
    heartbeat = make_record("hoster", Epoch(EPOCH), now)
    for record, earlier_by, is_admitted in (
        (commitment, 100.0, False),
        (heartbeat, 100.0, True),
        (heartbeat, 0.0, False),
        (heartbeat, -100.0, False),
    ):
        held = {
            (record.key, record.author): Kept(
                compute_value_digest(b""), record.expiration_time - earlier_by
            )
        }
        verdict = INFERENCE_POLICY.admit(record, at(20, held=held))
        assert bool(verdict) is is_admitted, (record, earlier_by)
        assert is_admitted or (
            isinstance(verdict, Denied) and verdict.reason is Reason.ALREADY_THERE
        )


def test_a_stale_head_refuses_by_that_name_whatever_the_window() -> None:
    for block in (0, 20, 55, 99):
        verdict = INFERENCE_POLICY.admit(
            make_record("hoster-commit", Epoch(EPOCH), at(block)), at(block, is_stale=True)
        )
        assert isinstance(verdict, Denied)
        assert verdict.reason is Reason.CHAIN_STALE


def test_an_epoch_whose_roster_has_not_arrived_counts_as_stale() -> None:
    now = at(20, epoch=Epoch(EPOCH + 1))
    verdict = INFERENCE_POLICY.admit(make_record("hoster", Epoch(EPOCH), now), now)
    assert not verdict


def test_before_the_first_block_only_heartbeats() -> None:
    timing = Timing(slot=None, blocks_per_epoch=100, block_seconds=6.0)
    schedule = EpochSchedule(INFERENCE_POLICY)
    schedule.add(make_context(Epoch(0), timing=timing))
    now = schedule.compute_evaluation_context(BlockNumber(12), GENESIS_SECONDS)
    assert now.data.epoch == now.data.blocks_elapsed == now.data.percent_complete == 0
    assert INFERENCE_POLICY.admit(make_record("hoster", Epoch(0), now), now)
    for kind in ("consensus", "hoster-commit", "validator-commit"):
        assert not INFERENCE_POLICY.admit(make_record(kind, Epoch(0), now), now)


def test_nothing_unsigned_is_decoded_and_sizes_come_first() -> None:
    def explode(payload: bytes) -> None:
        raise AssertionError("decoded what nobody signed")

    now = at(20)
    traps = {
        key: msgspec.structs.replace(key_rule, decode=explode)
        for key, key_rule in now.postable.items()
    }
    trapped = msgspec.structs.replace(now, postable=traps)
    record = make_record("hoster-commit", Epoch(EPOCH), now)
    assert not INFERENCE_POLICY.admit(msgspec.structs.replace(record, value=bytes(96)), trapped)
    with pytest.raises(AssertionError):
        INFERENCE_POLICY.admit(record, trapped)
    huge = INFERENCE_POLICY.admit(
        msgspec.structs.replace(record, key=bytes(20), value=bytes(1 << 20)), now
    )
    assert isinstance(huge, Denied)
    assert huge.reason is Reason.TOO_LARGE


def test_reading_is_not_bound_by_windows_but_by_all_else() -> None:
    record = make_record("hoster-commit", Epoch(EPOCH), at(20))
    for block in (0, 20, 99):
        assert INFERENCE_POLICY.recognise(record, at(block))
    for later in (1, 2):
        schedule = EpochSchedule(INFERENCE_POLICY)
        for epoch in range(EPOCH, EPOCH + later + 1):
            schedule.add(make_context(Epoch(epoch)))
        now = schedule.compute_evaluation_context(
            TIMING.compute_first_block(Epoch(EPOCH + later)), compute_unix_seconds(BlockNumber(0))
        )
        assert INFERENCE_POLICY.recognise(record, now)
    refused = {
        "next epoch's key": make_record("hoster-commit", Epoch(EPOCH + 1), at(20)),
        "a stranger": make_record("hoster-commit", Epoch(EPOCH), at(20), author=dave),
        "the wrong role": make_record("hoster-commit", Epoch(EPOCH), at(20), author=victor),
        "forged": msgspec.structs.replace(record, value=bytes(96)),
        "an endless life": sign(alice, COMMIT_KEY, bytes(32), float("inf")),
        "the wrong size": sign(alice, COMMIT_KEY, bytes(31), record.expiration_time),
    }
    for what, forgery in refused.items():
        assert not INFERENCE_POLICY.recognise(forgery, at(20)), what


def test_reading_judges_authors_by_the_roster_of_the_keys_epoch() -> None:
    schedule = EpochSchedule(INFERENCE_POLICY)
    schedule.add(
        make_context(
            Epoch(EPOCH), roster=make_roster(Epoch(EPOCH), {alice: HOSTER, victor: VALIDATOR})
        )
    )
    schedule.add(
        make_context(
            Epoch(EPOCH + 1), roster=make_roster(Epoch(EPOCH + 1), {bob: HOSTER, victor: VALIDATOR})
        )
    )
    now = schedule.compute_evaluation_context(
        BlockNumber(TIMING.compute_first_block(Epoch(EPOCH + 1)) + 20),
        compute_unix_seconds(BlockNumber(0)),
    )
    then = at(20)
    assert INFERENCE_POLICY.recognise(
        make_record("hoster-commit", Epoch(EPOCH), then, author=alice), now
    )
    assert not INFERENCE_POLICY.recognise(
        make_record("hoster-commit", Epoch(EPOCH), then, author=bob), now
    )


def test_a_key_an_author_admits_no_other() -> None:
    policy = Policy(
        Rule("out-{author}_epoch_{epoch}", by=HOSTER, ttl=epochs(2), schema=Digest(), once=True)
    )
    schedule = make_schedule(policy)
    now = schedule.compute_evaluation_context(FIRST_BLOCK, compute_unix_seconds(FIRST_BLOCK))
    name = f"out-{alice.author.hex()}_epoch_{EPOCH}"
    expiration_time = now.time_seconds + TIMING.seconds_per_epoch
    assert policy.admit(sign(alice, name, bytes(32), expiration_time), now)
    denied = policy.admit(sign(bob, name, bytes(32), expiration_time), now)
    assert isinstance(denied, Denied)
    assert denied.reason is Reason.NOT_AUTHOR


def test_an_empty_policy_refuses_everything() -> None:
    schedule = make_schedule(Policy())
    now = schedule.compute_evaluation_context(FIRST_BLOCK, compute_unix_seconds(FIRST_BLOCK))
    assert not Policy().admit(make_record("hoster", Epoch(EPOCH), now), now)


def test_a_refusal_says_when_it_would_be_admitted() -> None:
    now = at(2)
    words = str(INFERENCE_POLICY.admit(make_record("hoster-commit", Epoch(EPOCH), now), now))
    assert (
        words == f"denied, early; by rule {COMMIT_KEY}; expected blocks {FIRST_BLOCK + 16} to"
        f" {FIRST_BLOCK + 50}; saw block {FIRST_BLOCK + 2}; opens in 14 blocks, about 84 s"
    )


def test_an_unknown_key_is_refused_with_the_names_of_those_that_exist() -> None:
    now = at(20)
    stray = sign(alice, "hoster-comit_epoch_7", bytes(32), now.time_seconds + 60.0)
    verdict = INFERENCE_POLICY.admit(stray, now)
    assert isinstance(verdict, Denied)
    assert verdict is now.no_such_key, "a flood of them allocates nothing"
    assert "hoster, validator, consensus-epoch_7, hoster-commit_epoch_7, " in str(verdict)
    read = INFERENCE_POLICY.recognise(stray, now)
    assert isinstance(read, Denied)
    assert read.reason is Reason.UNKNOWN_KEY


def test_a_refusal_names_roles_peers_and_blocks() -> None:
    now = at(20)
    verdicts = {
        "role": make_record("hoster-commit", Epoch(EPOCH), now, author=victor),
        "stranger": make_record("hoster-commit", Epoch(EPOCH), now, author=dave),
    }
    words = {what: str(INFERENCE_POLICY.admit(record, now)) for what, record in verdicts.items()}
    assert words == {
        "role": f"denied, wrong-role; by rule {COMMIT_KEY}; expected hoster; saw validator",
        "stranger": (
            f"denied, not-on-roster; by rule {COMMIT_KEY}; expected an author on the epoch's"
            f" roster; saw {format_peer_id(dave.author)}"
        ),
    }
    early = make_record("consensus", Epoch(EPOCH), at(4), author=vera)
    assert str(INFERENCE_POLICY.admit(early, at(4))) == (
        f"denied, not-elected; by rule consensus-epoch_{EPOCH}; expected"
        f" {format_peer_id(victor.author)}; saw {format_peer_id(vera.author)}; opens in 7 blocks,"
        " about 42 s"
    )


@pytest.mark.parametrize(
    ("kind", "blocks_per_epoch", "blocks"),
    [
        ("hoster", 100, 1.0),  # it has no window
        ("hoster-reveal", 100, 1.0),
        ("hoster-reveal", 20, 0.5),  # a quarter of its own two blocks
        ("consensus", 20, 0.75),  # a quarter of its own three blocks
        ("hoster-commit", 20, 0.5),  # a quarter of the two blocks behind it
    ],
)
def test_authors_stay_a_block_from_the_edges_or_a_quarter_of_the_shorter_window(
    kind: str, blocks_per_epoch: int, blocks: float
) -> None:
    timing = Timing(BlockNumber(0), blocks_per_epoch, 6.0)
    rule = INFERENCE_POLICY.get_rule(kind)
    assert INFERENCE_POLICY.compute_margin_seconds(rule, timing) == pytest.approx(6.0 * blocks)


def test_the_digest_changes_with_every_fact_of_the_policy() -> None:
    rule = Rule(
        "a_epoch_{epoch}", by=HOSTER, ttl=epochs(1), schema=Digest(), during=percent("[0, 50]")
    )
    changes: dict[str, object] = {
        "name": "b_epoch_{epoch}",
        "by": VALIDATOR,
        "ttl": epochs(2),
        "schema": Digest(20),
        "during": percent("[0, 50)"),
        "once": True,
        "max_bytes": 100,
        "kept_until": epochs(1),
        "elected_until": epochs("0.1"),
        "opens": "c",
        "epochs_ago": 1,
    }
    assert set(changes) == set(Rule.__struct_fields__)
    digests = {Policy(rule).digest} | {
        Policy(msgspec.structs.replace(rule, **{fact: value})).digest
        for fact, value in changes.items()
    }
    assert len(digests) == len(changes) + 1
    assert Policy(rule).digest == Policy(msgspec.structs.replace(rule), limits=Limits()).digest
    wide = Allowance(Rate(9, 9), Rate(9, 9))
    limits = [
        Limits(member=wide),
        Limits(spare=wide),
        Limits(stranger=wide),
        Limits(strangers=wide),
        Limits(author=Quota(9, 9)),
        Limits(key=Quota(9, 9)),
        Limits(total=Quota(9, 9)),
    ]
    assert (
        len({Policy(rule, limits=each).digest for each in limits} | {Policy(rule).digest})
        == len(limits) + 1
    )
    assert (
        Policy(rule, limits=limits[0]).digest
        == Policy(rule, limits=Limits(Allowance(Rate(9.0, 9.0), Rate(9.0, 9.0)))).digest
    )


def test_what_is_read_again_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[bytes] = []

    def count(signed: bytes, key: RecordKey) -> bytes:
        verified.append(signed)
        return crypto_sign_open(signed, key)

    monkeypatch.setattr("epochgate.core.record.crypto_sign_open", count)
    record = sign(
        bob, COMMIT_KEY, b"read again".ljust(32), at(20).time_seconds + TIMING.seconds_per_epoch
    )
    forgeries = [
        msgspec.structs.replace(record, value=record.value[:-1] + b"\1"),
        msgspec.structs.replace(record, author=alice.author),
        msgspec.structs.replace(record, expiration_time=record.expiration_time + 1),
    ]
    for _ in range(3):
        assert INFERENCE_POLICY.recognise(record, at(20))
        assert not any(INFERENCE_POLICY.recognise(forgery, at(20)) for forgery in forgeries)
    assert len(verified) == 1 + len(forgeries)
