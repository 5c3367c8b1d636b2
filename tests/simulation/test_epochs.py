"""Whole epochs of whole nodes, in virtual time: complete when all is well, and when this or that is
not.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from epochgate.core.receipt import Standing
from epochgate.core.roster import HOSTER
from epochgate.core.scoring import HOSTER_POT, TOTAL_PAY
from epochgate.core.types import Epoch, Hash32, PeerId
from epochgate.core.verdict import Reason
from epochgate.engine.memory import Hub, MemoryNetwork
from epochgate.node.attestor import ask_for_set
from epochgate.node.hoster import commit
from epochgate.observe.events import (
    Abstained,
    AttestationRefused,
    Attested,
    ChallengeSeen,
    DutyMissed,
    EpochBegan,
    Gathered,
    NodeReady,
    NodeStopped,
    NodeWarning,
    Scored,
    Stored,
    Submitted,
    Verdicts,
)
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.ports import Submission
from tests.simulation.subnet import (
    HOSTERS,
    VALIDATORS,
    LyingModel,
    NoModel,
    SimNode,
    SimSubnet,
    assert_complete,
    live,
)
from tests.support.identities import alice, dave, key_of, sign

COMMIT = INFERENCE_POLICY.get_rule("hoster-commit")


def test_every_epoch_is_complete(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(4), 60)
        for epoch in range(4):
            await assert_complete(subnet, Epoch(epoch))
            elected = await subnet.get_elected(Epoch(epoch))
            for sim_node in subnet.nodes.values():
                assert [fact.author for fact in sim_node.get(ChallengeSeen, Epoch(epoch))] == [
                    elected.peer_id
                ]
                assert sim_node.get(EpochBegan, Epoch(epoch))[0].elected == elected.peer_id
                assert all(
                    fact.is_complete and fact.receipts == fact.k
                    for fact in sim_node.get(Stored, Epoch(epoch))
                )
            if epoch > 0:
                validators = sorted(subnet[name].peer_id for name in VALIDATORS)
                for name in VALIDATORS:
                    assert [
                        sorted(fact.validator_openings)
                        for fact in subnet[name].get(Gathered, Epoch(epoch))
                    ] == [validators]
        await subnet.stop()
        for sim_node in subnet.nodes.values():
            bad = (DutyMissed, NodeWarning, AttestationRefused)
            assert [fact for fact in sim_node.facts if isinstance(fact, bad)] == []
            assert sum(fact.admitted for fact in sim_node.get(Verdicts)) > 0
            assert all(not fact.denied for fact in sim_node.get(Verdicts))
            assert isinstance(sim_node.facts[0], NodeReady)
            assert isinstance(sim_node.facts[-1], NodeStopped)

    live(tmp_path, story)


def test_the_first_epoch_pays_nobody_and_the_second_everybody(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(2), 30)
        first = await subnet.get_submission(Epoch(1))
        second = await subnet.get_submission(Epoch(2))
        assert set(first.submission.scores.values()) == {0}
        assert sum(second.submission.scores.values()) == TOTAL_PAY
        assert {second.submission.scores[subnet[name].key.author] for name in HOSTERS} == {
            HOSTER_POT // 4
        }
        submitter = await subnet.get_elected(Epoch(2))
        submitted = submitter.get(Submitted, Epoch(2))[0]
        assert submitted.scored_epoch == 1
        assert submitted.root == second.submission.root.hex()

    live(tmp_path, story)


def test_the_same_seed_gives_the_same_run(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> list[list[object]]:
        await subnet.start()
        await subnet.run_until(Epoch(2), 60)
        await subnet.stop()
        return [list(sim_node.facts) for sim_node in subnet.nodes.values()]

    runs = []
    for number, seed in enumerate((7, 7, 8)):
        folder = tmp_path / str(number)
        folder.mkdir()
        runs.append(live(folder, story, seed=seed))
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_a_node_in_both_roles_does_and_earns_both(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(2), 30)
        await assert_complete(subnet, Epoch(1))
        scores = (await subnet.get_submission(Epoch(2))).submission.scores
        both, hoster, validator = (
            scores[subnet[name].key.author] for name in ("erin", "alice", "victor")
        )
        assert both == hoster + validator
        assert subnet["erin"].get(NodeReady)[0].roles == ["hoster", "validator"]

    live(tmp_path, story, both=("erin",))


def test_an_absent_elected_node_costs_nobody_a_score(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 0.01)
        absent = await subnet.get_elected(Epoch(1))
        await absent.kill()
        await subnet.run_until(Epoch(2), 30)
        others = [sim_node for sim_node in subnet.nodes.values() if sim_node is not absent]
        for sim_node in others:
            seen = sim_node.get(ChallengeSeen, Epoch(1))
            assert len(seen) == 1
            assert seen[0].author in {subnet[name].peer_id for name in VALIDATORS} - {
                absent.peer_id
            }
            failed = [
                fact.why for fact in sim_node.get(DutyMissed, Epoch(1)) if fact.duty == "attest"
            ]
            assert failed == ["nobody has submitted"]
        stood_in = [
            sim_node.name
            for sim_node in others
            for fact in sim_node.get(Stored, Epoch(1))
            if fact.rule == "consensus"
        ]
        assert len(stood_in) == 1, "the second stand-in sees the first one's challenge"
        assert await subnet.chain.get_submission(Epoch(1)) is None
        if (await subnet.get_elected(Epoch(2))) is not absent:
            await assert_complete(subnet, Epoch(1), without=(absent.name,))
            assert (
                sum((await subnet.get_submission(Epoch(2))).submission.scores.values()) == TOTAL_PAY
            )

    live(tmp_path, story)


def test_a_hoster_that_commits_and_never_opens_gets_nothing(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 50)
        await subnet["dave"].kill()
        await subnet.run_until(Epoch(1), 62)
        await subnet["dave"].start()
        await subnet.run_until(Epoch(2), 45)
        await assert_complete(subnet, Epoch(1), without=("dave",))
        on_chain = await subnet.get_submission(Epoch(2))
        dave = subnet["dave"].key.author
        assert on_chain.submission.scores[dave] == 0
        assert dave in on_chain.attested_by
        scored = subnet["victor"].get(Scored, Epoch(1))[0]
        assert subnet["dave"].peer_id in scored.commitments
        assert subnet["dave"].peer_id not in scored.openings

    live(tmp_path, story, is_on_disk=True)


def test_a_copier_gets_nothing_and_costs_nobody_anything(tmp_path: Path) -> None:
    """Dave has no model: he commits to alice's digest, and shows her opening when she does."""

    async def copy(subnet: SimSubnet, kind: str, epoch: Epoch) -> None:
        node_context = subnet["dave"].get_live_node().context
        rule = INFERENCE_POLICY.get_rule(kind)
        rule_reading = await node_context.store.read_all(rule, epoch)
        copied = rule_reading.get_proofs(Standing.PROVEN)[subnet["alice"].key.author][
            0
        ].record.payload
        record = node_context.sign_once(rule, epoch, copied)
        posting = await node_context.store.post(
            record, node_context.get_key_rule(rule, epoch), node_context.get_unix_seconds() + 60
        )
        assert posting.is_complete

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 30)
        await copy(subnet, "hoster-commit", Epoch(1))
        await subnet.run_until(Epoch(1), 55)
        await copy(subnet, "hoster-reveal", Epoch(1))
        await subnet.run_until(Epoch(2), 30)
        await assert_complete(subnet, Epoch(1), without=("dave",))
        assert subnet["victor"].get(Scored, Epoch(1))[0].scores[subnet["dave"].peer_id] == 0
        assert (await subnet.get_submission(Epoch(2))).submission.scores[
            subnet["dave"].key.author
        ] == 0
        assert [
            fact.why
            for fact in subnet["dave"].get(DutyMissed, Epoch(1))
            if fact.duty == "commit-output"
        ] == ["RuntimeError: there is no model here"]

    live(tmp_path, story, models={"dave": NoModel()})


