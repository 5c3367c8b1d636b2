"""`open_node`: a node in a user's program, on a chain file and a network that the test hands in."""

from __future__ import annotations

import asyncio
import logging
import random
from pathlib import Path

import pytest

from epochgate.chain.local import LocalChain
from epochgate.core.roster import HOSTER
from epochgate.engine.memory import Hub
from epochgate.engine.system import SystemClock
from epochgate.errors import EpochgateError
from epochgate.keys import SigningKey
from epochgate.node.runner import Node
from epochgate.observe.events import AnyEvent, NodeReady, NodeStopped, NodeWarning
from epochgate.runtime.node import DATABASE_NAME, TRANSCRIPT_NAME, log_fact, open_node
from epochgate.runtime.settings import NodeSettings
from epochgate.store.database import NodeDatabase
from tests.support.identities import bob


@pytest.fixture
def settings(tmp_path: Path) -> NodeSettings:
    key = SigningKey.create(tmp_path / "node.key")
    LocalChain.create(tmp_path / "chain.sqlite", SystemClock(), block_seconds=6.0)
    LocalChain(tmp_path / "chain.sqlite", None, SystemClock()).register(key.author, HOSTER)
    return NodeSettings.model_validate(
        {
            "role": "hoster",
            "chain": f"local:{tmp_path / 'chain.sqlite'}",
            "identity": tmp_path / "node.key",
            "data": tmp_path / "data",
        }
    )


def make_hub() -> Hub:
    return Hub(random.Random(0), max_message_bytes=1 << 20)


async def test_a_node_lives_as_long_as_the_block(settings: NodeSettings) -> None:
    facts: list[AnyEvent] = []
    hub = make_hub()
    network = hub.join(SigningKey.load(settings.identity).author)
    async with open_node(settings, emit=facts.append, network=network) as node:
        assert isinstance(node, Node)
        assert any(isinstance(fact, NodeReady) for fact in facts)
        assert not node.stopped.is_set()
        with pytest.raises(EpochgateError, match="in use by another process"):
            NodeDatabase(settings.data / DATABASE_NAME)
        assert hub.has(network)
    assert node.stopped.is_set()
    assert not hub.has(network)
    assert isinstance(facts[-1], NodeStopped)
    assert (settings.data / TRANSCRIPT_NAME).is_dir()
    NodeDatabase(settings.data / DATABASE_NAME).close()


async def test_an_error_in_the_block_ends_the_node_all_the_same(settings: NodeSettings) -> None:
    network = make_hub().join(SigningKey.load(settings.identity).author)
    with pytest.raises(ZeroDivisionError):
        async with open_node(settings, emit=lambda _: None, network=network) as node:
            raise ZeroDivisionError
    assert node.stopped.is_set()
    NodeDatabase(settings.data / DATABASE_NAME).close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"policy": "no_such_module:POLICY"}, "there is no module"),
        ({"identity": Path("no.key")}, "does not exist"),
        ({"chain": "local:no.sqlite"}, "does not exist"),
        ({"role": "validator"}, "another role"),
        ({"model": "no_such_module:Model"}, "no_such_module"),
    ],
)
async def test_what_its_operator_has_to_mend_is_one_kind_of_error(
    settings: NodeSettings, change: dict[str, object], words: str
) -> None:
    changed = NodeSettings.model_validate({**settings.model_dump(), **change})
    with pytest.raises(EpochgateError, match=words):
        async with open_node(changed, emit=lambda _: None):
            pytest.fail("it must not start")


async def test_a_network_is_closed_where_the_node_does_not_start(settings: NodeSettings) -> None:
    hub = make_hub()
    network = hub.join(SigningKey.load(settings.identity).author)
    changed = settings.model_copy(update={"policy": "no_such_module:POLICY"})
    with pytest.raises(EpochgateError):
        async with open_node(changed, network=network):
            pytest.fail("it must not start")
    assert not hub.has(network)


async def test_a_network_of_another_key_is_refused(settings: NodeSettings) -> None:
    network = make_hub().join(bob.author)
    with pytest.raises(EpochgateError, match="--identity is the key of") as refused:
        async with open_node(settings, network=network):
            pytest.fail("it must not start")
    assert refused.value.advice == "open it with the node's key"


async def test_an_error_of_the_node_is_raised_where_the_block_ends(settings: NodeSettings) -> None:
    class BrokenNode(Node):
        async def run(self) -> None:
            try:
                await super().run()
            finally:
                raise ZeroDivisionError("a mistake in the node")

    network = make_hub().join(SigningKey.load(settings.identity).author)
    with pytest.raises(ZeroDivisionError, match="a mistake in the node"):
        async with open_node(settings, emit=lambda _: None, network=network, make_node=BrokenNode):
            pass


async def test_a_task_that_is_cancelled_in_the_block_says_goodbye(settings: NodeSettings) -> None:
    facts: list[AnyEvent] = []
    is_open = asyncio.Event()
    network = make_hub().join(SigningKey.load(settings.identity).author)

    async def live() -> None:
        async with open_node(settings, emit=facts.append, network=network):
            is_open.set()
            await asyncio.Event().wait()

    living = asyncio.create_task(live())
    await is_open.wait()
    living.cancel()
    with pytest.raises(asyncio.CancelledError):
        await living
    assert isinstance(facts[-1], NodeStopped)


def test_facts_are_logged_in_words_and_trouble_as_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "epochgate.node")
    log_fact(NodeReady(["hoster"], ["/ip4/127.0.0.1/tcp/4001/p2p/12D3KooW"], "ab"))
    log_fact(NodeWarning("network", "100% of peers are gone", "look at the cable"))
    log_fact(NodeStopped())
    assert caplog.record_tuples == [
        ("epochgate.node", logging.INFO, "ready on /ip4/127.0.0.1/tcp/4001"),
        (
            "epochgate.node",
            logging.WARNING,
            "warning from network: 100% of peers are gone (look at the cable)",
        ),
    ]


async def test_a_subnet_may_make_its_nodes_itself(settings: NodeSettings) -> None:
    made: list[dict[str, object]] = []

    def make_node(**parts: object) -> Node:
        made.append(parts)
        return Node(**parts)  # type: ignore[arg-type] # its own parts, as they came

    network = make_hub().join(SigningKey.load(settings.identity).author)
    async with open_node(
        settings, emit=lambda _: None, network=network, make_node=make_node
    ) as node:
        assert node.network is network
    assert len(made) == 1
