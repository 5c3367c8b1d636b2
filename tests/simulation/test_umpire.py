"""The umpire sees what is broken: each of its complaints is provoked by a subnet whose nodes all
break that one rule.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import pytest

from epochgate.core import claim, record_set, rule, settlement
from epochgate.core.evaluation import EvaluationContext
from epochgate.core.receipt import (
    Proof,
    Receipt,
    ReceiptRule,
    Standing,
    compute_receipt_bytes,
    compute_record_id,
)
from epochgate.core.record import Record, compute_key
from epochgate.core.record_set import RuleReading
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.rule import KeyRule, Rule
from epochgate.core.settlement import HosterOutcome, compute_deciding, compute_hoster_outcome
from epochgate.core.types import Epoch, NetworkId, PeerId
from epochgate.core.verdict import Denied, Reason
from epochgate.engine import memory
from epochgate.engine.answer import get_answer
from epochgate.engine.memory import Links
from epochgate.keys import SigningKey
from epochgate.node import (
    attestor,
    context,
    heartbeat,
    hoster,
    runner,
    scheduler,
    settling,
    validator,
)
from epochgate.node.context import DutyFailed, NodeContext
from epochgate.node.duties import _Table, compute_duties
from epochgate.store.chain_clock import ChainClock
from epochgate.store.database import NodeDatabase
from epochgate.store.repair import Repair
from epochgate.store.replica import Replica
from epochgate.store.wire import is_read
from tests.simulation import faults
from tests.simulation.faults import Fault, Plan
from tests.simulation.run import run_plan
from tests.support.identities import key_of

Patch = pytest.MonkeyPatch
HOSTERS = tuple(f"hoster-{number}" for number in range(4))
VALIDATORS = tuple(f"validator-{number}" for number in range(3))
LOST_DISK = Fault(faults.WIPE, ("hoster-1",), 30.0, 34.0)
F = 2


def make_calm_plan(*faults_drawn: Fault, duplication: float = 0.0) -> Plan:
    links = Links(latency_seconds=0.05, duplication=duplication)
    return Plan(0, 2, HOSTERS, VALIDATORS, faults.WITHIN_F, links, {}, {}, faults_drawn)


def test_a_calm_run_breaks_nothing() -> None:
    report = run_plan(make_calm_plan())
    assert (report.broken, report.attested_epochs) == ("", (1,))


def assert_seen(complaint: str, *faults_drawn: Fault, duplication: float = 0.0) -> None:
    report = run_plan(make_calm_plan(*faults_drawn, duplication=duplication))
    assert complaint in report.broken
    assert report.last


# What replicas take.


def admit_everything(patch: Patch) -> None:
    """Whatever a replica refuses by its policy it takes all the same."""
    post = Replica._post

    def take(self: Replica, sender: PeerId, record: Record, now: EvaluationContext) -> object:
        answer = post(self, sender, record, now)
        key_rule = self.judge.find_key_rule(record.key, now)
        return (
            answer
            if isinstance(answer, Receipt) or key_rule is None
            else self._keep(record, key_rule, now)
        )

    patch.setattr(Replica, "_post", take)


def commit_anew(patch: Patch) -> None:
    """A node that lost its ledger does not ask what it said before, and says something else."""

    async def say_nothing_was_said(_station: NodeContext, _rule: Rule, _epoch: Epoch) -> None:
        return None

    patch.setattr(NodeContext, "find_own_record", say_nothing_was_said)


def come_early(patch: Patch) -> None:
    """Authors come three blocks before their time."""
    compute = _Table._compute_authors_time

    def compute_early(self: _Table, rule: Rule) -> tuple[float, float]:
        opens, closes = compute(self, rule)
        return opens - 3, closes

    patch.setattr(_Table, "_compute_authors_time", compute_early)


def live_long(patch: Patch) -> None:
    patch.setattr(context, "compute_seconds", lambda _span, timing: 3 * timing.seconds_per_epoch)


def live_short(patch: Patch) -> None:
    patch.setattr(context, "compute_seconds", lambda _span, timing: timing.seconds_per_epoch / 2)


def beat_for_ever(patch: Patch) -> None:
    patch.setattr(
        heartbeat, "compute_lifetime_seconds", lambda longest_seconds, _state: 2 * longest_seconds
    )


def commit_to_too_little(patch: Patch) -> None:
    patch.setattr(hoster, "compute_commitment", lambda *_: bytes(31))


def sign_nothing(patch: Patch) -> None:
    patch.setattr(
        SigningKey,
        "sign_record",
        lambda self, _network, *it: Record(it[0], self.author, bytes(64) + it[1], it[2]),
    )


def elect_all(patch: Patch) -> None:
    """Every validator does what the elected one does."""
    compute = compute_duties

    def compute_as_elected(
        policy: Any, timing: Any, epoch: Epoch, roles: int, **options: Any
    ) -> object:
        return compute(policy, timing, epoch, roles, **options | {"is_elected": roles == VALIDATOR})

    patch.setattr(scheduler, "compute_duties", compute_as_elected)


def do_all_duties(patch: Patch) -> None:
    """Hosters do validators' work as well."""
    compute = compute_duties

    def compute_all(policy: Any, timing: Any, epoch: Epoch, _roles: int, **options: Any) -> object:
        return compute(policy, timing, epoch, HOSTER | VALIDATOR, **options)

    patch.setattr(scheduler, "compute_duties", compute_all)


