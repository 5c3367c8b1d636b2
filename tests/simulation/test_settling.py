"""The set on the chain, under attack: two-faced replicas, dishonest submitters, and nodes that
join, leave or forget.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from epochgate.core import settlement
from epochgate.core.commitment import Opening
from epochgate.core.peer_id import format_peer_id
from epochgate.core.receipt import Proof, Receipt, compute_receipt_bytes, compute_record_id
from epochgate.core.record import Record
from epochgate.core.record_set import KeyReading, RuleReading, read_bitmap
from epochgate.core.roster import HOSTER
from epochgate.core.rule import Rule
from epochgate.core.types import BlockNumber, Epoch, Hash32, PeerId, RecordKey, Salt
from epochgate.core.verdict import Reason
from epochgate.node.attestor import ask_for_set
from epochgate.node.challenge import get_challenge
from epochgate.node.hoster import commit
from epochgate.observe.events import (
    Abstained,
    AttestationRefused,
    Attested,
    DutyMissed,
    NodeWarning,
    Scored,
    Stored,
)
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.ports import ChainRefused, Submission
from epochgate.store.wire import (
    Fetch,
    List,
    Listing,
    Post,
    Posted,
    Values,
    decode_reply,
    decode_request,
    encode,
)
from tests.simulation.subnet import (
    VALIDATORS,
    HonestModel,
    NoModel,
    SimNode,
    SimSubnet,
    assert_complete,
    live,
)

COMMIT = INFERENCE_POLICY.get_rule("hoster-commit")
OPEN = INFERENCE_POLICY.get_rule("hoster-reveal")
LATE_PERCENT = 55
BACK_DATED_PERCENT = 20


def hide(
    subnet: SimSubnet,
    replica: SimNode,
    key: RecordKey,
    author: PeerId,
    from_whom: Callable[[bytes], bool],
) -> None:
    """`replica` answers honestly, but shows some readers nothing of `author` under `key`."""
    network = replica._network
    assert network is not None
    honest = network.handler
    assert honest is not None

    async def answer(sender: PeerId, data: bytes) -> bytes:
        reply = await honest(sender, data)
        request = decode_request(data)
        if not from_whom(sender) or not isinstance(request, (List, Fetch)) or request.key != key:
            return reply
        shown = decode_reply(reply)
        if isinstance(shown, Listing):
            return encode(
                Listing(
                    tuple(entry for entry in shown.entries if entry.author != author), shown.is_last
                )
            )
        if isinstance(shown, Values):
            return encode(
                Values(tuple(record for record in shown.records if record.author != author))
            )
        return reply

    network.handler = answer


def back_date(replica: SimNode, record: Record, epoch: Epoch) -> Receipt:
    """A receipt such as only a dishonest replica signs: it says that the record came in time."""
    node_context = replica.get_live_node().context
    block = node_context.chain.timing.compute_first_block(epoch) + BACK_DATED_PERCENT
    message = compute_receipt_bytes(
        node_context.chain.network_id, compute_record_id(record), epoch, BlockNumber(block)
    )
    return Receipt(replica.key.author, epoch, BlockNumber(block), replica.key.sign(message))


def test_a_late_commitment_that_two_faced_replicas_show_to_half_gets_nowhere(
    tmp_path: Path,
) -> None:
    """Dave copies alice's output once it is out. He and carol, f of 7, hold his commitment with
    back-dated receipts, and show it to half of the validators and to nobody else.
    """

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), LATE_PERCENT)
        node_context = subnet["dave"].get_live_node().context
        stolen = (
            subnet["alice"].get_live_node().context.database.get_own_opening(COMMIT.kind, Epoch(1))
        )
        assert stolen is not None
        record = commit(node_context, COMMIT, Epoch(1), stolen.challenge_digest, stolen.payload)
        colluders = [subnet["dave"], subnet["carol"]]
        receipts = [back_date(replica, record, Epoch(1)) for replica in colluders]
        believers = {
            subnet["victor"].key.author,
            subnet["alice"].key.author,
            subnet["dave"].key.author,
        }
        for replica in colluders:
            replica.get_live_node().context.database.keep(record, receipts, Epoch(1))
            hide(subnet, replica, record.key, record.author, lambda sender: sender not in believers)
        opening = node_context.sign_once(
            OPEN,
            Epoch(1),
            OPEN.schema.encode(node_context.database.get_own_opening(COMMIT.kind, Epoch(1))),
        )
        posting = await node_context.store.post(
            opening, node_context.get_key_rule(OPEN, Epoch(1)), node_context.get_unix_seconds() + 10
        )
        assert posting.is_complete
        seen = await subnet["victor"].get_live_node().context.read_rule(COMMIT, Epoch(1))
        assert len(seen.readings[0].signers[compute_record_id(record)]) == 2, (
            "victor is among those who are shown it"
        )
        await subnet.run_until(Epoch(3), 50)
        await assert_complete(subnet, Epoch(1), without=("dave",))
        await assert_complete(subnet, Epoch(2), without=("dave",))
        for name in ("victor", "vera", "vito"):
            scored = subnet[name].get(Scored, Epoch(1))[0]
            assert subnet["dave"].peer_id not in scored.commitments
            assert scored.scores[subnet["dave"].peer_id] == 0
        scores = (await subnet.get_submission(Epoch(2))).submission.scores
        assert scores[subnet["dave"].key.author] == 0
        for sim_node in subnet.nodes.values():
            assert not sim_node.get(AttestationRefused)
            assert not sim_node.get(Abstained)

    live(tmp_path, story, models={"dave": NoModel()})


def test_a_commitment_that_one_honest_replica_saw_in_time_parts_nobody_either(
    tmp_path: Path,
) -> None:
    """The most that f replicas can do: dave shows his commitment in time to alice alone, and with
    two liars it is proven to whom they choose. Who sees it counts it, who does not leaves it out,
    and all attest either way.
    """

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 20)
        node_context = subnet["dave"].get_live_node().context
        record = commit(node_context, COMMIT, Epoch(1), Hash32(bytes(32)), b"anything")
        assert isinstance(
            await node_context.store.ask(subnet["alice"].key.author, Post(record)), Posted
        )
        colluders = [subnet["dave"], subnet["carol"]]
        receipts = [back_date(replica, record, Epoch(1)) for replica in colluders]
        believers = {subnet["victor"].key.author, subnet["alice"].key.author}
        for replica in colluders:
            replica.get_live_node().context.database.keep(record, receipts, Epoch(1))
            hide(subnet, replica, record.key, record.author, lambda sender: sender not in believers)
        await subnet.run_until(Epoch(1), 99)
        counted = {
            name: subnet["dave"].peer_id in subnet[name].get(Scored, Epoch(1))[0].commitments
            for name in VALIDATORS
        }
        assert counted == {"victor": True, "vera": False, "vito": False}
        await subnet.run_until(Epoch(3), 50)
        for epoch in (2, 3):
            on_chain = await subnet.get_submission(Epoch(epoch))
            everybody = {sim_node.key.author for sim_node in subnet.nodes.values()}
            assert {on_chain.submitter, *on_chain.attested_by} == everybody
        assert not [
            fact for sim_node in subnet.nodes.values() for fact in sim_node.get(AttestationRefused)
        ]

    live(tmp_path, story, models={"dave": NoModel()})


def test_replicas_that_hide_an_honest_record_change_nothing(tmp_path: Path) -> None:
    """Carol and dave, f of 7, list nothing of alice's commitment, to nobody."""

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 16)
        key = subnet["alice"].get_live_node().context.get_key_rule(COMMIT, Epoch(1)).key
        for name in ("carol", "dave"):
            hide(subnet, subnet[name], key, subnet["alice"].key.author, lambda _sender: True)
        await subnet.run_until(Epoch(2), 50)
        await assert_complete(subnet, Epoch(1))
        assert not [
            fact for sim_node in subnet.nodes.values() for fact in sim_node.get(AttestationRefused)
        ]

    live(tmp_path, story)