def test_a_lying_hoster_scores_nothing_and_the_others_all(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(2), 30)
        assert subnet["victor"].get(Scored, Epoch(1))[0].scores[subnet["dave"].peer_id] == 0
        scores = (await subnet.get_submission(Epoch(2))).submission.scores
        assert {scores[subnet[name].key.author] for name in ("alice", "bob", "carol")} == {
            HOSTER_POT // 3,
            HOSTER_POT // 3 + 1,
        }

    live(tmp_path, story, models={"dave": LyingModel()})


def test_a_record_that_only_the_submitter_sees_proven_is_believed_by_its_receipts(
    tmp_path: Path,
) -> None:
    """Dave's commitment reaches f + 1 replicas, and alice cannot reach one of them: the submitter
    shows her its receipts.
    """

    def part(subnet: SimSubnet, name: str, *others: str) -> None:
        one = subnet[name].key.author
        many = {subnet[other].key.author for other in others}
        subnet.hub.is_cut = lambda sender, receiver: (
            (sender == one and receiver in many) or (receiver == one and sender in many)
        )

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 16)
        part(subnet, "dave", "alice", "victor", "vera", "vito")
        await subnet.run_until(Epoch(1), 51)
        (stored,) = [
            fact for fact in subnet["dave"].get(Stored, Epoch(1)) if fact.rule == COMMIT.kind
        ]
        assert (stored.receipts, stored.is_complete) == (3, False)
        part(subnet, "alice", "bob")
        await subnet.run_until(Epoch(2), 50)
        await assert_complete(subnet, Epoch(1))
        assert subnet["alice"].get(Attested, Epoch(2))

    live(tmp_path, story)


