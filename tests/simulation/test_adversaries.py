"""Every adversary among honest nodes, in virtual time: none earns more than the honest mean, and no
honest score is lowered.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from numpy.typing import NDArray

from epochgate import INFERENCE_POLICY
from epochgate.adversaries import ADVERSARIES, senders
from epochgate.adversaries.replicas import COVETED_KEYS, grind_key
from epochgate.core import challenge, commitment, policy, roster, settlement
from epochgate.core.challenge import TensorSpec, compute_challenge
from epochgate.core.commitment import Opening, compute_commitment
from epochgate.core.evaluation import EvaluationContext
from epochgate.core.limits import Allowance, Limits, Rate
from epochgate.core.policy import Policy
from epochgate.core.receipt import ReceiptRule, Standing
from epochgate.core.record import Record, compute_key
from epochgate.core.record_set import RecordSet, RuleReading, compute_set
from epochgate.core.roster import HOSTER, Member, ReplicaSet, Roster
from epochgate.core.scoring import MAX_SCORE, Scoring
from epochgate.core.types import Epoch, NetworkId, PeerId, RecordKey
from epochgate.core.verdict import Verdict
from epochgate.engine.virtual_time import run_virtually
from epochgate.node import hoster, submitter, validator
from epochgate.node.runner import Node
from epochgate.observe.events import Scored, Stored
from epochgate.store import peers, replica
from epochgate.store.rate_limit import RateLimiter
from epochgate.store.replica import Replica
from epochgate.store.wire import Post, Reply, decode_reply, decode_request
from tests.simulation.subnet import SimNode, SimSubnet
from tests.simulation.test_challenges import CHOSEN, Prompter
from tests.support.identities import key_of

HONEST_HOSTERS = ("alice", "bob", "carol", "dave", "erin")
HONEST_VALIDATORS = ("victor", "vera", "vito")
VILLAINS = ("mallory", "marvin")
EPOCHS = 3


class BadWorld(SimSubnet):
    """A world in which the villains are all of one kind; with two of ten nodes f is 3, so they are
    a minority at every key.
    """

    def __init__(self, folder: Path, kind: str, count: int, **options: object) -> None:
        self.adversary = ADVERSARIES[kind]
        self.adversaries = VILLAINS[:count]
        is_hoster = bool(self.adversary.role & HOSTER)
        hosters = HONEST_HOSTERS + (self.adversaries if is_hoster else ())
        validators = HONEST_VALIDATORS + (() if is_hoster else self.adversaries)
        super().__init__(folder, hosters=hosters, validators=validators, **options)  # type: ignore[arg-type]

    def prepare(self, sim_node: SimNode, node: Node) -> None:
        if sim_node.name in self.adversaries:
            self.adversary.corrupt(node)

    async def measure_pay(self) -> dict[str, int]:
        """What each node was paid in all, in units of the chain's score."""
        on_chain = [
            found
            for epoch in range(1, EPOCHS + 1)
            if (found := await self.chain.get_submission(Epoch(epoch)))
        ]
        scores = [found.submission.scores for found in on_chain if found.is_attested]
        return {
            name: sum(paid.get(it.key.author, 0) for paid in scores)
            for name, it in self.nodes.items()
        }

    def find_lowered(self) -> list[str]:
        """Honest scores that an honest validator saw below the full one."""
        seen = [(name, fact) for name in HONEST_VALIDATORS for fact in self[name].get(Scored)]
        return [
            f"{hoster} has {fact.scores[self[hoster].peer_id]} in epoch {fact.epoch} by {name}"
            for name, fact in seen
            for hoster in HONEST_HOSTERS
            if fact.scores[self[hoster].peer_id] != MAX_SCORE
        ]

    def find_lacking(self) -> list[str]:
        """Honest records of which a replica gave no receipt by the time their author went on."""
        honest = [it for name, it in self.nodes.items() if name not in self.adversaries]
        return [
            f"{it.name} has {fact.receipts} receipts of {fact.rule} in epoch {fact.epoch}"
            for it in honest
            for fact in it.get(Stored)
            if fact.receipts < fact.k
        ]


class Outcome:
    def __init__(
        self,
        kind: str,
        debit: dict[str, int],
        lowered: list[str],
        scored: int,
        adversaries: tuple[str, ...],
    ) -> None:
        honest = HONEST_HOSTERS if ADVERSARIES[kind].role & HOSTER else HONEST_VALIDATORS
        self.honest_mean = sum(debit[name] for name in honest) // len(honest)
        self.earned = max(debit[name] for name in adversaries)
        self.lowered = lowered
        self.scored = scored
        self.debit = debit


def let_loose(folder: Path, kind: str, count: int = 1, seed: int = 0, **options: object) -> Outcome:
    async def story(_rng: random.Random) -> Outcome:
        subnet = BadWorld(folder, kind, count, seed=seed, **options)
        await subnet.start()
        await subnet.run_until(Epoch(EPOCHS), 60)
        scored = sum(len(subnet[name].get(Scored)) for name in HONEST_VALIDATORS)
        outcome = Outcome(
            kind, await subnet.measure_pay(), subnet.find_lowered(), scored, subnet.adversaries
        )
        await subnet.stop()
        return outcome

    return run_virtually(story, seed)