def leave_out(rule_reading: RuleReading, author: PeerId) -> RuleReading:
    def drop(reading: KeyReading) -> KeyReading:
        proofs = {
            record_id: proof
            for record_id, proof in reading.proofs.items()
            if record_id.author != author
        }
        signers = {
            record_id: who
            for record_id, who in reading.signers.items()
            if record_id.author != author
        }
        return KeyReading(reading.key_rule, proofs, signers, reading.answered)

    return msgspec.structs.replace(rule_reading, readings=tuple(map(drop, rule_reading.readings)))


def cheat(submitter: SimNode, how: str, author: PeerId) -> None:
    """Make the submitter dishonest in this, and in nothing else: all the rest of its submission
    fits together.
    """
    node_context = submitter.get_live_node().context
    gather = node_context.gather
    submit = node_context.chain.submit

    async def gather_less(
        pairs: Sequence[tuple[Rule, int]], closes: float
    ) -> tuple[RuleReading, ...]:
        rule_readings = await gather(pairs, closes)
        if (COMMIT, 1) not in pairs:
            return rule_readings  # what it reads for its own list it takes as it is
        hosting = (COMMIT.kind, OPEN.kind)
        return tuple(
            leave_out(rule_reading, author) if rule_reading.rule.kind in hosting else rule_reading
            for rule_reading in rule_readings
        )

    async def submit_other(honest: Submission) -> None:
        if how == "wrong root":
            honest = msgspec.structs.replace(honest, root=bytes(32))
        elif how == "wrong bitmap":
            honest = msgspec.structs.replace(honest, bitmaps=(b"\xff", *honest.bitmaps[1:]))
        else:
            honest = msgspec.structs.replace(honest, bitmaps=honest.bitmaps[:1])
        await submit(honest)

    if how == "leaves out":
        node_context.gather = gather_less  # type: ignore[method-assign]  # dishonest
    else:
        node_context.chain.submit = submit_other  # type: ignore[method-assign] # dishonest


