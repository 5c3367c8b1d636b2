"""Warnings to the operator: what keeps the subnet or this node from taking part, and outages."""

from __future__ import annotations

import pytest

from epochgate.chain.hypertensor.nodes import ChainNode, parse_node
from epochgate.chain.hypertensor.notices import Notices, find_obstacle
from epochgate.chain.hypertensor.subnet import SubnetFacts
from epochgate.core.types import BlockNumber, Epoch
from epochgate.keys import format_peer_id
from epochgate.observe.events import AnyEvent, NodeWarning
from tests.support.hypertensor_values import make_raw_node
from tests.support.identities import alice

ALICE = format_peer_id(alice.author)
WAITING_NODE = parse_node(make_raw_node(1, ALICE, "Registered"))
SCORED_NODE = parse_node(make_raw_node(1, ALICE, "Included"))


def make_facts(state: str) -> SubnetFacts:
    return SubnetFacts("a subnet", state, BlockNumber(3), Epoch(5))


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("Registered", "the subnet is not active yet"),
        ("Paused", "the subnet is paused"),
        (
            "Active",
            "this node is registered, but not in the consensus yet: its class is Registered",
        ),
    ],
)
def test_the_operator_is_told_what_is_waited_for(state: str, expected: str) -> None:
    warning = find_obstacle(make_facts(state), WAITING_NODE)
    assert warning is not None
    assert warning.what == expected
    assert warning.advice


@pytest.mark.parametrize("node", [SCORED_NODE, None], ids=["scored", "only looking"])
def test_an_active_subnet_keeps_nobody_else_waiting(node: ChainNode | None) -> None:
    assert find_obstacle(make_facts("Active"), node) is None


def test_a_warning_is_given_once_until_its_cause_is_gone() -> None:
    told: list[AnyEvent] = []
    notices = Notices(told.append)
    for state in ("Registered", "Registered", "Paused", "Paused", "Active", "Paused"):
        notices.tell_state(make_facts(state), SCORED_NODE)

    assert [event.what for event in told if isinstance(event, NodeWarning)] == [
        "the subnet is not active yet",
        "the subnet is paused",
        "the subnet is paused",
    ]


def test_each_outage_is_told_and_a_subnet_that_is_gone_once() -> None:
    told: list[AnyEvent] = []
    notices = Notices(told.append)
    notices.tell_outage("the connection is gone")
    notices.tell_outage("the connection is gone")
    notices.tell_gone("the chain has no subnet 1: register it")
    notices.tell_gone("the chain has no subnet 1: register it")

    assert [event.what for event in told if isinstance(event, NodeWarning)] == [
        "the connection is gone",
        "the connection is gone",
        "the subnet is gone",
    ]


def test_a_background_task_that_fails_again_and_again_is_told_once() -> None:
    told: list[AnyEvent] = []
    notices = Notices(told.append)
    for _ in range(3):
        notices.tell_failure("reading the subnet", KeyError("data"), True)

    assert told == [
        NodeWarning(
            "chain",
            "reading the subnet ended with KeyError: 'data'",
            "it is begun again; if it lasts, report it with this line",
        )
    ]


def test_a_chain_that_nobody_listens_to_warns_nobody() -> None:
    Notices(None).tell_outage("the connection is gone")