def test_an_attestor_that_hears_too_few_replicas_abstains_and_says_so(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 80)
        alice = subnet["alice"]
        others = [subnet[name].key.author for name in ("bob", "carol", "dave")]
        subnet.hub.is_cut = lambda sender, receiver: (
            alice.key.author in (sender, receiver) and (sender in others or receiver in others)
        )
        await subnet.run_until(Epoch(2), 50)
        assert [
            "too few replicas answered" in fact.why for fact in alice.get(Abstained, Epoch(2))
        ] == [True]
        assert not alice.get(Attested, Epoch(2))
        await assert_complete(subnet, Epoch(1), without=("alice",))
        subnet.hub.is_cut = lambda _sender, _receiver: False
        await subnet.run_until(Epoch(3), 50)
        assert not alice.get(AttestationRefused)
        assert alice.get(Attested, Epoch(3)), (
            "what the others attested without her she found out and built on"
        )

    live(tmp_path, story)


async def kill_more_than_f(subnet: SimSubnet, spared: SimNode) -> None:
    for sim_node in [sim_node for sim_node in subnet.nodes.values() if sim_node is not spared][:3]:
        await sim_node.kill()


def test_a_submitter_that_has_read_all_before_more_than_f_replicas_die_submits(
    tmp_path: Path,
) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(2), 0.01)
        submitter = await subnet.get_elected(Epoch(2))
        await kill_more_than_f(subnet, submitter)
        await subnet.run_until(Epoch(2), 50)
        on_chain = await subnet.get_submission(Epoch(2))
        assert on_chain.submitter == submitter.key.author
        named = [
            int.from_bytes(bitmap, "little").bit_count() for bitmap in on_chain.submission.bitmaps
        ]
        assert named == [4, 4, 3, 3], (
            "commitments and openings of four hosters, and of three validators"
        )

    live(tmp_path, story)


def test_a_submitter_that_hears_too_few_replicas_submits_nothing(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 0.01)
        elected = subnet.chain.predict_elected(Epoch(2))
        submitter = next(
            sim_node for sim_node in subnet.nodes.values() if sim_node.key.author == elected
        )
        await kill_more_than_f(subnet, submitter)
        await subnet.run_until(Epoch(2), 50)
        failed = [fact.why for fact in submitter.get(DutyMissed, Epoch(2)) if fact.duty == "submit"]
        assert ["too few replicas answered" in why for why in failed] == [True]
        assert await subnet.chain.get_submission(Epoch(2)) is None

    live(tmp_path, story)


def test_a_submission_that_pays_itself_more_is_refused_entry_by_entry(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(2), 0.01)
        submitter = await subnet.get_elected(Epoch(2))
        chain = submitter.get_live_node().context.chain
        submit = chain.submit

        async def submit_more(honest: Submission) -> None:
            scores = honest.scores | {submitter.key.author: TOTAL_PAY}
            await submit(Submission(honest.epoch, scores, honest.bitmaps, honest.root))

        chain.submit = submit_more  # type: ignore[method-assign] # dishonest in this
        await subnet.run_until(Epoch(2), 50)
        assert (await subnet.get_submission(Epoch(2))).attested_by == ()
        for sim_node in subnet.nodes.values():
            if sim_node is not submitter:
                (refusal,) = sim_node.get(AttestationRefused, Epoch(2))
                assert len(refusal.differences) == 1
                assert refusal.differences[0].startswith(
                    f"{submitter.peer_id}: submitted {TOTAL_PAY}, recomputed "
                )
        await subnet.run_until(Epoch(3), 50)
        if (await subnet.get_elected(Epoch(3))) is not submitter:
            await assert_complete(subnet, Epoch(2))

    live(tmp_path, story)