@pytest.mark.parametrize(
    ("how", "difference"),
    [
        ("leaves out", "is complete, but was left out without evidence"),
        ("wrong root", "Merkle root"),
        ("wrong bitmap", "no bit beyond"),
        ("too few bitmaps", "expected 4 bitmaps, saw 1"),
    ],
)
def test_a_submission_whose_set_is_wrong_is_refused_by_all_and_they_say_why(
    tmp_path: Path, how: str, difference: str
) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(2), 0.01)
        submitter = await subnet.get_elected(Epoch(2))
        cheat(
            submitter,
            how,
            next(subnet[n].key.author for n in ("alice", "bob") if subnet[n] is not submitter),
        )
        await subnet.run_until(Epoch(2), 50)
        assert (await subnet.get_submission(Epoch(2))).attested_by == ()
        for sim_node in subnet.nodes.values():
            if sim_node is not submitter:
                (refusal,) = sim_node.get(AttestationRefused, Epoch(2))
                assert any(difference in line for line in refusal.differences), refusal
        await subnet.run_until(Epoch(3), 50)
        if (await subnet.get_elected(Epoch(3))) is not submitter:
            await assert_complete(subnet, Epoch(2))

    live(tmp_path, story)


def test_a_submission_with_a_record_below_f_plus_1_receipts_is_refused_by_all(
    tmp_path: Path,
) -> None:
    """Dave's commitment reached two of seven replicas; the submitter counts it all the same."""

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 20)
        record = commit(
            subnet["dave"].get_live_node().context, COMMIT, Epoch(1), Hash32(bytes(32)), b"anything"
        )
        record_id = compute_record_id(record)
        await subnet.run_until(Epoch(2), 0.01)
        submitter = await subnet.get_elected(Epoch(2))
        node_context = submitter.get_live_node().context
        gather = node_context.gather

        async def gather_more(
            pairs: Sequence[tuple[Rule, int]], closes: float
        ) -> tuple[RuleReading, ...]:
            rule_readings = await gather(pairs, closes)
            reading = rule_readings[0].readings[0]
            reading.proofs[record_id] = Proof(
                record,
                tuple(back_date(subnet[name], record, Epoch(1)) for name in ("carol", "dave")),
            )
            reading.signers[record_id] = frozenset(reading.key_rule.replica_set.replicas)
            return rule_readings

        node_context.gather = gather_more  # type: ignore[method-assign]  # dishonest in this
        await subnet.run_until(Epoch(2), 50)
        assert (await subnet.get_submission(Epoch(2))).attested_by == ()
        for sim_node in subnet.nodes.values():
            if sim_node is not submitter:
                (refusal,) = sim_node.get(AttestationRefused, Epoch(2))
                name = format_peer_id(subnet["dave"].key.author)
                assert refusal.differences == [
                    f"hoster-commit of epoch 1: {name} is included, but its record is not proven"
                ]

    live(tmp_path, story, models={"dave": NoModel()})


