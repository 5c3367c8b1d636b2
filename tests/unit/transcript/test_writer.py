"""What is written, where, and what is not: rotation, privacy, torn lines, bounds, a full disk."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from epochgate.core.admission import Capacity
from epochgate.core.evaluation import EvaluationContext
from epochgate.core.limits import Limits, Quota
from epochgate.core.receipt import Receipt
from epochgate.core.record import Record
from epochgate.core.schedule import EpochSchedule
from epochgate.core.types import BlockNumber, Epoch, PeerId, Signature
from epochgate.core.verdict import Denied, Reason
from epochgate.observe.events import AnyEvent, NodeWarning
from epochgate.observe.recorder import Situation
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.transcript.budget import MAX_REFUSALS_PER_REASON
from epochgate.transcript.reader import Damage, TranscriptError, find_transcript, read_transcript
from epochgate.transcript.writer import TranscriptWriter
from tests.support.identities import GENESIS_SECONDS, alice, bob, carol, dave, make_context, sign

CAPACITY = Capacity(1 << 20, Limits(author=Quota(3, 1 << 16)), 3)
RECEIPT = Receipt(carol.author, Epoch(0), BlockNumber(1001), Signature(bytes(64)))
EARLY = Denied(Reason.EARLY, "hoster", "blocks 1 to 2", 0)


class Desk:
    """Carol's replica and her transcript."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "transcript"
        self.facts: list[AnyEvent] = []
        self.schedule = EpochSchedule(INFERENCE_POLICY)
        self.schedule.add(make_context())
        self.writer = self.open()

    def open(self, kept_epochs: int = 3) -> TranscriptWriter:
        self.writer = TranscriptWriter(
            self.folder, "epochgate:INFERENCE_POLICY", self.facts.append, kept_epochs=kept_epochs
        )
        return self.writer

    @property
    def now(self) -> EvaluationContext:
        return self.schedule.compute_evaluation_context(BlockNumber(1001), GENESIS_SECONDS)

    def begin(self, epoch: Epoch = Epoch(0), oldest_epoch: Epoch | None = None) -> None:
        contexts = self.schedule.get_contexts()
        digest = INFERENCE_POLICY.digest
        self.writer.note_epoch_started(
            Situation(
                carol.author,
                digest,
                "",
                CAPACITY,
                epoch,
                GENESIS_SECONDS,
                oldest_epoch,
                contexts,
                {},
            )
        )

    def refuse(
        self, author: Any = alice, denied: Denied = EARLY, payload: bytes = bytes(32)
    ) -> Record:
        record = sign(author, "hoster", payload, GENESIS_SECONDS + 100)
        self.writer.note_post(author.author, record, self.now, denied, is_new=False)
        return record

    def admit(self, author: Any = alice, payload: bytes = bytes(32)) -> None:
        record = sign(author, "hoster", payload, GENESIS_SECONDS + 100)
        self.writer.note_post(author.author, record, self.now, RECEIPT, is_new=True)

    def read(self, epoch: Epoch = Epoch(0)) -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for line in (self.folder / f"epoch-{epoch:06d}.jsonl").read_text().splitlines()
        ]

    def count(self, kind: str, epoch: Epoch = Epoch(0)) -> int:
        return sum(row["line"] == kind for row in self.read(epoch))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_file_an_epoch_and_the_latest_ones_are_kept(desk: Desk) -> None:
    for epoch in range(5):
        desk.begin(Epoch(epoch), Epoch(epoch - 2))
        desk.admit()
    assert (
        list(find_transcript(desk.folder.parent)) == list(find_transcript(desk.folder)) == [2, 3, 4]
    )
    assert [row["line"] for row in desk.read(Epoch(4))] == ["begun", "posted"]
    assert "value" in desk.read(Epoch(4))[1], "each file has what it needs"


def test_only_its_owner_can_read_it(desk: Desk) -> None:
    before = os.umask(0)
    try:
        desk.begin()
    finally:
        os.umask(before)
    (file,) = desk.folder.iterdir()
    assert stat.S_IMODE(desk.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_every_line_is_there_at_once_and_a_restart_appends(desk: Desk) -> None:
    desk.begin()
    desk.refuse()
    assert [row["line"] for row in desk.read()] == ["begun", "posted"]
    desk.open()
    desk.begin()
    assert [row.get("why") for row in desk.read()] == ["start", None, "start"]


def test_a_torn_line_is_named_and_what_follows_is_read(desk: Desk) -> None:
    desk.begin()
    desk.refuse()
    path = desk.folder / "epoch-000000.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert [line for _, line in read_transcript(path) if isinstance(line, Damage)] == [
        Damage("the line has no end", is_torn=True)
    ]
    desk.open()
    desk.begin()
    torn = [
        (str(place), line.is_torn)
        for place, line in read_transcript(path)
        if isinstance(line, Damage)
    ]
    assert torn == [("epoch-000000.jsonl:2", True)]


