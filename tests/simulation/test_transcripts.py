"""Transcripts of whole nodes: replayed they agree, two honest nodes' give the same, and a changed
line is found.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from epochgate.cli import run_command
from epochgate.core.policy import Policy
from epochgate.core.scoring import Scoring
from epochgate.core.types import Epoch
from epochgate.core.verdict import Reason
from epochgate.keys import format_peer_id
from epochgate.observe.events import Scored, Submitted, Verdicts
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.transcript.comparison import compare_epochs
from epochgate.transcript.epoch_replay import EpochReplay
from epochgate.transcript.reader import find_transcript
from epochgate.transcript.replay import Replay, replay_files
from tests.simulation.subnet import BLOCK_SECONDS, VALIDATORS, LyingModel, SimSubnet, live

HALF_TOLERANT = Policy(*INFERENCE_POLICY.rules, scoring=Scoring(tolerance_ppm=10**6))
"""Found by name from the command line."""
Change = Callable[[dict[str, Any]], None]


def replay(
    folder: Path, policy: Policy = INFERENCE_POLICY, *, is_backtest: bool = False
) -> list[EpochReplay]:
    return list(replay_files(Replay(policy, is_backtest=is_backtest), find_transcript(folder)))


async def live_two_epochs(subnet: SimSubnet) -> None:
    await subnet.start()
    await subnet.run_until(Epoch(2), 60)
    await subnet.stop()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven nodes' transcripts of two epochs and a half; dave lies."""
    folder = tmp_path_factory.mktemp("world")
    live(folder, live_two_epochs, is_recorded=True, models={"dave": LyingModel()})
    return folder