def test_an_author_of_two_proven_commitments_is_left_out_by_all_with_both_as_evidence(
    tmp_path: Path,
) -> None:
    """Dave shows one commitment to three replicas and another to four: f + 1 of 7 are three."""

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 20)
        node_context = subnet["dave"].get_live_node().context
        key_rule = node_context.get_key_rule(COMMIT, Epoch(1))
        for payload, replicas in (
            (b"A" * 32, key_rule.replica_set.replicas[:3]),
            (b"B" * 32, key_rule.replica_set.replicas[3:]),
        ):
            expires = (
                node_context.get_unix_seconds() + 1.8 * node_context.chain.timing.seconds_per_epoch
            )
            record = node_context.key.sign_record(
                node_context.chain.network_id, key_rule.key, payload, expires
            )
            for replica in replicas:
                assert isinstance(await node_context.store.ask(replica, Post(record)), Posted)
        await subnet.run_until(Epoch(2), 50)
        await assert_complete(subnet, Epoch(1), without=("dave",))
        on_chain = await subnet.get_submission(Epoch(2))
        assert subnet["dave"].key.author not in read_bitmap(
            key_rule.context.roster, on_chain.submission.bitmaps[0]
        )
        assert subnet["dave"].key.author in {*on_chain.attested_by, on_chain.submitter}
        shown = await ask_for_set(
            subnet["alice"].get_live_node().context, on_chain.submitter, Epoch(2), ()
        )
        assert [{first.author, second.author} for first, second in shown.evidence] == [
            {subnet["dave"].key.author}
        ]

    live(tmp_path, story, models={"dave": NoModel()})


def test_a_chain_that_refuses_costs_a_duty_and_not_the_node(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 80)

        async def refuse(_epoch: Epoch) -> None:
            raise ChainRefused("no room in the block: try again")

        chain = subnet["alice"].get_live_node().context.chain
        honest = chain.attest
        chain.attest = refuse  # type: ignore[method-assign] # a chain that fails
        await subnet.run_until(Epoch(2), 50)
        (failed,) = [fact.why for fact in subnet["alice"].get(DutyMissed, Epoch(2))]
        assert failed == "the chain refused: no room in the block: try again"
        chain.attest = honest  # type: ignore[method-assign]  # and is well again
        await subnet.run_until(Epoch(3), 50)
        await assert_complete(subnet, Epoch(2))
        assert subnet["alice"].get(Attested, Epoch(3))

    live(tmp_path, story)


def test_no_record_waits_for_the_chain(tmp_path: Path) -> None:
    """From the commitments on, all that the nodes ask of it goes unanswered for most of an
    epoch.
    """

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 14)
        answers = asyncio.Event()

        def hold_back(ask: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
            async def wait(*arguments: object) -> Any:
                await answers.wait()
                return await ask(*arguments)

            return wait

        for sim_node in subnet.nodes.values():
            chain = sim_node.get_live_node().context.chain
            for name in ("get_roster", "get_elected", "get_submission", "submit", "attest"):
                setattr(chain, name, hold_back(getattr(chain, name)))
        await subnet.run_until(Epoch(1), 94)
        stored = [
            fact for sim_node in subnet.nodes.values() for fact in sim_node.get(Stored, Epoch(1))
        ]
        kinds = {COMMIT.kind, OPEN.kind, "validator-reveal", "validator-commit", "consensus"}
        assert {fact.rule for fact in stored} == kinds
        assert all(fact.receipts == fact.k for fact in stored)
        answers.set()
        await subnet.run_until(Epoch(2), 60)
        await assert_complete(subnet, Epoch(1))

    live(tmp_path, story)


@pytest.mark.parametrize("is_checked", [True, False])
def test_who_takes_over_an_identity_between_commitment_and_opening_has_nothing_to_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_checked: bool
) -> None:
    """A thief has dave's key and place, runs the model, and does not have the salt. It is paid
    where nobody compares.
    """
    if not is_checked:
        monkeypatch.setattr(settlement, "is_opened", lambda *_: True)

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 30)
        await subnet["dave"].kill()
        subnet["dave"].lose_ledger()
        await subnet["dave"].start()
        await subnet.run_until(Epoch(1), 53)
        node_context = subnet["dave"].get_live_node().context
        challenge, digest = await get_challenge(node_context, Epoch(1))
        output = OPEN.schema.payload.encode(HonestModel().infer(challenge))  # type: ignore[attr-defined]  # an OpeningOf
        opening = node_context.sign_once(
            OPEN, Epoch(1), OPEN.schema.encode(Opening(Salt(bytes(32)), digest, output))
        )
        assert (
            await node_context.store.post(
                opening,
                node_context.get_key_rule(OPEN, Epoch(1)),
                node_context.get_unix_seconds() + 10,
            )
        ).is_complete
        await subnet.run_until(Epoch(2), 50)
        for name in VALIDATORS:
            scored = subnet[name].get(Scored, Epoch(1))[0]
            assert subnet["dave"].peer_id in scored.commitments
            assert (subnet["dave"].peer_id in scored.openings) is not is_checked
        paid = (await subnet.get_submission(Epoch(2))).submission.scores[subnet["dave"].key.author]
        assert (paid == 0) is is_checked

    live(tmp_path, story, is_on_disk=True)


