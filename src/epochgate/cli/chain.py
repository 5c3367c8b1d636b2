"""`epochgate chain`: put a subnet and its nodes on the Hypertensor chain, and see where
they stand.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from epochgate.chain.hypertensor.units import UNIT
from epochgate.core.types import PeerId
from epochgate.keys import SigningKey, parse_peer_id
from epochgate.runtime.chains import require_hypertensor
from epochgate.runtime.loading import DEFAULT_POLICY, InputError, load_policy
from epochgate.runtime.settings import COLDKEY_VARIABLE, HOTKEY_VARIABLE, RoleName, explain

if TYPE_CHECKING:
    from epochgate.chain.hypertensor.account import Account
    from epochgate.chain.hypertensor.registration import Step
    from epochgate.chain.hypertensor.rpc import Rpc

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    help="Put a subnet and its nodes on the Hypertensor chain, and see where they stand.",
)

Url = Annotated[str, typer.Option("--chain", help="The chain node's RPC address, ws:// or wss://.")]
SubnetId = Annotated[int, typer.Option(min=0, help="The subnet's number on the chain.")]
Coldkey = Annotated[
    Path | None,
    typer.Option(
        help=f"The key that pays and owns, made by `chain keygen`; else ${COLDKEY_VARIABLE}."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before something is sent.")]


@app.command()
def keygen(
    file: Annotated[Path, typer.Argument(help="Where the key goes; it must not exist yet.")],
) -> None:
    """Make a key of the chain, for a coldkey or a hotkey, and print its address."""
    require_hypertensor()
    from epochgate.chain.hypertensor.account import (  # noqa: PLC0415 - of an extra
        Account,
    )

    typer.echo(Account.create(file).address)


@app.command()
def status(chain: Url, subnet_id: SubnetId) -> None:
    """Show where the chain, the subnet and its nodes stand."""
    require_hypertensor()
    from epochgate.cli.chain_status import show_status  # noqa: PLC0415 - needs the extra

    asyncio.run(show_status(chain, subnet_id))


@app.command()
def register_subnet(
    chain: Url,
    name: Annotated[str, typer.Option(help="The subnet's name; the chain has each once.")],
    bootnode: Annotated[
        list[str],
        typer.Option(help="A node that newcomers begin with, /ip4/.../p2p/12D3...; repeat it."),
    ],
    max_cost: Annotated[str, typer.Option(help="What registering may cost, in TENSOR.")],
    repo: Annotated[str, typer.Option(help="Where its code is; the chain has each once.")] = "",
    min_stake: Annotated[str, typer.Option(help="A node's least stake, in TENSOR.")] = "100",
    max_stake: Annotated[str, typer.Option(help="A node's largest stake, in TENSOR.")] = "1000",
    initial_coldkey: Annotated[
        list[str] | None,
        typer.Option(
            help="An address that may register the first nodes, as ADDRESS or ADDRESS=COUNT."
        ),
    ] = None,
    coldkey: Coldkey = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Register a subnet; its nodes follow, and then it is activated."""
    owner = _find_account(coldkey, COLDKEY_VARIABLE)
    from epochgate.chain.hypertensor.registration import (  # noqa: PLC0415 - of an extra
        NewSubnet,
        find_subnet,
        plan_subnet,
    )

    subnet = NewSubnet(
        name=name,
        repo=repo or name,
        max_cost=_parse_tensor(max_cost, "--max-cost"),
        min_stake=_parse_tensor(min_stake, "--min-stake"),
        max_stake=_parse_tensor(max_stake, "--max-stake"),
        coldkeys=dict(_parse_coldkey(text) for text in initial_coldkey or [owner.address]),
        bootnodes=[_parse_bootnode(text) for text in bootnode],
    )

    async def work(rpc: Rpc) -> None:
        steps = await plan_subnet(rpc, owner, subnet)
        if await _confirm_and_send(rpc, steps, dry_run=dry_run, yes=yes):
            typer.echo(f"subnet {await find_subnet(rpc, owner.address)}")

    asyncio.run(_with_rpc(chain, work))


