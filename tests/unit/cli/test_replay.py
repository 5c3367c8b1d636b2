"""`epochgate replay`: what it prints of an epoch, and what it refuses. tests/simulation replays the
transcripts of whole subnets.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from epochgate.cli import run_command
from epochgate.core.admission import Capacity
from epochgate.core.limits import Limits, Quota
from epochgate.core.schedule import EpochSchedule
from epochgate.core.types import Epoch, Hash32
from epochgate.observe.recorder import Situation
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.transcript.writer import TranscriptWriter
from tests.support.command_line import refuse
from tests.support.identities import GENESIS_SECONDS, carol, make_context

OTHER_DIGEST = Hash32(b"o" * 32)


def write_transcript(
    folder: Path, digest: Hash32 = INFERENCE_POLICY.digest, judge: str = ""
) -> str:
    """A node that began epoch 0, and ended before it judged anything."""
    schedule = EpochSchedule(INFERENCE_POLICY)
    schedule.add(make_context())
    writer = TranscriptWriter(folder, "epochgate:INFERENCE_POLICY", lambda _: None)
    writer.note_epoch_started(
        Situation(
            node=carol.author,
            policy_digest=digest,
            judge=judge,
            capacity=Capacity(1 << 20, Limits(author=Quota(3, 1 << 16)), 3),
            epoch=Epoch(0),
            time_seconds=GENESIS_SECONDS,
            oldest_epoch=None,
            contexts=schedule.get_contexts(),
            held={},
        )
    )
    writer.close()
    return str(folder)


def make_judge(_schedule: EpochSchedule) -> object:
    raise OSError("no rule book")


def test_an_epoch_is_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["replay", write_transcript(tmp_path)]) == 0
    assert capsys.readouterr().out == "epoch 0: nothing judged; agrees\n"


def test_an_epoch_that_is_not_there_shows_those_that_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_transcript(tmp_path)
    line = refuse(capsys, "replay", folder, "--epoch", "9")
    assert line == f"{folder}: no epoch begins in it: it has 0"


def test_another_policys_transcript_asks_for_that_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refuse(capsys, "replay", write_transcript(tmp_path, digest=OTHER_DIGEST))
    assert OTHER_DIGEST.hex() in line
    assert "give --policy epochgate:INFERENCE_POLICY to replay it" in line


def test_a_judge_of_the_nodes_own_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_transcript(tmp_path, judge="Umpire")
    assert "a Umpire: give --judge module:factory" in refuse(capsys, "replay", folder)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere:make_judge", "there is no module 'nowhere'"),
        (f"{__name__}:OTHER_DIGEST", "cannot be called: name what makes a judge"),
    ],
)
def test_what_makes_no_judge_is_told(
    name: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_transcript(tmp_path, judge="Umpire")
    line = refuse(capsys, "replay", folder, "--judge", name)
    assert line.startswith(f"--judge {name}")
    assert words in line


def test_a_factory_that_fails_is_a_difference(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_transcript(tmp_path, judge="Umpire")
    assert run_command(["replay", folder, "--judge", f"{__name__}:make_judge"]) == 1
    shown = capsys.readouterr().out
    assert shown.startswith("epoch 0: nothing judged; 1 differences\n")
    assert "OSError: no rule book" in shown


@pytest.mark.parametrize("name", ["missing", "file", "empty"])
def test_a_folder_without_a_transcript_is_told(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    assert "name a node's data folder" in refuse(capsys, "replay", f"{tmp_path / name}")
