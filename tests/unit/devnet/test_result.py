from __future__ import annotations

from io import StringIO

import msgspec
from rich.console import Console

from epochgate import INFERENCE_POLICY
from epochgate.core.types import Epoch
from epochgate.devnet.result import render_scores, render_verdicts
from epochgate.devnet.summary import Chronicle, Loss
from epochgate.observe.events import Scored
from tests.support.devnet_events import CAST, EVERYBODY, HOSTERS, tell, tell_epoch

NOTHING = dict.fromkeys(EVERYBODY, 0)


def show(chronicle: Chronicle, epochs: int) -> str:
    console = Console(width=200, record=True, file=StringIO())
    summaries = [chronicle.compute_summary(Epoch(epoch)) for epoch in range(epochs)]
    console.print(
        *render_scores(chronicle, summaries), *render_verdicts(chronicle, summaries), sep="\n"
    )
    return console.export_text()


def make_chronicle() -> Chronicle:
    chronicle = Chronicle(CAST, INFERENCE_POLICY)
    for line in tell_epoch(Epoch(0), pay=NOTHING) + tell_epoch(Epoch(1)):
        chronicle.take(line)
    return chronicle


def test_every_node_has_its_output_score_and_its_pay() -> None:
    rows = {
        line.split()[1]: line
        for line in show(make_chronicle(), 2).splitlines()
        if "er-1" in line or "or-1" in line
    }
    assert "1,000,000" in rows["hoster-1"]
    assert "0.2000" in rows["hoster-1"]
    assert "0.3000" in rows["validator-1"]


def test_an_epoch_that_pays_nobody_says_why() -> None:
    picture = show(make_chronicle(), 2)
    assert "epoch 0 pays nobody: no validator's list was due yet" in picture
    assert "epoch 1 pays nobody" not in picture


def test_hosters_that_do_not_agree_are_the_reason_where_they_are() -> None:
    chronicle = Chronicle(CAST, INFERENCE_POLICY)
    for line in tell_epoch(Epoch(1), pay=NOTHING):
        disagreeing = isinstance(line.fact, Scored)
        fact = (
            msgspec.structs.replace(line.fact, scores=dict.fromkeys(HOSTERS, 0))
            if disagreeing
            else line.fact
        )
        chronicle.take(tell(line.node, fact))
    verdicts = [
        verdict.plain
        for verdict in render_verdicts(chronicle, [chronicle.compute_summary(Epoch(1))])
    ]
    assert "epoch 1 pays nobody: no three hosters agree" in verdicts[1]


def test_an_incomplete_epoch_says_what_is_missing() -> None:
    chronicle = make_chronicle()
    chronicle.losses.append(Loss("hoster-2", Epoch(1), "exit code 1"))
    assert "epoch 1: incomplete: hoster-2 died: exit code 1" in show(chronicle, 2)


def test_many_epochs_stay_readable() -> None:
    lines = show(make_chronicle(), 7).splitlines()
    assert max(len(line) for line in lines if "│" in line) <= 100
    assert sum("1,000,000" in line for line in lines) == 2
    assert [
        heading for heading in range(7) if any(f"epoch {heading} " in line for line in lines)
    ] == list(range(7))
