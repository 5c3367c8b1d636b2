"""Open the chain that a URL names, and check that a node fits it."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from epochgate.chain.local import LocalChain
from epochgate.core.policy import Policy
from epochgate.core.policy_lint import check_policy
from epochgate.core.roster import get_role_names
from epochgate.core.types import PeerId
from epochgate.keys import format_peer_id
from epochgate.observe.events import Emit
from epochgate.ports import Chain, Clock
from epochgate.runtime.loading import InputError
from epochgate.runtime.settings import HOTKEY_VARIABLE

LOCAL = "local:"
RPC = ("ws://", "wss://")


class OpenedChain(msgspec.Struct, frozen=True):
    """A chain that answers. Whoever opened it closes `chain`.

    Attributes:
        chain: the open chain.
        where: the chain as part of a sentence, such as `the chain in chain.sqlite`.
        how_to_register: what the operator of a node does that is not registered on it.
    """

    chain: Chain
    where: str
    how_to_register: str


class ChainIdentity(msgspec.Struct, frozen=True):
    """Which subnet of a chain with many, and who acts on it. The local chain needs none of this.

    Attributes:
        subnet_id: the subnet's number, 0 or more.
        hotkey: the file of the key that signs on the chain; None for the one in the environment.
        role_field: the node's field that names its roles, as the policy declares it.
        block_seconds: seconds per block, for a development chain that runs at a pace of its own.
        emit: hears the chain's warnings.
    """

    subnet_id: int | None = None
    hotkey: Path | None = None
    role_field: str = ""
    block_seconds: float | None = None
    emit: Emit | None = None


async def open_chain(
    url: str, *, author: PeerId | None, clock: Clock, chain_identity: ChainIdentity | None = None
) -> OpenedChain:
    """Open a chain and wait until it answers.

    Args:
        url: `local:FILE`, `ws://HOST:PORT` or `wss://HOST`.
        author: the node that acts on the chain; None for a reader, which needs no key.
        clock: the machine's, which is compared with the chain's (docs/spec.md#3-time).
        chain_identity: the subnet and the hotkey, for a chain that has many.

    Returns:
        The chain, which the caller closes.

    Raises:
        InputError: the URL is of no known kind, or the machine's clock is behind the chain's.
        ChainFileError: the local chain's file cannot be used.
        KeyFileError: the hotkey's file cannot be used.
        ChainUnreachable: the chain does not answer.
        ChainRefused: the chain answers that it cannot, or another process holds its file.
        NoSuchSubnet: the chain has no subnet of this number.
    """
    if url.startswith(LOCAL):
        return await _open_local(Path(url.removeprefix(LOCAL)), author, clock)
    if url.startswith(RPC):
        return await _open_hypertensor(url, author, clock, chain_identity or ChainIdentity())
    raise InputError(f"--chain {url!r}", "write local:FILE, ws://HOST:PORT or wss://HOST")


def require_hypertensor() -> None:
    """Check that the Hypertensor chain's client is installed.

    Raises:
        InputError: it is not; the advice is how to install it.
    """
    try:
        import async_substrate_interface  # noqa: F401, PLC0415 - whether the extra is there
        import eth_keys  # noqa: F401, PLC0415 - likewise
    except ModuleNotFoundError as error:
        raise InputError(
            f"the Hypertensor chain needs {error.name}", "pip install 'epochgate[hypertensor]'"
        ) from None


def check_node(opened: OpenedChain, author: PeerId, roles: int, policy: Policy) -> None:
    """Check that a node may start on this chain.

    Args:
        opened: its chain.
        author: the node's peer id.
        roles: what it is started as, bits of `Role`.
        policy: the subnet's.

    Raises:
        InputError: the node is not registered, or in another role.
        PolicyError: the policy cannot work with the chain's blocks or the roster's size.
    """
    roster = opened.chain.get_waiting_roster()
    registered = roster.roles.get(author)
    if registered is None:
        raise InputError(
            f"{format_peer_id(author)} is not registered on {opened.where}",
            opened.how_to_register,
        )
    if registered != roles:
        names = " ".join(f"--role {name}" for name in get_role_names(registered))
        raise InputError(
            f"{opened.where} has this node in another role",
            f"start it with {names}, or register it anew",
        )
    check_policy(policy, opened.chain.timing, len(roster.members))


async def _open_local(file: Path, author: PeerId | None, clock: Clock) -> OpenedChain:
    chain = LocalChain(file, author, clock)
    ahead_seconds = chain.genesis_seconds - clock.get_unix_seconds()
    if ahead_seconds > chain.timing.block_seconds:
        await chain.close()
        raise InputError(
            f"the chain in {file} begins {ahead_seconds:.0f} s from now, so this machine's clock is"
            " behind",
            "set it, for example with `timedatectl set-ntp true`",
        )
    how = f"`epochgate local-chain register {file} --identity FILE --role ROLE` does it"
    return OpenedChain(chain, f"the chain in {file}", how)


async def _open_hypertensor(
    url: str, author: PeerId | None, clock: Clock, chain_identity: ChainIdentity
) -> OpenedChain:
    """A node that acts on the chain needs a hotkey; one that only reads needs none."""
    require_hypertensor()
    from epochgate.chain.hypertensor.account import (  # noqa: PLC0415 - of an extra
        find_account,
    )
    from epochgate.chain.hypertensor.chain import HypertensorChain  # noqa: PLC0415 - likewise

    if chain_identity.subnet_id is None:
        raise InputError(f"--chain {url} has many subnets", "say which with --subnet-id N")
    if author is None:
        account = None
    else:
        account = find_account(chain_identity.hotkey, HOTKEY_VARIABLE, os.environ)
    chain = await HypertensorChain.open(
        url,
        chain_identity.subnet_id,
        clock,
        author=author,
        account=account,
        role_field=chain_identity.role_field,
        block_seconds=chain_identity.block_seconds,
        emit=chain_identity.emit,
    )
    how = (
        f"`epochgate chain register-node --chain {url} --subnet-id {chain_identity.subnet_id}`"
        " does it"
    )
    return OpenedChain(chain, f"subnet {chain_identity.subnet_id} of {url}", how)
