"""The composition root: from a node's settings to a node that does its duties.

    async with open_node(settings) as node:
        await node.stopped.wait()

The command `epochgate node` is this with signals and a terminal around it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from epochgate.core.policy import Policy
from epochgate.core.roster import HOSTER
from epochgate.engine.system import SystemClock, SystemEntropy, ThreadCompute
from epochgate.keys import SigningKey, format_peer_id
from epochgate.models import load_model
from epochgate.node.runner import Node
from epochgate.observe.cast import Cast
from epochgate.observe.describe import describe_fact, is_bad
from epochgate.observe.events import AnyEvent, Emit
from epochgate.ports import Chain, Clock, Compute, Model, Network
from epochgate.runtime.chains import ChainIdentity, check_node, open_chain
from epochgate.runtime.loading import InputError, load_challenger, load_policy
from epochgate.runtime.settings import NodeSettings
from epochgate.store.database import NodeDatabase
from epochgate.transcript.writer import TranscriptWriter

MakeNode = Callable[..., Node]
"""Makes the node from its parts, by the names that `Node` has for them; `Node` itself is one."""

DATABASE_NAME = "ledger.sqlite"
"""The file of the node's database in its folder: a name that nodes have since the first release."""
TRANSCRIPT_NAME = "transcript"

logger = logging.getLogger("epochgate.node")


def log_fact(fact: AnyEvent) -> None:
    """Log a fact in words, by the logger `epochgate.node`.

    Args:
        fact: any event of a node. What its operator should look at is logged at level WARNING, all
            else at INFO; facts that have no words are not logged.
    """
    message = describe_fact(fact, Cast(()))
    if message is None:
        return
    level = logging.INFO
    if is_bad(fact):
        level = logging.WARNING
    logger.log(level, "%s", message)


@asynccontextmanager
async def open_node(
    settings: NodeSettings,
    *,
    emit: Emit = log_fact,
    compute: Compute | None = None,
    network: Network | None = None,
    make_node: MakeNode = Node,
) -> AsyncIterator[Node]:
    """Start the node that `settings` describe, and let it do its duties while the block lasts.

    When the block is left, by an error or a cancellation too, the node says OFFLINE, ends its
    tasks, and closes what was opened here: network, transcript, database and chain.

    Args:
        settings: what the node is made from; `load_settings` reads them from a file and variables.
        emit: hears every fact about the node (`epochgate.observe.events`). It is called in the
            event loop and must neither wait nor raise.
        compute: where the model runs; None for a thread, which is ended with the node. A model that
            hangs keeps its thread.
        network: how it talks to its peers, opened with the node's key. It is closed with the node,
            also when the node does not start. None for a libp2p daemon, started as `settings` say.
        make_node: makes the node from its parts, for a subnet whose nodes do a duty their own way.

    Yields:
        The node. It listens, knows the roster, and follows the chain. `node.stopped` is set when
        it has ended.

    Raises:
        EpochgateError: something that the operator has to correct: a setting, a file, a key, a
            policy that does not fit the chain, a chain that does not answer, a port that is in use.
    """
    clock = SystemClock()
    async with AsyncExitStack() as closing:
        if network is not None:
            closing.push_async_callback(network.close)  # for a node that does not start
        policy = load_policy(settings.policy)
        key = SigningKey.load(settings.identity)
        chain = await _open_chain(settings, key, policy, clock, emit, closing)
        database = _open_database(settings.data, closing)
        model = _load_model(settings)
        challenger = load_challenger(settings.challenger)
        if compute is None:
            compute = ThreadCompute()
            closing.callback(compute.close)
        recorder = TranscriptWriter(settings.data / TRANSCRIPT_NAME, settings.policy, emit)
        closing.callback(recorder.close)  # after the network: what still arrives is written
        addresses: list[str] = []
        if network is None:
            network, addresses = await _start_network(settings, emit)
        closing.push_async_callback(network.close)  # before the database: peers ask until then
        _check_network(network, key)
        node = make_node(
            chain=chain,
            network=network,
            database=database,
            key=key,
            policy=policy,
            clock=clock,
            entropy=SystemEntropy(),
            compute=compute,
            emit=emit,
            model=model,
            challenger=challenger,
            public_name=settings.public_name,
            heartbeat_facts=settings.heartbeat_facts,
            addresses=addresses,
            recorder=recorder,
        )
        await node.start()
        async with _run(node):
            yield node


@asynccontextmanager
async def _run(node: Node) -> AsyncIterator[None]:
    """Let `node` run while the block lasts, and wait for its end, whose error is raised here."""
    running = asyncio.create_task(node.run(), name="node")
    try:
        yield
    finally:
        node.stop()
        await running


async def _open_chain(
    settings: NodeSettings,
    key: SigningKey,
    policy: Policy,
    clock: Clock,
    emit: Emit,
    closing: AsyncExitStack,
) -> Chain:
    """The settings' chain, on which the node may start."""
    identity = ChainIdentity(
        settings.subnet_id, settings.hotkey, policy.role_field, settings.block_seconds, emit
    )
    opened = await open_chain(
        settings.chain, author=key.author, clock=clock, chain_identity=identity
    )
    closing.push_async_callback(opened.chain.close)
    check_node(opened, key.author, settings.roles, policy)
    return opened.chain


def _open_database(folder: Path, closing: AsyncExitStack) -> NodeDatabase:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--data {folder} cannot be made ({error.strerror})", "choose another folder"
        ) from None
    database = NodeDatabase(folder / DATABASE_NAME)
    closing.callback(database.close)
    return database


def _load_model(settings: NodeSettings) -> Model | None:
    """Hosters run a model, validators do not."""
    if settings.roles & HOSTER:
        return load_model(settings.model)
    return None


async def _start_network(settings: NodeSettings, emit: Emit) -> tuple[Network, list[str]]:
    """A libp2p daemon, and the multiaddresses at which others reach it."""
    from epochgate.engine.libp2p import Libp2pNetwork  # noqa: PLC0415 - brings hivemind and torch

    network = await Libp2pNetwork.start(
        settings.identity,
        settings.data,
        listen=settings.listen,
        announce=settings.announce,
        initial_peers=settings.initial_peers,
        is_behind_nat=settings.behind_nat,
        emit=emit,
    )
    return network, network.get_listen_addresses()


def _check_network(network: Network, key: SigningKey) -> None:
    """A network under another name would send records whose author its peers do not expect."""
    if network.peer_id != key.author:
        raise InputError(
            f"the network is that of {format_peer_id(network.peer_id)}, and --identity is the key"
            f" of {format_peer_id(key.author)}",
            "open it with the node's key",
        )
