"""The chain that a command names by its URL: opened, looked at, and told in words to its operator."""

from __future__ import annotations

from pathlib import Path

import msgspec

from epochgate.chain.local import LocalChain
from epochgate.cli.inputs import InputError
from epochgate.core.policy import Policy
from epochgate.core.policy_text import check_policy
from epochgate.core.roster import Role
from epochgate.keys import format_peer_id
from epochgate.ports import Chain, Clock

LOCAL = "local:"


class OpenedChain(msgspec.Struct, frozen=True):
    """A chain that answers, and how its operator calls it; whoever opened it closes `chain`.

    `where` is what it is in a sentence; `how_to_register` what to do for a node that is not on it.
    """

    chain: Chain
    where: str
    how_to_register: str


async def open_chain(url: str, *, author: bytes | None, clock: Clock) -> OpenedChain:
    """The chain that `url` names, for the node `author`; None for one that only looks.

    Raises InputError for a URL of no kind, for a chain that does not answer, and where this machine's clock does not fit
    the chain's (SPEC section 3).
    """
    if url.startswith(LOCAL):
        return await _open_local(Path(url.removeprefix(LOCAL)), author, clock)
    raise InputError(f"--chain {url!r}: write local:FILE")


def check_node(opened: OpenedChain, author: bytes, roles: int, policy: Policy) -> None:
    """A node whose roles or policy do not fit its chain says so and does not start. Raises InputError and PolicyError.

    `roles` are bits of `Role`.
    """
    roster = opened.chain.get_waiting_roster()
    registered = roster.roles.get(author)
    if registered is None:
        raise InputError(f"{format_peer_id(author)} is not registered on {opened.where}: {opened.how_to_register}")
    if registered != roles:
        names = " ".join(f"--role {role.name.lower()}" for role in Role if role.name and role & registered)
        raise InputError(f"{opened.where} has this node in another role: start it with {names}, or register it anew")
    check_policy(policy, opened.chain.timing, len(roster.members))


async def _open_local(file: Path, author: bytes | None, clock: Clock) -> OpenedChain:
    chain = LocalChain(file, author, clock)
    ahead_seconds = chain.genesis_seconds - clock.get_unix_seconds()
    if ahead_seconds > chain.timing.block_seconds:
        await chain.close()
        raise InputError(
            f"the chain in {file} begins {ahead_seconds:.0f} s from now, so this machine's clock is behind: "
            "set it, for example with `timedatectl set-ntp true`"
        )
    return OpenedChain(chain, f"the chain in {file}", "register it first")
