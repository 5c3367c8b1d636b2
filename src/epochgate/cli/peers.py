"""`epochgate peers`: the peers that a node knows, the chain's roster, and which of them answer."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from epochgate.core.roster import Member, Roster, get_role_names
from epochgate.engine.peerstore import FILE_NAME, MAX_PEERS, PeerStore
from epochgate.engine.system import SystemClock
from epochgate.keys import SigningKey, format_peer_id, parse_peer_id
from epochgate.ports import Network, Unreachable
from epochgate.runtime.chains import ChainIdentity, open_chain
from epochgate.runtime.loading import DEFAULT_POLICY, InputError, load_policy
from epochgate.runtime.settings import explain

PING_SECONDS = 5.0
PING = b""
"""Not a request: every node refuses it, and shows by that that it answers."""


class Peer(msgspec.Struct, frozen=True):
    """One row of the table.

    Attributes:
        peer_id: in text form, 12D3KooW...
        roles: bits of `Role`, 0 for one that is not on the roster; None without a chain.
        stake: in the chain's unit; None without a chain, or for one that is not on the roster.
        addresses: multiaddresses at which it was seen, the latest first.
        answers: whether it answered a ping; None where none was sent.
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
    _check_folder(data)
    chain_identity = ChainIdentity(subnet_id, role_field=load_policy(policy).role_field)
    found = asyncio.run(_find_peers(data, chain, chain_identity, is_pinging=ping))
    if addresses:
        for line in _list_addresses(found):
            typer.echo(line)
    elif found:
        _make_console().print(_render(found))
    else:
        typer.echo(
            "the peerstore is empty: the node has met nobody yet, look at its --initial-peers"
        )
    return 0


def _check_folder(data: Path) -> None:
    try:
        is_folder = data.is_dir()
    except OSError as error:
        raise InputError(f"--data {data}: {error.strerror}") from None
    if not is_folder:
        raise InputError(
            f"--data {data}: there is no such folder", "name the one that the node was started with"
        )


def _list_addresses(found: Iterable[Peer]) -> Iterator[str]:
    """The latest address of each peer, without those that did not answer."""
    for peer in found:
        if peer.addresses and peer.answers is not False:
            yield f"{peer.addresses[0]}/p2p/{peer.peer_id}"


async def _find_peers(
    data: Path, chain: str | None, chain_identity: ChainIdentity, *, is_pinging: bool
) -> list[Peer]:
    known: dict[str, list[str]] = {}
    for peer, address in PeerStore(data / FILE_NAME).get_recent(MAX_PEERS):
        known.setdefault(peer, []).append(address)
    roster = None
    if chain is not None:
        roster = await _read_roster(chain, chain_identity)
    answering: dict[str, bool] = {}
    if is_pinging:
        answering = await _ping_all(known)
    return list(_merge(known, roster, answering))


async def _read_roster(url: str, chain_identity: ChainIdentity) -> Roster:
    """The nodes that are registered now."""
    opened = await open_chain(url, author=None, clock=SystemClock(), chain_identity=chain_identity)
    try:
        return opened.chain.get_waiting_roster()
    finally:
        await opened.chain.close()


async def _ping_all(known: Mapping[str, Iterable[str]]) -> dict[str, bool]:
    """Whether each peer answers, asked by a network that is opened for this with a new key: the
    node's own key may be in use, and two networks with one key confuse the others.
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
) -> Iterator[Peer]:
    """Those on the roster first, then others that were met."""
    members: dict[str, Member] = {}
    if roster is not None:
        members = {format_peer_id(member.author): member for member in roster.members}
    for peer in dict.fromkeys([*members, *known]):
        roles = None
        if roster is not None:
            roles = 0
        stake = None
        member = members.get(peer)
        if member is not None:
            roles = member.roles
            stake = member.stake
        yield Peer(peer, roles, stake, tuple(known.get(peer, ())), answering.get(peer))


def _render(found: Iterable[Peer]) -> Table:
    table = Table(box=None, header_style="dim")
    for name in ("peer", "role", "stake", "answers", "address"):
        table.add_column(name, no_wrap=True, overflow="fold")
    for peer in found:
        stake = ""
        if peer.stake is not None:
            stake = str(peer.stake)
        answers = {None: "", True: "yes", False: "no"}[peer.answers]
        addresses = ", ".join(peer.addresses) or "never met"
        table.add_row(peer.peer_id, _name_roles(peer.roles), stake, answers, addresses)
    return table


def _name_roles(roles: int | None) -> str:
    if roles is None:
        return ""
    return "+".join(get_role_names(roles)) or "not on the roster"


def _make_console() -> Console:
    """Lines are cut at a terminal's width, and never in a file or a pipe."""
    console = Console(highlight=False)
    if console.is_terminal:
        return console
    return Console(highlight=False, width=1000)