@pytest.mark.parametrize("percent", [0.5, 12, 30, 55, 70, 93, 96, 99])
def test_who_joins_counts_from_the_snapshot_on_and_stores_nothing_before(
    tmp_path: Path, percent: float
) -> None:
    """The snapshot of epoch 2 is the 95th block of epoch 1; a registration counts from the block
    after it.
    """

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), percent)
        erin = subnet.nodes["erin"] = SimNode(subnet, "erin", HonestModel())
        subnet.chain.register(erin.key.author, HOSTER)
        await erin.start()
        first = 2 if percent < 94 else 3
        await subnet.run_until(Epoch(first - 1), 99.5)
        node_context = erin.get_live_node().context
        payload = bytes(32)
        key_rule = node_context.get_key_rule(COMMIT, Epoch(first - 1))
        record = node_context.key.sign_record(
            node_context.chain.network_id,
            key_rule.key,
            payload,
            node_context.get_unix_seconds() + 900,
        )
        posting = await node_context.store.post(
            record, key_rule, node_context.get_unix_seconds() + 1
        )
        assert {denied.reason for denied in posting.refusals.values()} <= {
            Reason.NOT_ON_ROSTER,
            Reason.LATE,
        }
        assert not posting.receipts
        await subnet.run_until(Epoch(first + 2), 50)
        for epoch in range(1, first + 2):
            await assert_complete(subnet, Epoch(epoch), without=("erin",))
            scored = subnet["victor"].get(Scored, Epoch(epoch))[0]
            assert (erin.peer_id in scored.scores) is (epoch >= first)
            assert (erin.peer_id in scored.openings) is (epoch >= first)
            on_chain = await subnet.get_submission(Epoch(epoch + 1))
            took_part = {on_chain.submitter, *on_chain.attested_by}
            assert (erin.key.author in took_part) is (epoch + 1 >= first)
        assert not erin.get(AttestationRefused)
        assert not erin.get(Abstained)

    live(tmp_path, story)


@pytest.mark.parametrize("percent", [0.5, 12, 30, 55, 70, 93, 96, 99])
def test_who_leaves_keeps_its_epoch_and_is_shut_out_after_the_snapshot(
    tmp_path: Path, percent: float
) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), percent)
        subnet.chain.deregister(subnet["dave"].key.author)
        last = 1 if percent < 94 else 2
        await subnet.run_until(Epoch(last + 1), 30)
        node_context = subnet["dave"].get_live_node().context
        key_rule = node_context.get_key_rule(COMMIT, Epoch(last + 1))
        expires = node_context.get_unix_seconds() + 900
        record = node_context.key.sign_record(
            node_context.chain.network_id, key_rule.key, bytes(32), expires
        )
        posting = await node_context.store.post(
            record, key_rule, node_context.get_unix_seconds() + 2
        )
        assert not posting.receipts
        assert {denied.reason for denied in posting.refusals.values()} == {Reason.NOT_ON_ROSTER}
        await subnet.run_until(Epoch(last + 3), 50)
        for epoch in range(1, last + 3):
            await assert_complete(subnet, Epoch(epoch), without=("dave",))
            scored = subnet["victor"].get(Scored, Epoch(epoch))[0]
            assert (subnet["dave"].peer_id in scored.scores) is (epoch <= last)
            assert (subnet["dave"].peer_id in scored.openings) is (epoch <= last)
        assert not [
            fact for sim_node in subnet.nodes.values() for fact in sim_node.get(AttestationRefused)
        ]

    live(tmp_path, story)


