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
from typing import TYPE_CHECKING

from epochgate.core.policy import Policy
from epochgate.core.roster import HOSTER
from epochgate.engine.system import SystemClock, SystemEntropy, ThreadCompute
from epochgate.keys import SigningKey
from epochgate.models import load_model
from epochgate.observe.cast import Cast
from epochgate.observe.describe import describe_fact
from epochgate.observe.events import AnyEvent, Emit
from epochgate.ports import Compute, Network
from epochgate.runtime.chains import ChainIdentity, OpenedChain, check_node, open_chain
from epochgate.runtime.loading import InputError, load_challenger, load_policy
from epochgate.runtime.settings import NodeSettings
from epochgate.store.database import NodeDatabase
from epochgate.transcript.writer import TranscriptWriter

if TYPE_CHECKING:
    from epochgate.node.runner import Node

MakeNode = Callable[..., "Node"]
"""Makes the node from its parts, by the names that `Node` has for them; `Node` itself is one."""

DATABASE_NAME = "ledger.sqlite"
"""The file of the node's database in its folder: a name that nodes have since the first release."""
TRANSCRIPT_NAME = "transcript"


@asynccontextmanager
async def open_node(
    settings: NodeSettings,
    *,
    emit: Emit | None = None,
    compute: Compute | None = None,
    network: Network | None = None,
    make_node: MakeNode | None = None,
) -> AsyncIterator[Node]:
    """Start the node that `settings` describe, and let it do its duties while the block lasts.

    When the block is left the node says OFFLINE, ends its tasks, and closes what was opened here:
    network, database, transcript and chain. `node.stopped` is set when it ends by itself before.

    Args:
        settings: what the node is made from; `load_settings` reads them from a file and variables.
        emit: hears every fact about the node (`epochgate.observe.events`); it is called in the
            event loop and must neither wait nor raise. Without it facts are logged.
        compute: where the model runs. Without it a thread is started, and ended with the node; a
            model that hangs keeps its thread.
        network: takes the place of the libp2p daemon that is started otherwise; the caller closes
            it.
        make_node: takes the place of `Node`, for a subnet whose nodes do a duty their own way.

    Yields:
        The node, which listens and has heard from its chain.

    Raises:
        EpochgateError: anything that its operator has to mend, in words: settings, files, keys,
            the policy on this chain, a chain that does not answer, a port that is in use.
    """
    clock = SystemClock()
    emit = emit or log_fact
    async with AsyncExitStack() as closing:
        policy = load_policy(settings.policy)
        key = SigningKey.load(settings.identity)
        opened = await _open_chain(settings, key, policy, clock, emit)
        closing.push_async_callback(opened.chain.close)
        check_node(opened, key.author, settings.roles, policy)
        _make_folder(settings.data)
        database = NodeDatabase(settings.data / DATABASE_NAME)
        closing.callback(database.close)
        if settings.roles & HOSTER:
            model = load_model(settings.model)
        else:
            model = None
        challenger = load_challenger(settings.challenger)
        if compute is None:
            compute = ThreadCompute()
            closing.callback(compute.close)
        recorder = TranscriptWriter(settings.data / TRANSCRIPT_NAME, settings.policy, emit)
        closing.callback(recorder.close)  # after the network: what still arrives is written
        addresses: list[str] = []
        if network is None:
            network, addresses = await _start_network(settings, emit, closing)
        make = make_node or _get_node_class()
        node = make(
            chain=opened.chain,
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
        running = asyncio.create_task(node.run(), name="node")
        try:
            yield node
        finally:
            node.stop()
            await running


def _get_node_class() -> MakeNode:
    """Imported late: settings and chains are looked at first, and a node brings much more."""
    from epochgate.node.runner import Node  # noqa: PLC0415 - as the docstring says

    return Node


def log_fact(fact: AnyEvent) -> None:
    """Log a fact in words at level INFO, by the logger `epochgate.node`; some have none."""
    message = describe_fact(fact, Cast(()))
    if message is not None:
        logging.getLogger("epochgate.node").info(message)


async def _open_chain(
    settings: NodeSettings, key: SigningKey, policy: Policy, clock: SystemClock, emit: Emit
) -> OpenedChain:
    identity = ChainIdentity(
        settings.subnet_id, settings.hotkey, policy.role_field, settings.block_seconds, emit
    )
    return await open_chain(settings.chain, author=key.author, clock=clock, chain_identity=identity)


async def _start_network(
    settings: NodeSettings, emit: Emit, closing: AsyncExitStack
) -> tuple[Network, list[str]]:
    """The libp2p daemon, and the multiaddresses at which it can be reached."""
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
    closing.push_async_callback(network.close)
    return network, network.get_listen_addresses()


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"--data {folder} cannot be made ({error.strerror}): choose another folder"
        ) from None
