from __future__ import annotations

from io import StringIO

from rich.console import Console

from epochgate import INFERENCE_POLICY, Timing, compute_epoch_data
from epochgate.core.types import BlockNumber, Epoch
from epochgate.devnet.screen import COLUMNS, Screen
from epochgate.observe.events import (
    ChallengeSeen,
    DutyBegan,
    DutyDone,
    DutyMissed,
    ElectionChanged,
    EpochBegan,
    NodeWarning,
    Stored,
)
from tests.support.devnet_events import ALICE, BOB, CAST, VERA, VICTOR, tell_epoch, tell_start

TIMING = Timing(BlockNumber(0), 100, 0.3)


def show(screen: Screen, block: BlockNumber | None) -> str:
    console = Console(width=COLUMNS, record=True, force_terminal=False, file=StringIO())
    console.print(screen.render(None if block is None else compute_epoch_data(block, TIMING)))
    return console.export_text()


def make_screen() -> Screen:
    screen = Screen(CAST, INFERENCE_POLICY, epochs=2)
    for line in tell_start():
        screen.take(line.node, line.fact)
    return screen


def test_before_the_first_block_it_counts_who_is_ready() -> None:
    screen = Screen(CAST, INFERENCE_POLICY, epochs=2)
    lines = list(tell_start())
    screen.take(lines[0].node, lines[0].fact)
    assert "1 of 4 nodes ready" in show(screen, None)


def test_it_shows_where_the_epoch_stands_and_every_window() -> None:
    screen = make_screen()
    screen.take(ALICE, EpochBegan(Epoch(1), VERA, 2, 2))
    picture = show(screen, BlockNumber(155))
    assert "epoch 1 of 2" in picture
    assert "block  55/100" in picture
    assert "elected validator-2" in picture
    for kind in (
        "consensus",
        "hoster-commit",
        "validator-reveal",
        "hoster-reveal",
        "validator-commit",
    ):
        assert kind in picture
    assert picture.count("█") == 1, (
        "of the five windows only the hosters' openings are open at block 55"
    )


def test_a_row_says_what_its_node_does_and_how_many_receipts_it_has() -> None:
    screen = make_screen()
    screen.take(ALICE, DutyBegan(Epoch(0), "commit-output"))
    screen.take(BOB, Stored(Epoch(0), "hoster-commit", 7, 7, 2, True))
    screen.take(BOB, DutyDone(Epoch(0), "commit-output", "7 of 7 receipts"))
    screen.take(VICTOR, DutyMissed(Epoch(0), "publish-challenge", "nobody answers"))
    lines = show(screen, BlockNumber(20)).splitlines()
    rows = {
        line.split()[0]: line
        for line in lines
        if "…" in line and line.startswith(("hoster", "validator"))
    }
    assert "●  commit-output" in rows["hoster-1"]
    assert "✓  commit-output: 7 of 7 receipts" in rows["hoster-2"]
    assert "7/7" in rows["hoster-2"]
    assert "✗  publish-challenge: nobody answers" in rows["validator-1"]


def test_a_node_that_died_stays_in_sight() -> None:
    screen = make_screen()
    screen.note_death(BOB, "killed by SIGKILL")
    assert show(screen, BlockNumber(20)).count("killed by SIGKILL") == 2


def test_it_never_grows_wider_than_it_says_nor_taller_than_a_terminal() -> None:
    screen = make_screen()
    for line in tell_epoch(Epoch(0)) + tell_epoch(Epoch(1)):
        screen.take(line.node, line.fact)
    screen.take(ALICE, DutyMissed(Epoch(1), "open-output", "because of this and that, " * 20))
    lines = show(screen, BlockNumber(199)).splitlines()
    assert max(map(len, lines)) <= COLUMNS
    assert len(lines) <= 24


def test_what_all_nodes_see_alike_is_one_line() -> None:
    screen = make_screen()
    said = [screen.take(node, EpochBegan(Epoch(0), VICTOR, 2, 2)) for node in (ALICE, BOB, VICTOR)]
    said += [screen.take(node, ChallengeSeen(Epoch(0), VICTOR)) for node in (VICTOR, VERA)]
    assert [words for words in said if words] == [
        "epoch 0 began: 2 hosters, 2 validators, validator-1 elected",
        "the challenge of epoch 0 is proven, published by validator-1",
    ]


def test_troubles_of_nodes_that_start_are_not_worth_a_line_but_later_ones_are() -> None:
    screen = Screen(CAST, INFERENCE_POLICY, epochs=2)
    trouble = NodeWarning("heartbeat", "1 of 7 receipts", "it is tried again")
    assert screen.take(ALICE, trouble) is None
    for line in tell_start():
        screen.take(line.node, line.fact)
    assert (
        screen.take(ALICE, trouble)
        == "hoster-1     warning from heartbeat: 1 of 7 receipts (it is tried again)"
    )


def test_peers_are_called_by_their_names() -> None:
    screen = make_screen()
    assert screen.take(
        VERA, DutyDone(Epoch(0), "publish-challenge", f"not needed, {VICTOR} has published")
    ) == ("validator-2  publish-challenge: not needed, validator-1 has published")
    assert "not needed, validator-1 has" in show(screen, BlockNumber(20))


def test_a_changed_election_is_told_once_and_shown() -> None:
    screen = make_screen()
    for node in (ALICE, BOB):
        screen.take(node, EpochBegan(Epoch(1), VERA, 2, 2))
    said = [screen.take(node, ElectionChanged(Epoch(1), VICTOR, VERA)) for node in (ALICE, BOB)]
    assert said == [
        "the chain elects validator-1 in epoch 1 now, in the place of validator-2",
        None,
    ]
    assert "elected validator-1" in show(screen, BlockNumber(155))