def test_a_newcomer_that_cannot_tell_which_of_two_proven_values_was_attested_abstains(
    tmp_path: Path,
) -> None:
    """All agreed on dave's commitment, and later more than f replicas vouch for another one: who
    was there knows which counted, and alice, who lost her ledger, does not.
    """

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 20)
        node_context = subnet["dave"].get_live_node().context
        first = commit(node_context, COMMIT, Epoch(1), Hash32(bytes(32)), b"anything")
        posting = await node_context.store.post(
            first, node_context.get_key_rule(COMMIT, Epoch(1)), node_context.get_unix_seconds() + 60
        )
        assert posting.is_complete
        second = node_context.key.sign_record(
            node_context.chain.network_id, first.key, b"B" * 32, first.expiration_time
        )
        receipts = tuple(
            back_date(subnet[name], second, Epoch(1)) for name in ("bob", "carol", "dave")
        )
        await subnet.run_until(Epoch(3), 0.01)
        elected = await subnet.get_elected(Epoch(3))
        alice = next(subnet[name] for name in ("alice", "bob") if subnet[name] is not elected)
        await alice.kill()
        alice.lose_ledger()
        await alice.start()
        alice.get_live_node().context.database.keep_proofs(Epoch(1), [Proof(second, receipts)])
        await subnet.run_until(Epoch(3), 50)
        (abstained,) = alice.get(Abstained, Epoch(3))
        assert "two values of it are proven" in abstained.why
        on_chain = await subnet.get_submission(Epoch(3))
        others = {
            sim_node.key.author for sim_node in subnet.nodes.values() if sim_node is not alice
        }
        assert {on_chain.submitter, *on_chain.attested_by} == others

    live(tmp_path, story, models={"dave": NoModel()}, is_on_disk=True)


def test_a_hoster_whose_ledger_was_lost_keeps_to_the_commitment_that_is_there(
    tmp_path: Path,
) -> None:
    """A second one would be equivocation. It cannot open the first, says so, and goes on with the
    next epoch.
    """

    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 30)
        await subnet["dave"].kill()
        subnet["dave"].lose_ledger()
        await subnet["dave"].start()
        await subnet.run_until(Epoch(3), 50)
        (trouble,) = subnet["dave"].get(NodeWarning)
        assert "hoster-commit of epoch 1" in trouble.what
        (failed,) = [
            fact.why
            for fact in subnet["dave"].get(DutyMissed, Epoch(1))
            if fact.duty == "open-output"
        ]
        assert "database knows nothing" in failed
        key = subnet["alice"].get_live_node().context.schedule.get_key_rule(COMMIT, Epoch(1)).key
        for sim_node in subnet.nodes.values():
            assert not sim_node.get_live_node().context.database.has_evidence(
                key, subnet["dave"].key.author
            )
            assert not sim_node.get(AttestationRefused)
        await assert_complete(subnet, Epoch(1), without=("dave",))
        await assert_complete(subnet, Epoch(2))

    live(tmp_path, story, is_on_disk=True)


@pytest.mark.parametrize("percent", [1.0, 1.02, 1.05, 1.2])
def test_a_submitter_killed_before_or_after_it_submits_goes_on(
    tmp_path: Path, percent: float
) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(2), 0.01)
        submitter = await subnet.get_elected(Epoch(2))
        await subnet.run_until(Epoch(2), percent)
        await submitter.kill()
        await subnet.run_until(Epoch(2), 10)
        await submitter.start()
        await subnet.run_until(Epoch(2), 60)
        await assert_complete(subnet, Epoch(1))
        assert not [
            fact for sim_node in subnet.nodes.values() for fact in sim_node.get(AttestationRefused)
        ]

    live(tmp_path, story, is_on_disk=True)
