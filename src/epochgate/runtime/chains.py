"""The chain that a command names by its URL: opened, looked at, and told in words to its
operator.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from epochgate.chain.local import LocalChain
from epochgate.core.policy import Policy
from epochgate.core.policy_lint import check_policy
from epochgate.core.roster import Role
from epochgate.core.types import PeerId
from epochgate.keys import format_peer_id
from epochgate.observe.events import Emit
from epochgate.ports import Chain, ChainRefused, Clock
from epochgate.runtime.loading import InputError
from epochgate.runtime.settings import HOTKEY_VARIABLE

LOCAL = "local:"
RPC = ("ws://", "wss://")


class OpenedChain(msgspec.Struct, frozen=True):
    """A chain that answers, and how its operator calls it; whoever opened it closes `chain`.

    `where` is what it is in a sentence; `how_to_register` what to do for a node that is not on it.
    """

    chain: Chain
    where: str
    how_to_register: str


class ChainIdentity(msgspec.Struct, frozen=True):
    """Which subnet of a chain with many, and as whom; the local chain needs none of it.

    `role_field` is the policy's; `block_seconds` is for development chains that keep a pace of
    their own.
    """

    subnet_id: int | None = None
    hotkey: Path | None = None
    role_field: str = ""
    block_seconds: float | None = None
    emit: Emit | None = None


async def open_chain(
    url: str, *, author: PeerId | None, clock: Clock, chain_identity: ChainIdentity | None = None
) -> OpenedChain:
    """The chain that `url` names, for the node `author`; None for one that only looks.

    Raises InputError for a URL of no kind, for a chain that does not answer, and where this
    machine's clock does not fit the chain's (docs/spec.md#3-time).
    """
    if url.startswith(LOCAL):
        return await _open_local(Path(url.removeprefix(LOCAL)), author, clock)
    if url.startswith(RPC):
        return await _open_hypertensor(url, author, clock, chain_identity or ChainIdentity())
    raise InputError(f"--chain {url!r}: write local:FILE, ws://HOST:PORT or wss://HOST")


def require_hypertensor() -> None:
    """Raises InputError where what the Hypertensor chain needs is not installed."""
    try:
        import async_substrate_interface  # noqa: F401, PLC0415 - whether the extra is there
        import eth_keys  # noqa: F401, PLC0415 - likewise
    except ModuleNotFoundError as error:
        raise InputError(
            f"the Hypertensor chain needs {error.name}: pip install 'epochgate[hypertensor]'"
        ) from None


def check_node(opened: OpenedChain, author: PeerId, roles: int, policy: Policy) -> None:
    """A node whose roles or policy do not fit its chain says so and does not start. Raises
    InputError and PolicyError.

    `roles` are bits of `Role`.
    """
    roster = opened.chain.get_waiting_roster()
    registered = roster.roles.get(author)
    if registered is None:
        raise InputError(
            f"{format_peer_id(author)} is not registered on {opened.where}:"
            f" {opened.how_to_register}"
        )
    if registered != roles:
        names = " ".join(
            f"--role {role.name.lower()}" for role in Role if role.name and role & registered
        )
        raise InputError(
            f"{opened.where} has this node in another role: start it with {names}, or register it"
            " anew"
        )
    check_policy(policy, opened.chain.timing, len(roster.members))


async def _open_local(file: Path, author: PeerId | None, clock: Clock) -> OpenedChain:
    chain = LocalChain(file, author, clock)
    ahead_seconds = chain.genesis_seconds - clock.get_unix_seconds()
    if ahead_seconds > chain.timing.block_seconds:
        await chain.close()
        raise InputError(
            f"the chain in {file} begins {ahead_seconds:.0f} s from now, so this machine's clock is"
            " behind: set it, for example with `timedatectl set-ntp true`"
        )
    how = f"`epochgate local-chain register {file} --identity FILE --role ROLE` does it"
    return OpenedChain(chain, f"the chain in {file}", how)


async def _open_hypertensor(
    url: str, author: PeerId | None, clock: Clock, chain_identity: ChainIdentity
) -> OpenedChain:
    """Without a hotkey a node that acts on the chain cannot start; one that only looks
    needs none.
    """
    require_hypertensor()
    from epochgate.chain.hypertensor.account import (  # noqa: PLC0415 - of an extra
        find_account,
    )
    from epochgate.chain.hypertensor.chain import HypertensorChain  # noqa: PLC0415 - likewise

    if chain_identity.subnet_id is None:
        raise InputError(f"--chain {url} has many subnets: say which with --subnet-id N")
    if author is None:
        account = None
    else:
        account = find_account(chain_identity.hotkey, HOTKEY_VARIABLE, os.environ)
    try:
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
    except (ChainRefused, ConnectionError, LookupError) as error:
        raise InputError(str(error)) from None
    how = (
        f"`epochgate chain register-node --chain {url} --subnet-id {chain_identity.subnet_id}`"
        " does it"
    )
    return OpenedChain(chain, f"subnet {chain_identity.subnet_id} of {url}", how)
