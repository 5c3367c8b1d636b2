"""Blocks to epochs and windows: exact at every edge, on chains of any length."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from epochgate.core.epoch import (
    Blocks,
    EpochData,
    Head,
    Timing,
    Window,
    compute_deciding_block,
    compute_epoch_data,
    compute_seconds,
    epochs,
    percent,
)
from epochgate.core.types import BlockNumber, Epoch
from tests.support.identities import TIMING

SLOT = 1000


def make_timing(
    length: int = 100, slot: BlockNumber | None = BlockNumber(SLOT), block_seconds: float = 6.0
) -> Timing:
    return Timing(slot, length, block_seconds)


# First and last block of an epoch in which each window of the upstream template's
# policy is open, counted by hand.
EDGES = {
    "[0, 15]": {100: (0, 15), 20: (0, 3), 7: (0, 1), 33: (0, 4)},
    "(15, 50]": {100: (16, 50), 20: (4, 10), 7: (2, 3), 33: (5, 16)},
    "(50, 60]": {100: (51, 60), 20: (11, 12), 7: (4, 4), 33: (17, 19)},
    "[60, 100)": {100: (60, 99), 20: (12, 19), 7: (5, 6), 33: (20, 32)},
    "[60, 100]": {100: (60, 99), 20: (12, 19), 7: (5, 6), 33: (20, 32)},
    "(60, 99)": {100: (61, 98), 20: (13, 19), 7: (5, 6), 33: (20, 32)},
    "(12.5, 37.5)": {100: (13, 37), 20: (3, 7), 8: (2, 2), 33: (5, 12)},
}


@pytest.mark.parametrize("epoch", [0, 7])
@pytest.mark.parametrize(
    ("interval", "length", "edges"),
    [(text, length, edges) for text, row in EDGES.items() for length, edges in row.items()],
)
def test_a_window_opens_and_closes_at_its_blocks(
    interval: str, length: int, edges: tuple[int, int], epoch: Epoch
) -> None:
    start = SLOT + epoch * length

    assert percent(interval).bind(epoch, make_timing(length)) == Blocks(
        BlockNumber(start + edges[0]), BlockNumber(start + edges[1])
    )


@settings(deadline=None)
@given(
    shares=st.lists(st.integers(0, 1000), min_size=2, max_size=2, unique=True).map(sorted),
    after=st.booleans(),
    before=st.booleans(),
    length=st.integers(1, 400),
)
def test_a_block_is_in_a_window_exactly_when_its_share_is(
    shares: list[int], after: bool, before: bool, length: int
) -> None:
    first, last = (Fraction(share, 1000) for share in shares)
    key_rule = Window(first, last, after=after, before=before).bind(Epoch(3), make_timing(length))

    for elapsed in range(length):
        share = Fraction(elapsed, length)
        is_inside = (first < share if after else first <= share) and (
            share < last if before else share <= last
        )
        assert (key_rule.first <= SLOT + 3 * length + elapsed <= key_rule.last) == is_inside


def test_windows_that_share_an_edge_leave_no_block_out_and_let_none_in_twice() -> None:
    for length in range(1, 300):
        for left, right in [
            ("[0, 15]", "(15, 50]"),
            ("(15, 50]", "(50, 60]"),
            ("[0, 15)", "[15, 50]"),
        ]:
            assert (
                percent(left).bind(Epoch(0), make_timing(length)).last + 1
                == percent(right).bind(Epoch(0), make_timing(length)).first
            )


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("[0, 15]", Window(Fraction(0), Fraction(3, 20))),
        ("(15, 50]", Window(Fraction(3, 20), Fraction(1, 2), after=True)),
        ("[60, 100)", Window(Fraction(3, 5), Fraction(1), before=True)),
        ("  (0.1,99.9)  ", Window(Fraction(1, 1000), Fraction(999, 1000), after=True, before=True)),
    ],
)
def test_an_interval_of_percents_is_read_exactly(text: str, window: Window) -> None:
    assert percent(text) == window
    assert percent(str(window).removesuffix(" %")) == window


@pytest.mark.parametrize(
    "text",
    [
        "",
        "15",
        "15, 50",
        "(15-50]",
        "(15, 50",
        "15, 50]",
        "[-5, 50]",
        "(15, 50] %",
        "[a, b]",
        "[1.2.3, 50]",
        "[., 5]",
        "[1, 2, 3]",
        "(50, 15]",
        "[15, 15]",
        "(15, 15]",
        "[0, 101]",
        "[100, 200]",
        "[0, 100.001]",
        "[nan, 5]",
        "[1e1, 50]",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        percent(text)


def test_spans_are_exact_and_floats_are_not_taken() -> None:
    assert epochs("1.1") == Fraction(11, 10)
    assert epochs(2) == 2
    assert epochs("1/3") == Fraction(1, 3)
    with pytest.raises(TypeError, match=r"epochs\('1.1'\)"):
        epochs(1.1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        epochs(2.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="soon"):
        epochs("soon")


def test_a_span_takes_the_chains_own_time() -> None:
    assert compute_seconds(epochs("1.1"), TIMING) == pytest.approx(660.0)
    assert compute_seconds(epochs(2), make_timing(20, block_seconds=1.5)) == 60.0


@pytest.mark.parametrize(
    ("block", "epoch"),
    [(0, 0), (999, 0), (1000, 0), (1099, 0), (1100, 1), (1199, 1), (11_050, 100)],
)
def test_epochs_are_counted_from_the_slot(block: BlockNumber, epoch: Epoch) -> None:
    assert TIMING.compute_epoch(block) == epoch


def test_an_epoch_begins_where_the_last_one_ends() -> None:
    assert TIMING.compute_first_block(Epoch(0)) == SLOT
    assert TIMING.compute_epoch(TIMING.compute_first_block(Epoch(5))) == 5
    assert TIMING.compute_epoch(BlockNumber(TIMING.compute_first_block(Epoch(5)) - 1)) == 4
    assert TIMING.seconds_per_epoch == 600.0


@pytest.mark.parametrize(
    ("slot", "block", "is_started"),
    [(None, 5000, False), (SLOT, 999, False), (SLOT, 1000, True), (0, 0, True)],
)
def test_the_subnet_starts_with_its_slot(
    slot: BlockNumber | None, block: BlockNumber, is_started: bool
) -> None:
    assert make_timing(slot=slot).is_started(block) == is_started


def test_without_a_slot_there_is_no_first_block() -> None:
    timing = make_timing(slot=None)

    assert timing.compute_epoch(BlockNumber(5000)) == 0
    with pytest.raises(ValueError, match="no first block"):
        timing.compute_first_block(Epoch(0))
    with pytest.raises(ValueError, match="no first block"):
        percent("[0, 15]").bind(Epoch(0), timing)


@pytest.mark.parametrize(("slot", "block"), [(SLOT, 0), (SLOT, 999), (None, 5000)])
def test_before_the_slot_everything_is_zero(slot: BlockNumber | None, block: BlockNumber) -> None:
    data = compute_epoch_data(block, make_timing(slot=slot))

    assert data == EpochData(block, Epoch(0), 100, 600.0, 0.0, 0, 0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (1000, EpochData(BlockNumber(1000), Epoch(0), 100, 600.0, 0.0, 0, 100, 0.0, 600.0)),
        (1015, EpochData(BlockNumber(1015), Epoch(0), 100, 600.0, 0.15, 15, 85, 90.0, 510.0)),
        (1199, EpochData(BlockNumber(1199), Epoch(1), 100, 600.0, 0.99, 99, 1, 594.0, 6.0)),
        (1200, EpochData(BlockNumber(1200), Epoch(2), 100, 600.0, 0.0, 0, 100, 0.0, 600.0)),
    ],
)
def test_epoch_data_say_where_a_block_stands(block: BlockNumber, expected: EpochData) -> None:
    assert compute_epoch_data(block, TIMING) == expected


@settings(deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 10_000), st.integers(0, 10**6))
def test_epoch_data_add_up_at_every_block(after_slot: int, length: int, slot: BlockNumber) -> None:
    data = compute_epoch_data(BlockNumber(slot + after_slot), Timing(slot, length, 6.0))

    assert data.epoch * length + data.blocks_elapsed == after_slot
    assert 0 <= data.blocks_elapsed < length
    assert data.blocks_elapsed + data.blocks_remaining == length
    assert data.percent_complete == data.blocks_elapsed / length < 1


@pytest.mark.parametrize(
    ("age_seconds", "moved_on", "is_stale"),
    [
        (-100.0, 0, False),  # a clock that was set back
        (0.0, 0, False),
        (5.9, 0, False),
        (6.0, 0, False),
        (11.9, 0, False),
        (12.0, 1, False),
        (18.0, 2, False),
        (24.0, 3, False),
        (29.9, 3, False),
        (30.0, 3, True),
        (1e6, 3, True),
    ],
)
def test_the_head_moves_on_by_local_time_for_three_blocks(
    age_seconds: float, moved_on: int, is_stale: bool
) -> None:
    head = Head(BlockNumber(1016), seen_seconds=1_700_000_000.0)

    assert compute_deciding_block(head, head.seen_seconds + age_seconds, 6.0) == (
        1016 + moved_on,
        is_stale,
    )