def test_epochs_complete_over_a_network_that_loses_messages(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(3), 50)
        for epoch in range(3):
            await assert_complete(subnet, Epoch(epoch))

    live(tmp_path, story, hub=Hub(latency_seconds=0.2, loss=0.02))


def test_a_second_commitment_after_the_first_is_refused_and_kept_as_evidence(
    tmp_path: Path,
) -> None:
    """Dave's ledger is wiped and he commits anew: replicas keep both signatures, and what came
    first counts.
    """

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 30)
        node_context = subnet["dave"].get_live_node().context
        with node_context.database._file.write() as connection:
            connection.execute("DELETE FROM own")
        record = commit(node_context, COMMIT, Epoch(1), Hash32(bytes(32)), b"something else")
        key_rule = node_context.get_key_rule(COMMIT, Epoch(1))
        posting = await node_context.store.post(
            record, key_rule, node_context.get_unix_seconds() + 10
        )
        assert not posting.receipts
        assert {denied.reason for denied in posting.refusals.values()} == {Reason.ALREADY_THERE}
        for sim_node in subnet.nodes.values():
            assert sim_node.get_live_node().context.database.has_evidence(
                key_rule.key, subnet["dave"].key.author
            )
        await subnet.run_until(Epoch(2), 30)
        await assert_complete(subnet, Epoch(1), without=("dave",))

    live(tmp_path, story)


def test_every_replica_is_asked_for_what_decides(tmp_path: Path) -> None:
    """A record may have come to a few replicas only, as copies with their receipts."""

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(0), 55)
        node_context = subnet["victor"].get_live_node().context
        (reading,) = (await node_context.read_rule(COMMIT, Epoch(0))).readings
        assert reading.answered == frozenset(reading.key_rule.replica_set.replicas)

    live(tmp_path, story)


def test_a_silent_replica_stops_no_subnet_whose_epochs_are_short(tmp_path: Path) -> None:
    """Five seconds an epoch: a timeout that is bearable on a slow chain would outlast the time to
    submit.
    """

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        subnet.hub.silent.add(subnet["dave"].key.author)
        await subnet.run_until(Epoch(3), 60)
        for epoch in (1, 2):
            await assert_complete(subnet, Epoch(epoch))

    live(tmp_path, story, hub=Hub(random.Random(0), latency_seconds=0.004), block_seconds=0.05)


def test_an_attestor_takes_all_pages_of_what_the_submitter_shows(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 30)
        submitter = subnet["victor"]
        other = subnet["vera"]
        records = [
            sign(
                subnet[name].key,
                "any",
                bytes([value]) * 7000,
                1e10,
                network=subnet.chain.network_id,
            )
            for value in range(8)
            for name in HOSTERS
        ]
        evidence = list(zip(records[:-4], records[4:], strict=True))
        submitter.get_live_node().replica.show_set(Epoch(1), [], evidence)
        shown = await ask_for_set(other.get_live_node().context, submitter.key.author, Epoch(1), ())
        assert list(shown.evidence) == evidence

    live(
        tmp_path, story, hub=Hub(random.Random(0), latency_seconds=0.05, max_message_bytes=1 << 18)
    )


def test_the_network_hears_of_every_roster_and_of_who_left_when_the_epoch_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[set[bytes]] = []

    def note(network: MemoryNetwork, members: Iterable[PeerId]) -> None:
        if network.peer_id == alice.author and members:
            noted.append(set(members))

    async def story(subnet: SimSubnet) -> None:
        everybody = {sim_node.key.author for sim_node in subnet.nodes.values()}
        await subnet.start()
        assert noted[-1] == everybody, "those who wait for the subnet to start"
        await subnet.run_until(Epoch(1), 50)
        assert all(members == everybody for members in noted)
        subnet.chain.deregister(dave.author)
        subnet.chain.register(newcomer.author, HOSTER)
        await subnet.run_until(Epoch(1), 99)
        assert noted[-1] == everybody | {newcomer.author}
        await subnet.run_until(Epoch(2), 5)
        assert noted[-1] == everybody - {dave.author} | {newcomer.author}

    newcomer = key_of("erin")
    monkeypatch.setattr(MemoryNetwork, "set_protected_peers", note)
    live(tmp_path, story)