PAID_AS_HONEST = {"forger", "flooder", "poisoner", "hoarder", "squatter", "absent-elected"}
"""They do their work as well: what they do besides is to cost others, and gains nothing. All others
earn nothing at all, but for the replayer's first epoch, in which it has nothing to replay yet.
"""


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("kind", ADVERSARIES)
def test_no_adversary_earns_more_than_the_honest_mean_or_lowers_an_honest_score(
    tmp_path: Path, kind: str, count: int
) -> None:
    outcome = let_loose(tmp_path, kind, count)
    assert outcome.scored == EPOCHS * len(HONEST_VALIDATORS), (
        "every epoch is scored by every honest validator"
    )
    assert outcome.lowered == []
    assert outcome.honest_mean > 0
    assert outcome.earned <= outcome.honest_mean + EPOCHS, (
        "the odd unit of 10^18 a submission goes to the smallest author"
    )
    if kind not in PAID_AS_HONEST:
        assert outcome.earned == 0, outcome.debit


# What follows takes a defence away and shows that the attack then pays. A defence that no attack
# misses defends nothing.


def test_a_copier_is_paid_where_a_commitment_does_not_name_its_author(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit_without_author(
        network: NetworkId, kind: str, epoch: Epoch, _author: bytes, opening: Opening
    ) -> bytes:
        return compute_commitment(network, kind, epoch, PeerId(b""), opening)

    for module in (commitment, hoster):
        monkeypatch.setattr(module, "compute_commitment", commit_without_author)
    assert let_loose(tmp_path, "copier").earned > 0


@pytest.mark.parametrize("kind", ["latecomer", "early-bird"])
def test_who_keeps_no_window_is_paid_where_nobody_asks_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    admit = Policy.admit

    def admit_at_any_time(policy: Policy, record: Record, now: EvaluationContext) -> Verdict:
        key_rule = now.postable.get(record.key)
        block = (
            now.block if key_rule is None else min(max(now.block, key_rule.first), key_rule.last)
        )
        return admit(policy, record, msgspec.structs.replace(now, block=block))

    monkeypatch.setattr(Policy, "admit", admit_at_any_time)
    monkeypatch.setattr(
        ReceiptRule,
        "is_fitting",
        lambda rule, receipt: receipt.replica in rule.replica_set.replicas,
    )
    assert let_loose(tmp_path, kind).earned > 0


def test_a_late_commitment_counts_where_one_receipt_proves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReplicaSet, "weak_quorum", 1)
    outcome = let_loose(tmp_path, "two-faced", 2)
    assert outcome.earned > 0 or outcome.honest_mean == 0, (
        "it is paid, or honest validators disagree"
    )


def test_a_replayer_is_paid_where_neither_commitment_nor_challenge_names_its_epoch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def commit_for_ever(
        network: NetworkId, kind: str, _epoch: Epoch, author: PeerId, opening: Opening
    ) -> bytes:
        return compute_commitment(network, kind, Epoch(0), author, opening)

    def ask_the_same_again(
        spec: TensorSpec, network: NetworkId, _epoch: Epoch, _seed: bytes
    ) -> NDArray[Any]:
        return compute_challenge(spec, network, Epoch(0), b"")

    for module in (commitment, hoster):
        monkeypatch.setattr(module, "compute_commitment", commit_for_ever)
    monkeypatch.setattr(challenge, "compute_challenge", ask_the_same_again)
    assert let_loose(tmp_path, "replayer").earned > 0