def beat_in_both_roles(patch: Patch) -> None:
    rules = heartbeat.HeartbeatPublisher._get_rules
    patch.setattr(
        heartbeat.HeartbeatPublisher,
        "_get_rules",
        lambda self: {**dict.fromkeys(rules(self), 0), **find_heartbeats(self)},
    )


def find_heartbeats(publisher: heartbeat.HeartbeatPublisher) -> dict[Rule, int]:
    return {it: 0 for it in publisher._node.policy.rules if heartbeat.is_heartbeat(it)}


def post_for_others(patch: Patch) -> None:
    """What anybody posts seems to come from one of them."""
    answer = get_answer
    sender = key_of(HOSTERS[0]).author

    async def answer_another(handler: Any, who: bytes, message: bytes, most: int) -> bytes:
        return await answer(handler, PeerId(who if is_read(message) else sender), message, most)

    patch.setattr(memory, "get_answer", answer_another)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (come_early, "outside its window"),
        (live_long, "lives 1788 s"),
        (live_short, "expires before it is last read"),
        (beat_for_ever, "hoster lives"),
        (commit_to_too_little, "of 31 bytes"),
        (sign_nothing, "was admitted unsigned"),
        (elect_all, "not elected"),
        (do_all_duties, "not in that role"),
        (beat_in_both_roles, "and was admitted"),
        (post_for_others, "from somebody else than its author"),
    ],
)
def test_a_record_admitted_outside_its_rule(
    monkeypatch: Patch, spoil: Callable[[Patch], None], complaint: str
) -> None:
    spoil(monkeypatch)
    admit_everything(monkeypatch)
    assert_seen(complaint)


def test_a_record_under_a_key_that_no_rule_makes(monkeypatch: Patch) -> None:
    monkeypatch.setattr(rule, "compute_key", lambda name: compute_key(name + "!"))
    assert_seen("under a key that no rule makes")


def test_a_second_value_under_a_once_key(monkeypatch: Patch) -> None:
    commit_anew(monkeypatch)
    admit_everything(monkeypatch)
    assert_seen("a second value under a once-key", LOST_DISK)


def test_a_record_admitted_by_an_old_head(monkeypatch: Patch) -> None:
    compute = ChainClock.get_block
    monkeypatch.setattr(ChainClock, "get_block", lambda self: (compute(self)[0], False))
    assert_seen("by a head that is", Fault(faults.STALL, ("hoster-1",), 10.0, 60.0))


# What replicas sign, keep and refuse.