@pytest.mark.parametrize(
    "data", [b"{}", b"words", b"\xff\xfe", b"[" * 100_000, b'{"line":"posted"}', b""]
)
def test_what_no_node_wrote_is_damage_and_no_torn_line(desk: Desk, data: bytes) -> None:
    desk.begin()
    path = desk.folder / "epoch-000000.jsonl"
    path.write_bytes(data + b"\n" + path.read_bytes().replace(b'"why":"start"', b'"why":"epoch"'))
    first = next(read_transcript(path))[1]
    assert isinstance(first, Damage)
    assert not first.is_torn


def test_a_flood_of_refusals_is_counted_and_hides_nobody_else(desk: Desk) -> None:
    desk.begin()
    for _ in range(500):
        desk.refuse(alice)
    desk.refuse(bob)
    desk.writer.close()
    assert desk.count("posted") == MAX_REFUSALS_PER_REASON + 1
    assert [row["count"] for row in desk.read() if row["line"] == "counted"][
        -1
    ] == 500 - MAX_REFUSALS_PER_REASON
    assert desk.count("counted") <= 11


def test_requests_that_come_too_soon_are_counted(desk: Desk) -> None:
    desk.begin()
    for _ in range(500):
        desk.writer.note_request_deferred()
    desk.writer.close()
    assert [(row["verdict"], row["count"]) for row in desk.read()[1:]][-1] == ("rate", 500)
    assert desk.count("counted") <= 11


def test_large_refusals_are_bounded_by_their_bytes(desk: Desk) -> None:
    desk.begin()
    for number in range(20):
        desk.refuse(payload=bytes([number]) * 200_000)
    assert desk.count("posted") == 5


def test_strangers_share_one_part(desk: Desk) -> None:
    desk.begin()
    denied = Denied(Reason.NOT_ON_ROSTER, None, "a sender on the roster")
    for number in range(200):
        desk.writer.note_request_rejected(PeerId(number.to_bytes(38, "big")), desk.now, denied, 10)
    assert desk.count("turned-away") == MAX_REFUSALS_PER_REASON


def test_whoever_has_more_admitted_than_it_may_store_is_muted(desk: Desk) -> None:
    desk.begin()
    for number in range(10):
        desk.admit(payload=bytes([number]))
    desk.admit(bob)
    assert desk.count("posted") == CAPACITY.limits.author.entries + 1
    assert desk.count("muted") == 1


def test_a_value_stands_once_in_a_file(desk: Desk) -> None:
    desk.begin()
    desk.admit()
    desk.refuse()
    assert ["value" in row for row in desk.read()[1:]] == [True, False]


def test_an_expiry_that_is_no_number_is_written(desk: Desk) -> None:
    desk.begin()
    record = sign(dave, "hoster", b"", float("nan"))
    desk.writer.note_post(dave.author, record, desk.now, Denied(Reason.EXPIRY), is_new=False)
    (_, line) = list(read_transcript(desk.folder / "epoch-000000.jsonl"))[1]
    assert line.expiration_time == "nan"  # type: ignore[union-attr]


def test_a_disk_that_takes_nothing_is_told_once_and_harms_nobody(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.begin()
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda _descriptor, _data: 0)
        for _ in range(3):
            desk.refuse()
        desk.begin(Epoch(1), Epoch(-1))
    assert [type(fact) for fact in desk.facts] == [NodeWarning]
    desk.begin(Epoch(2), Epoch(0))
    assert desk.read(Epoch(2))[0]["lost"] == 4
    desk.refuse()
    assert desk.count("posted", Epoch(2)) == 1


def test_a_folder_without_a_transcript_says_what_to_name(tmp_path: Path) -> None:
    with pytest.raises(TranscriptError, match="name a node's data folder"):
        find_transcript(tmp_path)
    with pytest.raises(TranscriptError, match="cannot be read"):
        find_transcript(tmp_path / "nowhere")