def test_an_equivocator_is_paid_where_either_of_its_commitments_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It opens the one that others' openings favour. Which of the two a set then names is a matter
    of their digests, and so of the seed.
    """

    def take_either(rule_readings: Sequence[RuleReading]) -> RecordSet:
        firsts = []
        for rule_reading in rule_readings:
            kept = {proofs[0] for proofs in rule_reading.get_proofs(Standing.PROVEN).values()}
            readings = [
                msgspec.structs.replace(
                    reading,
                    proofs={
                        record_id: it for record_id, it in reading.proofs.items() if it in kept
                    },
                )
                for reading in rule_reading.readings
            ]
            firsts.append(msgspec.structs.replace(rule_reading, readings=tuple(readings)))
        return compute_set(firsts)

    for module in (submitter, validator):
        monkeypatch.setattr(module, "compute_set", take_either)
    assert let_loose(tmp_path, "equivocator", seed=1).earned > 0


def test_a_withholder_is_paid_where_a_commitment_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def score_commitments(
        _outputs: object, committed: Collection[PeerId], _tolerance_ppm: int
    ) -> dict[bytes, int]:
        return dict.fromkeys(committed, MAX_SCORE)

    monkeypatch.setattr(settlement, "compute_hoster_scores", score_commitments)
    assert let_loose(tmp_path, "withholder").earned > 0


def test_forged_commitments_lock_others_out_where_nobody_asks_who_sends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handle = Replica.handle

    async def handle_for_anybody(replica: Replica, sender: PeerId, data: bytes) -> bytes:
        request = decode_request(data)
        return await handle(
            replica, request.record.author if isinstance(request, Post) else sender, data
        )

    monkeypatch.setattr(Replica, "handle", handle_for_anybody)
    monkeypatch.setattr(policy, "is_signed_under", lambda *_: True)
    monkeypatch.setattr(policy, "is_signed_before", lambda *_: True)
    assert let_loose(tmp_path, "forger").lowered


def test_a_hoarder_hides_records_where_a_key_has_one_replica(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roster, "MAX_REPLICAS", 1)
    outcomes = [
        let_loose(make_folder(tmp_path / str(seed)), "hoarder", 2, seed) for seed in range(3)
    ]
    assert any(
        outcome.lowered or outcome.scored < EPOCHS * len(HONEST_VALIDATORS) for outcome in outcomes
    )


def test_a_flood_takes_others_receipts_where_all_members_share_one_purse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of limits and a flood that are a tenth of what they are, so that it costs less to see."""
    monkeypatch.setattr(senders, "FLOOD_AT_ONCE", 100)
    monkeypatch.setattr(senders, "MOST_REQUESTS", 1_000)
    plenty, little, nothing = (
        Allowance(Rate(burst / 10, burst), Rate(1e6, 1e4 * burst)) for burst in (100.0, 20.0, 1e-9)
    )
    lacking = []
    for name, own in (("own", plenty), ("shared", nothing)):
        monkeypatch.setattr(
            replica, "RateLimiter", lambda _, own=own: RateLimiter(Limits(member=own, spare=little))
        )
        lacking.append(flood(make_folder(tmp_path / name)))
    assert lacking[0] == []
    assert lacking[1] != []


def flood(folder: Path) -> list[str]:
    """The honest records that lack a receipt after a first window with a flooder in it."""

    async def story(_rng: random.Random) -> list[str]:
        subnet = BadWorld(folder, "flooder", 1)
        await subnet.start()
        await subnet.run_until(Epoch(0), 45)
        await subnet.stop()
        return subnet.find_lacking()

    return run_virtually(story)


def test_a_poisoner_ends_honest_duties_where_a_reply_that_is_none_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def insist_on_a_reply(data: bytes) -> Reply:
        try:
            return decode_reply(data)
        except msgspec.MsgspecError:
            raise RuntimeError("a peer answered rubbish") from None

    monkeypatch.setattr(peers, "decode_reply", insist_on_a_reply)
    outcome = let_loose(tmp_path, "poisoner")
    assert outcome.lowered or outcome.scored < EPOCHS * len(HONEST_VALIDATORS)


def test_an_absent_publisher_costs_everybody_an_epoch_where_nobody_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the challenge is chosen; a derived one everybody computes."""
    options: dict[str, Any] = {
        "policy": CHOSEN,
        "challengers": dict.fromkeys((*HONEST_VALIDATORS, *VILLAINS), Prompter(1)),
    }
    assert not let_loose(
        make_folder(tmp_path / "stand-ins"), "absent-elected", 2, **options
    ).lowered
    monkeypatch.setattr(Roster, "compute_stand_ins", lambda *_: ())
    assert let_loose(make_folder(tmp_path / "nobody"), "absent-elected", 2, **options).lowered


@pytest.mark.parametrize("kind", ["lazy", "colluder"])
def test_any_answer_is_paid_where_everything_is_within_tolerance(tmp_path: Path, kind: str) -> None:
    lax = Policy(*INFERENCE_POLICY.rules, scoring=Scoring(tolerance_ppm=10**9))
    assert let_loose(tmp_path, kind, policy=lax).earned > 0


def test_an_empty_list_is_paid_where_every_list_weighs_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settlement, "count_good_entries", lambda *_: 1)
    assert let_loose(tmp_path, "empty-scorer").earned > 0


def test_a_ground_peer_id_wins_a_place_by_distance_and_none_by_seed() -> None:
    """Among sixty nodes the key that was ground for it lies nearest, where nearness decides, as in
    Kademlia; by seed it is a replica as often as anybody.
    """
    squatter = grind_key()
    members = [
        Member(key.author, HOSTER)
        for key in (squatter, *(key_of(f"villager {number}") for number in range(59)))
    ]
    keys = [compute_key(name) for name in COVETED_KEYS]

    def measure(author: PeerId, key: RecordKey) -> int:
        return int.from_bytes(compute_key(author.hex()), "big") ^ int.from_bytes(key, "big")

    nearest = [min(members, key=lambda member: measure(member.author, key)).author for key in keys]
    assert squatter.author in nearest
    rosters = [Roster(Epoch(epoch), epoch.to_bytes(32, "big"), members) for epoch in range(300)]
    places = sum(
        squatter.author in roster.get_replica_set(key).replicas
        for roster in rosters
        for key in keys
    )
    assert 0.13 < places / 600 < 0.31, "13 of 60 are replicas, four standard errors either way"


def make_folder(folder: Path) -> Path:
    folder.mkdir()
    return folder