def test_receipts_that_name_another_block(monkeypatch: Patch) -> None:
    get_block = ChainClock.get_block

    def get_block_ahead(self: ChainClock) -> tuple[int, bool]:
        block, is_stale = get_block(self)
        return block + 1, is_stale

    monkeypatch.setattr(ChainClock, "get_block", get_block_ahead)
    assert_seen("for another block")


def test_receipts_that_are_not_signed(monkeypatch: Patch) -> None:
    compute = compute_receipt_bytes
    first = [b"something else"]
    monkeypatch.setattr(
        "epochgate.store.replica.compute_receipt_bytes",
        lambda *it: first.pop() if first else compute(*it),
    )
    assert_seen("a false receipt of")


def test_another_receipt_for_the_same_record(monkeypatch: Patch) -> None:
    post = Replica._post
    seen = set[tuple[bytes, bytes]]()

    def sign_again(self: Replica, sender: PeerId, record: Record, now: EvaluationContext) -> object:
        answer = post(self, sender, record, now)
        if isinstance(answer, Receipt) and (self.author, record.value) in seen:
            return msgspec.structs.replace(answer, block=answer.block + 1)
        seen.add((self.author, record.value))
        return answer

    monkeypatch.setattr(Replica, "_post", sign_again)
    assert_seen("gave another receipt for the same record", duplication=0.5)


def test_a_complete_record_that_is_lost(monkeypatch: Patch) -> None:
    keep = NodeDatabase.keep

    def lose(self: NodeDatabase, record: Record, receipts: object, epoch: Epoch) -> None:
        keep(self, record, receipts, epoch)  # type: ignore[arg-type]
        self._index.remove(record.key, record.author)

    monkeypatch.setattr(NodeDatabase, "keep", lose)
    assert_seen("is lost")


def test_an_honest_node_refused_for_anothers_fault(monkeypatch: Patch) -> None:
    monkeypatch.setattr(Replica, "_post", lambda *_: Denied(Reason.BAD_SIGNATURE))
    assert_seen("who is honest, as bad-signature")


# What replicas take from each other.


def take_with_one_receipt(proof: Proof) -> Proof:
    return Proof(proof.record, proof.receipts[:1])


def take_with_a_false_receipt(proof: Proof) -> Proof:
    first, *others = proof.receipts
    return Proof(proof.record, (msgspec.structs.replace(first, block=first.block + 1), *others))


def take_what_was_never_posted(proof: Proof) -> Proof:
    """F + 1 replicas say that they saw it in time."""
    record = msgspec.structs.replace(proof.record, value=proof.record.value[:-1] + b"!")
    keys = {key.author: key for key in map(key_of, HOSTERS + VALIDATORS)}

    def sign(receipt: Receipt) -> Receipt:
        message = compute_receipt_bytes(
            NetworkId(NETWORKS[0]), compute_record_id(record), receipt.epoch, receipt.block
        )
        return msgspec.structs.replace(receipt, signature=keys[receipt.replica].sign(message))

    return Proof(record, tuple(map(sign, proof.receipts[: F + 1])))


NETWORKS: list[bytes] = []


@pytest.mark.parametrize(
    ("forge", "complaint"),
    [
        (take_with_one_receipt, "took a copy that 1 replicas vouch for"),
        (take_with_a_false_receipt, "a false receipt of"),
        (take_what_was_never_posted, "took a copy that no honest replica admitted in time"),
    ],
)
def test_a_forged_repair(
    monkeypatch: Patch, forge: Callable[[Proof], Proof], complaint: str
) -> None:
    take = Repair._take_copy

    def take_forged(self: Repair, proof: Proof, key_rule: KeyRule) -> bool:
        NETWORKS[:] = [key_rule.context.network]
        return take(self, forge(proof), key_rule)

    monkeypatch.setattr(Repair, "_take_copy", take_forged)
    assert_seen(complaint, LOST_DISK)


# What the set names, and what is paid.