@app.command()
def register_node(
    chain: Url,
    subnet_id: SubnetId,
    identity: Annotated[Path, typer.Option(help="The node's own key, made by `epochgate keygen`.")],
    hotkey: Annotated[
        str, typer.Option(help="The file of the node's key on the chain, or its address, 0x...")
    ],
    role: Annotated[
        RoleName,
        typer.Option(help="What the node does; written into the field that the policy names."),
    ] = RoleName.BOTH,
    stake: Annotated[str, typer.Option(help="The node's stake, in TENSOR.")] = "100",
    max_burn: Annotated[str, typer.Option(help="What registering may burn, in TENSOR.")] = "100",
    hotkey_balance: Annotated[
        str, typer.Option(help="What a hotkey without a balance is sent, in TENSOR.")
    ] = "1",
    policy: Annotated[str, typer.Option(help=explain("policy"))] = DEFAULT_POLICY,
    coldkey: Coldkey = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Register a node in a subnet, and send its hotkey the balance without which it cannot act."""
    payer = _find_account(coldkey, COLDKEY_VARIABLE)
    from epochgate.chain.hypertensor.registration import (  # noqa: PLC0415 - of an extra
        NewNode,
        plan_node,
    )

    hotkey_address = hotkey
    if not hotkey.startswith("0x"):
        hotkey_address = _find_account(Path(hotkey), HOTKEY_VARIABLE).address
    role_text = ""  # a field that is left empty means both
    if role != RoleName.BOTH:
        role_text = role.value
    node = NewNode(
        subnet_id=subnet_id,
        author=PeerId(SigningKey.load(identity).author),
        hotkey=hotkey_address,
        stake=_parse_tensor(stake, "--stake"),
        max_burn=_parse_tensor(max_burn, "--max-burn"),
        hotkey_balance=_parse_tensor(hotkey_balance, "--hotkey-balance"),
        role_field=load_policy(policy).role_field,
        role_text=role_text,
    )

    async def work(rpc: Rpc) -> None:
        steps = await plan_node(rpc, payer, node)
        while (
            await _confirm_and_send(rpc, steps, dry_run=dry_run, yes=yes)
            and steps[-1].call == "register_validator"
        ):
            steps = await plan_node(rpc, payer, node)

    asyncio.run(_with_rpc(chain, work))


@app.command()
def activate(
    chain: Url,
    subnet_id: SubnetId,
    coldkey: Coldkey = None,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Activate a subnet that has enough nodes: from its next epoch on the chain elects one
    of them.
    """
    owner = _find_account(coldkey, COLDKEY_VARIABLE)
    from epochgate.chain.hypertensor.registration import (  # noqa: PLC0415 - of an extra
        plan_activation,
    )

    async def work(rpc: Rpc) -> None:
        await _confirm_and_send(rpc, plan_activation(owner, subnet_id), dry_run=dry_run, yes=yes)

    asyncio.run(_with_rpc(chain, work))


async def _with_rpc(url: str, work: Callable[[Rpc], Awaitable[T]]) -> T:
    from epochgate.chain.hypertensor.rpc import Rpc  # noqa: PLC0415 - of the extra

    rpc = Rpc(url)
    try:
        return await work(rpc)
    finally:
        await rpc.close()


async def _confirm_and_send(rpc: Rpc, steps: list[Step], *, dry_run: bool, yes: bool) -> bool:
    """Say what would be sent, ask, send it, and tell whether it was sent.

    Raises typer.Abort where the answer is no.
    """
    from epochgate.chain.hypertensor.registration import (  # noqa: PLC0415 - of an extra
        get_balance,
        send,
    )

    payer = steps[0].account.address
    typer.echo(
        f"{payer} has {await get_balance(rpc, payer) / UNIT:,.4f} TENSOR. This would be sent to"
        f" {rpc.url}:"
    )
    for number, step in enumerate(steps, start=1):
        typer.echo(f"  {number}. {step.description}")
    if dry_run:
        typer.echo("nothing was sent (--dry-run)")
        return False
    if not yes:
        typer.confirm("Send it?", abort=True)
    await send(rpc, steps)
    typer.echo("done")
    return True


def _find_account(file: Path | None, variable: str) -> Account:
    require_hypertensor()
    from epochgate.chain.hypertensor.account import find_account  # noqa: PLC0415 - of the extra

    return find_account(file, variable, os.environ)


def _parse_tensor(text: str, option: str) -> int:
    try:
        amount = Decimal(text) * UNIT
    except InvalidOperation:
        raise InputError(
            f"{option} {text!r}", "write a number of TENSOR, as in 100 or 0.5"
        ) from None
    if not amount.is_finite() or amount < 0 or amount != amount.to_integral_value():
        raise InputError(f"{option} {text!r}: an amount is 0 or more, with at most 18 decimals")
    return int(amount)


def _parse_coldkey(text: str) -> tuple[str, int]:
    address, _, count = text.partition("=")
    if not (address.startswith("0x") and len(address) == 42 and (count or "1").isdigit()):
        raise InputError(
            f"--initial-coldkey {text!r}",
            "write an address of 0x and 40 digits, and perhaps =COUNT",
        )
    return address, int(count or 1)


def _parse_bootnode(text: str) -> tuple[str, bytes]:
    from multiaddr import Multiaddr  # noqa: PLC0415 - comes with the extra
    from multiaddr.exceptions import Error  # noqa: PLC0415 - likewise

    _, _, peer = text.rpartition("/p2p/")
    try:
        parse_peer_id(peer)
        return peer, Multiaddr(text).to_bytes()
    except (Error, ValueError) as error:
        raise InputError(
            f"--bootnode {text!r} ({error})",
            "write it like /ip4/203.0.113.5/tcp/31330/p2p/12D3KooW...",
        ) from None