def test_every_honest_nodes_transcript_agrees_and_all_give_the_same(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> SimSubnet:
        await live_two_epochs(subnet)
        return subnet

    subnet = live(tmp_path, story, is_recorded=True)
    replays = {name: replay(sim_node.transcript) for name, sim_node in subnet.nodes.items()}
    for name, them in replays.items():
        assert [it.epoch for it in them] == [0, 1, 2]
        assert [it.differences for it in them] == [[], [], []], name
        assert [it.gaps for it in them] == [[], [], []], name
        admitted = [fact.admitted for fact in subnet[name].get(Verdicts)]
        assert [it.counts["admitted"] for it in them][1:] == admitted[1:], (
            "epoch 0's file begins before its epoch"
        )
        for other in replays.values():
            assert not [
                words
                for one, two in zip(them, other, strict=True)
                for words in compare_epochs(one, two)
            ]
    for name in VALIDATORS:
        scored = dict(replays[name][1].scored.outcome.scores)  # type: ignore[union-attr]
        assert {format_peer_id(author): score for author, score in scored.items()} == subnet[
            name
        ].get(Scored, Epoch(1))[0].scores
    (submitted,) = [
        fact for sim_node in subnet.nodes.values() for fact in sim_node.get(Submitted, Epoch(2))
    ]
    for them in replays.values():
        assert them[2].decision is not None
        assert them[2].decision.settled is not None
        assert them[2].decision.settled.set.root == submitted.root


def change_line(
    source: Path,
    target: Path,
    kind: str,
    change: Change,
    is_it: Callable[[dict[str, Any]], bool] = bool,
) -> str:
    """Copy a transcript with one line of `kind` changed, the last that is fitting; returns its
    place.
    """
    target.mkdir()
    place = ""
    files = sorted(source.glob("*.jsonl"))
    for path in files:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        fitting = [index for index, row in enumerate(rows) if row["line"] == kind and is_it(row)]
        if fitting and not place:
            change(rows[fitting[-1]])
            place = f"{path.name}:{fitting[-1] + 1}"
        (target / path.name).write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert place, f"no line of {kind}"
    return place


def flip(text: str) -> str:
    """Other bytes of the same length."""
    return ("A" if text[8] != "A" else "B").join((text[:8], text[9:]))


def set_in(*path: str | int, to: Callable[[Any], Any]) -> Change:
    def change(row: Any) -> None:
        for part in path[:-1]:
            row = row[part]
        row[path[-1]] = to(row[path[-1]])

    return change


def is_admitted(row: dict[str, Any]) -> bool:
    return row["verdict"] == "admitted" and "value" in row


def settles(row: dict[str, Any]) -> bool:
    return "settled" in row and row["epoch"] == 2


CHANGES: dict[str, tuple[str, Change, Callable[[dict[str, Any]], bool], str]] = {
    "verdict": (
        "posted",
        set_in("verdict", to=lambda _: "late"),
        is_admitted,
        "written late, recomputed admitted",
    ),
    "value": ("posted", set_in("value", to=flip), is_admitted, "the value has not the digest"),
    "expiry": (
        "posted",
        set_in("expiration_time", to=lambda it: it + 1),
        is_admitted,
        "recomputed bad-signature",
    ),
    "time": (
        "posted",
        set_in("block", to=lambda it: it - 90),
        is_admitted,
        "the receipt does not hold",
    ),
    "receipt": ("posted", set_in("receipt", 3, to=flip), is_admitted, "the receipt does not hold"),
    "receipt of another": (
        "proven",
        set_in("receipts", 1, 3, to=flip),
        bool,
        "no receipt holds of",
    ),
    "score": ("scored", set_in("outcome", "scores", 0, 1, to=lambda it: it ^ 1), bool, "score of"),
    "root of a score": (
        "scored",
        set_in("set", "root", to=lambda _: "00" * 32),
        bool,
        "root: written",
    ),
    "bitmap": ("scored", set_in("set", "bitmaps", 0, to=lambda _: "00"), bool, "bitmaps: written"),
    "pay": ("decision", set_in("settled", "pay", 0, 1, to=lambda it: it + 1), settles, "pay of"),
    "root": (
        "decision",
        set_in("settled", "set", "root", to=lambda _: "00" * 32),
        settles,
        "root: written",
    ),
    "decision": (
        "decision",
        set_in("decided", to=lambda _: "abstained"),
        settles,
        "decided: written abstained",
    ),
    "roster": (
        "begun",
        set_in("contexts", -1, "members", 0, 2, to=lambda it: it + 1),
        bool,
        "is another one than before",
    ),
    "held": (
        "begun",
        set_in("held", to=lambda it: it[1:]),
        lambda row: row["epoch"] == 1,
        "are not as the lines before",
    ),
    "kind": (
        "posted",
        set_in("line", to=lambda _: "pasted"),
        is_admitted,
        "it is no line of a transcript",
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_line_is_found_and_named(folder: Path, tmp_path: Path, what: str) -> None:
    kind, change, is_it, words = CHANGES[what]
    names = [
        name
        for name in VALIDATORS
        if "agreed" in (folder / name / "transcript" / "epoch-000002.jsonl").read_text()
    ]
    source = folder / names[0] / "transcript"
    place = change_line(source, tmp_path / "changed", kind, change, is_it)
    found = [words for it in replay(tmp_path / "changed") for words in it.differences]
    named = [difference for difference in found if words in difference]
    assert named, found
    if what not in ("receipt of another", "roster"):  # found where it is used
        assert any(difference.startswith(f"{place}: ") for difference in named), (place, named)


def test_a_node_killed_in_mid_epoch_goes_on_with_its_transcript(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 55)
        await subnet["victor"].kill()
        path = subnet["victor"].transcript / "epoch-000001.jsonl"
        with path.open("ab") as file:
            file.write(b'{"line":"posted","block":')
        await subnet["victor"].start()
        await subnet.run_until(Epoch(2), 60)
        await subnet.stop()

    live(tmp_path, story, is_on_disk=True, is_recorded=True)
    them = replay(tmp_path / "victor" / "transcript")
    assert [it.differences for it in them] == [[], [], []]
    assert ["torn" in words for it in them for words in it.gaps] == [True]


def test_refusals_are_written_with_their_reasons_and_replayed(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 30)
        node_context = subnet["dave"].get_live_node().context
        rule = INFERENCE_POLICY.get_rule("hoster-reveal")
        key_rule = node_context.get_key_rule(rule, Epoch(1))
        for expires_in in (500.0, float("inf"), -1.0):
            record = node_context.key.sign_record(
                subnet.chain.network_id,
                key_rule.key,
                bytes(100),
                node_context.get_unix_seconds() + expires_in,
            )
            await node_context.store.post(
                record, key_rule, node_context.get_unix_seconds() + BLOCK_SECONDS
            )
        await subnet.run_until(Epoch(1), 60)
        await subnet.stop()

    live(tmp_path, story, is_recorded=True)
    them = replay(tmp_path / "alice" / "transcript")
    assert [it.differences for it in them] == [[], []]
    assert them[1].counts[Reason.EARLY.value] >= 3


def test_another_policy_is_backtested(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A tolerance of the outputs' own length: dave, who lies, would have scored."""
    data = f"{folder / 'victor'}"
    assert run_command(["replay", data]) == 0
    out = capsys.readouterr().out
    assert out.count("agrees") == 3
    assert "scored: root " in out
    assert (
        run_command(
            [
                "replay",
                data,
                "--policy",
                "tests.simulation.test_transcripts:HALF_TOLERANT",
                "--epoch",
                "1",
            ]
        )
        == 1
    )
    out = capsys.readouterr().out
    assert out.startswith("backtest: ")
    assert "written 0, recomputed " in out


def test_two_nodes_transcripts_are_compared(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    victor = folder / "victor"
    vera = folder / "vera"
    assert run_command(["replay", f"{victor}", "--against", f"{vera}"]) == 0
    assert "both give the same in 3 epochs" in capsys.readouterr().out
    change_line(
        vera / "transcript",
        tmp_path / "vera",
        "scored",
        set_in("outcome", "scores", 0, 1, to=lambda it: it ^ 1),
    )
    assert run_command(["replay", f"{victor}", "--against", f"{tmp_path / 'vera'}"]) == 1
    assert "epoch 0: the score of epoch 0 for 12D3KooW" in capsys.readouterr().out
    assert run_command(["replay", f"{victor}", "--against", f"{vera}", "--epoch", "9"]) == 2


def test_a_folder_without_a_transcript_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["replay", f"{tmp_path}"]) == 2
    assert "holds no epoch-NNNNNN.jsonl" in capsys.readouterr().err


def test_nothing_secret_is_written_before_it_is_opened(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(1), 45)
        for name, kind in (("alice", "hoster-commit"), ("victor", "validator-commit")):
            epoch = 1
            if name == "victor":
                await subnet.run_until(Epoch(1), 80)
            opening = (
                subnet[name].get_live_node().context.database.get_own_opening(kind, Epoch(epoch))
            )
            assert opening is not None
            seen = b"".join(path.read_bytes() for path in subnet[name].transcript.iterdir())
            decoded = [
                base64.b64decode(part)
                for part in re.findall(rb'"([A-Za-z0-9+/=]{8,})"', seen)
                if len(part) % 4 == 0
            ]
            assert all(bytes(opening.salt) not in data for data in decoded)
            assert all(
                len(opening.payload) < 100 or opening.payload not in data for data in decoded
            )
            assert any(
                commitment_of(subnet, name, kind, Epoch(epoch)) in data for data in decoded
            ), "what is public is there"
        await subnet.stop()

    live(tmp_path, story, is_recorded=True)


def commitment_of(subnet: SimSubnet, name: str, kind: str, epoch: Epoch) -> bytes:
    record = subnet[name].get_live_node().context.database.get_own_record(kind, epoch)
    assert record is not None
    return record.payload