def prove_by_one_receipt(patch: Patch) -> None:
    """A hoster's commitment that one replica has is taken for proven and complete."""
    post = Replica._post

    def refuse_but_one(
        self: Replica, sender: PeerId, record: Record, now: EvaluationContext
    ) -> object:
        key_rule = self.judge.find_key_rule(record.key, now)
        if (
            key_rule is not None
            and key_rule.rule.kind == "hoster-commit"
            and self.author != key_rule.replica_set.replicas[0]
        ):
            return Denied(Reason.LATE)
        return post(self, sender, record, now)

    patch.setattr(Replica, "_post", refuse_but_one)
    patch.setattr(
        ReceiptRule,
        "judge_count",
        lambda _, count: Standing.COMPLETE if count else Standing.UNPROVEN,
    )


def leave_one_out(patch: Patch) -> None:
    get_proofs = RuleReading.get_proofs

    def get_but_one(self: RuleReading, standing: Standing) -> dict[PeerId, list[Proof]]:
        found = get_proofs(self, standing)
        found.pop(key_of(HOSTERS[0]).author, None)
        return found

    patch.setattr(RuleReading, "get_proofs", get_but_one)


def name_another_root(patch: Patch) -> None:
    for module in (record_set, claim):
        patch.setattr(module, "compute_root", lambda _: bytes(32))


def name_fewer_rules(patch: Patch) -> None:
    compute = compute_deciding
    patch.setattr(settling, "compute_deciding", lambda *it, **options: compute(*it, **options)[:-1])


def pay_one_too_much(patch: Patch) -> None:
    patch.setattr(settlement, "compute_pay", lambda hosters, *_, **_pots: dict.fromkeys(hosters, 1))


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (prove_by_one_receipt, "with nothing proven in time"),
        (leave_one_out, "was left out of the set"),
        (name_another_root, "is not of records admitted in time"),
        (name_fewer_rules, "has other bitmaps"),
        (pay_one_too_much, "add up to 4"),
    ],
)
def test_a_set_on_which_all_agree_and_which_is_wrong(
    monkeypatch: Patch, spoil: Callable[[Patch], None], complaint: str
) -> None:
    spoil(monkeypatch)
    assert_seen(complaint)


# Whether they agree.


def score_as_one_likes(patch: Patch) -> None:
    compute = compute_hoster_outcome
    number = itertools.count()

    def compute_another(*it: Any) -> HosterOutcome:
        outcome = compute(*it)
        return msgspec.structs.replace(outcome, scores=dict.fromkeys(outcome.scores, next(number)))

    patch.setattr(validator, "compute_hoster_outcome", compute_another)


def score_nothing(patch: Patch) -> None:
    async def miss(*_: object) -> str:
        raise DutyFailed("not today")

    patch.setattr(validator, "_score", miss)


def remember_other_lists(patch: Patch) -> None:
    keep = NodeDatabase.keep_score_list
    number = itertools.count()

    def keep_another(self: NodeDatabase, epoch: Epoch, _scores: Iterable[int]) -> None:
        keep(self, epoch, (next(number),))

    patch.setattr(NodeDatabase, "keep_score_list", keep_another)


def find_fault(patch: Patch) -> None:
    def compare(_submitted: Mapping[bytes, int], _recomputed: Mapping[bytes, int]) -> Iterable[str]:
        yield "it does not please"

    patch.setattr(attestor, "_compare", compare)


def miss(duty: str) -> Callable[[Patch], None]:
    async def miss_it(*_: object) -> str:
        raise DutyFailed("not today")

    return lambda patch: patch.setitem(runner.DUTY_HANDLERS, duty, miss_it)


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (score_as_one_likes, "validators differ about healed epoch 1"),
        (score_nothing, "not everybody scored epoch 1 once healed"),
        (remember_other_lists, "remember different lists"),
        (find_fault, "refused an honest submitter"),
        (miss("attest"), "did not attest in healed epoch 1"),
        (miss("submit"), "an honest node submitted nothing in healed epoch 1"),
    ],
)
def test_nodes_that_do_not_agree(
    monkeypatch: Patch, spoil: Callable[[Patch], None], complaint: str
) -> None:
    spoil(monkeypatch)
    assert_seen(complaint)
