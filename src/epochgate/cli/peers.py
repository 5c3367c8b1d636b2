"""`epochgate peers`: whom a node knows, who is on the chain, and who answers now."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from epochgate.core.roster import Role, Roster
from epochgate.engine.peerstore import FILE_NAME, MAX_PEERS, PeerStore
from epochgate.engine.system import SystemClock
from epochgate.keys import SigningKey, format_peer_id, parse_peer_id
from epochgate.ports import Network, Unreachable
from epochgate.runtime.chains import ChainIdentity, open_chain
from epochgate.runtime.loading import DEFAULT_POLICY, InputError, load_policy
from epochgate.runtime.settings import explain

PING_SECONDS = 5.0
PING = b""
"""No request at all: every node refuses it, and so shows that it answers."""


class Peer(msgspec.Struct, frozen=True):
    """What is known of one peer. `roles` are bits of `Role`, None without a chain; `answers` None
    where nobody asked.
    """

    peer_id: str
    roles: int | None
    stake: int | None
    addresses: tuple[str, ...]
    answers: bool | None


def peers(
    data: Annotated[
        Path,
        typer.Option(
            help="The node's folder, which holds its peerstore; the node may run meanwhile."
        ),
    ],
    chain: Annotated[
        str | None, typer.Option(help=f"{explain('chain')} Shows who is on its roster as well.")
    ] = None,
    subnet_id: Annotated[int | None, typer.Option(min=0, help=explain("subnet_id"))] = None,
    policy: Annotated[str, typer.Option(help=explain("policy"))] = DEFAULT_POLICY,
    ping: Annotated[
        bool,
        typer.Option("--ping", help="Call every peer that has an address, as a stranger would."),
    ] = False,
    addresses: Annotated[
        bool,
        typer.Option(
            "--addresses", help="Only full multiaddresses, a line each, for --initial-peers."
        ),
    ] = False,
) -> int:
    """Show the peers in a node's peerstore, with the chain's roster and whether each answers
    now, where asked.
    """
    if not data.is_dir():
        raise InputError(
            f"--data {data}: there is no such folder: name the one that the node was started with"
        )
    chain_identity = ChainIdentity(subnet_id, role_field=load_policy(policy).role_field)
    found = asyncio.run(_find_peers(data, chain, chain_identity, is_pinging=ping))
    if addresses:
        for peer in found:
            if peer.answers is not False:
                typer.echo(
                    "\n".join(f"{address}/p2p/{peer.peer_id}" for address in peer.addresses[:1]),
                    nl=bool(peer.addresses),
                )
    elif found:
        _make_console().print(_render(found))
    else:
        typer.echo(
            "the peerstore is empty: the node has met nobody yet, look at its --initial-peers"
        )
    return 0


async def _find_peers(
    data: Path, chain: str | None, chain_identity: ChainIdentity, *, is_pinging: bool
) -> list[Peer]:
    known: dict[str, list[str]] = {}
    for peer, address in PeerStore(data / FILE_NAME).get_recent(MAX_PEERS):
        known.setdefault(peer, []).append(address)
    if chain is None:
        roster = None
    else:
        roster = await _read_roster(chain, chain_identity)
    if is_pinging:
        answering = await _ping_all(known)
    else:
        answering = {}
    return list(_merge(known, roster, answering))


async def _read_roster(url: str, chain_identity: ChainIdentity) -> Roster:
    """Who is registered now."""
    opened = await open_chain(url, author=None, clock=SystemClock(), chain_identity=chain_identity)
    try:
        return opened.chain.get_waiting_roster()
    finally:
        await opened.chain.close()


async def _ping_all(known: Mapping[str, Iterable[str]]) -> dict[str, bool]:
    """From a network of a moment with a key of its own: the node's key may be in use, and two under
    one name confuse all.
    """
    from epochgate.engine.libp2p import Libp2pNetwork  # noqa: PLC0415 - brings hivemind and torch

    with tempfile.TemporaryDirectory(prefix="epochgate-peers-") as folder:
        identity = Path(folder) / "identity"
        SigningKey.create(identity)
        starting_points = [
            f"{address}/p2p/{peer}" for peer, addresses in known.items() for address in addresses
        ]
        network = await Libp2pNetwork.start(
            identity, Path(folder), initial_peers=starting_points, emit=lambda _: None
        )
        try:
            answers = await asyncio.gather(*(_ping(network, peer) for peer in known))
        finally:
            await network.close()
    return dict(zip(known, answers, strict=True))


async def _ping(network: Network, peer: str) -> bool:
    try:
        await network.request(parse_peer_id(peer), PING, PING_SECONDS)
    except Unreachable:
        return False
    return True


def _merge(
    known: Mapping[str, list[str]], roster: Roster | None, answering: Mapping[str, bool]
) -> Iterable[Peer]:
    """Those on the roster first, then others that were met."""
    if roster is None:
        members = {}
    else:
        members = {format_peer_id(member.author): member for member in roster.members}
    for peer in dict.fromkeys([*members, *known]):
        member = members.get(peer)
        if roster is None:
            roles = None
        elif member:
            roles = member.roles
        else:
            roles = 0
        yield Peer(
            peer,
            roles,
            member.stake if member else None,
            tuple(known.get(peer, ())),
            answering.get(peer),
        )


def _render(found: Iterable[Peer]) -> Table:
    table = Table(box=None, header_style="dim")
    for name in ("peer", "role", "stake", "answers", "address"):
        table.add_column(name, no_wrap=True, overflow="fold")
    for peer in found:
        names = [
            role.name.lower() for role in Role if role.name and peer.roles and role & peer.roles
        ]
        if peer.roles is None:
            role = ""
        else:
            role = "+".join(names) or "not on the roster"
        answers = {None: "", True: "yes", False: "no"}[peer.answers]
        if peer.stake is None:
            stake = ""
        else:
            stake = str(peer.stake)
        table.add_row(peer.peer_id, role, stake, answers, ", ".join(peer.addresses) or "never met")
    return table


def _make_console() -> Console:
    """Lines of any length where no terminal cuts them."""
    console = Console(highlight=False)
    if console.is_terminal:
        return console
    return Console(highlight=False, width=1000)
