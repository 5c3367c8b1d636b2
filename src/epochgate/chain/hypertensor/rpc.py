"""Questions and extrinsics over JSON-RPC: each with a time limit, and on a new connection where the
last one broke.

Encoding and decoding follow the chain's live metadata, by async-substrate-interface.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from async_substrate_interface import AsyncSubstrateInterface
from async_substrate_interface.errors import SubstrateRequestException
from scalecodec import types as scale_types
from websockets.exceptions import WebSocketException

from epochgate.chain.hypertensor.account import Account
from epochgate.chain.hypertensor.calls import Field, fill_call
from epochgate.chain.hypertensor.units import BlockHash
from epochgate.core.types import BlockNumber
from epochgate.errors import EpochgateError
from epochgate.ports import ChainRefused

PALLET = "Network"
TIMEOUT_SECONDS = 20.0
"""For a question, including the first connection and the first reading of the metadata."""
LIBRARY_TIMEOUT_SECONDS = 45.0
ERA_BLOCKS = 8
"""An extrinsic that no block has taken by then is never taken: a late one would act in another
epoch.
"""
PAGE_KEYS = 500
LOST_SIGNS = ("reconnect", "Max retries")
"""Words by which the library's error for a lost connection differs from a server's refusal, which
has the same type.
"""
UNFUNDED = "1010"
"""The transaction pool's code for an extrinsic that is not valid now. It is also the answer to an
account without a balance, even where the call is free.
"""

T = TypeVar("T")

# the library raises what it logs, and our errors say it
logging.getLogger("async_substrate").setLevel(logging.CRITICAL)


class ChainUnreachable(EpochgateError, ConnectionError):
    """The chain's RPC server did not answer; the message names it and says what to do."""


class RpcError(ChainRefused):
    """The chain's RPC server answered with an error, whose text is `text`."""

    def __init__(self, url: str, text: str) -> None:
        super().__init__(
            f"{url} cannot answer ({text}): a chain node that keeps its history may be needed"
        )
        self.text = text


class CallFailed(ChainRefused):
    """A block took the extrinsic, and the call in it failed. `name` is the pallet's error."""

    def __init__(self, call: str, name: str, documentation: str) -> None:
        reason = f"{name} {documentation}".rstrip()
        super().__init__(f"the chain refused {call}: {reason}: see `epochgate chain status`")
        self.name = name


class Rpc:
    """One RPC server. Nothing is connected before the first question.

    Each method raises ChainUnreachable where no answer comes in time, and RpcError where the server
    answers with an error.
    """

    def __init__(self, url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.url = url
        self._timeout_seconds = timeout_seconds
        self._interface: AsyncSubstrateInterface | None = None
        self._connecting = asyncio.Lock()
        self._sending = asyncio.Lock()
        self._closings: set[asyncio.Task[None]] = set()
        self._abandoned: set[asyncio.Task[Any]] = set()

    async def request(self, method: str, parameters: Sequence[Any] = ()) -> Any:
        """The result of a JSON-RPC method."""

        async def ask(interface: AsyncSubstrateInterface) -> Any:
            return (await interface.rpc_request(method, list(parameters)))["result"]

        return await self._ask(ask)

    async def get_head_hash(self) -> BlockHash:
        """The hash of the best head."""
        return BlockHash(await self.request("chain_getBlockHash"))

    async def get_block_hash(self, block: BlockNumber) -> BlockHash | None:
        """The hash of `block` on the best branch, None where there is none of that number."""
        block_hash: BlockHash | None = await self.request("chain_getBlockHash", [block])
        return block_hash

    async def query(
        self, name: str, parameters: Sequence[Any], block_hash: BlockHash, *, pallet: str = PALLET
    ) -> Any:
        """A value of the pallet's storage at a block, None where there is none."""

        async def ask(interface: AsyncSubstrateInterface) -> Any:
            found = await interface.query(pallet, name, list(parameters), block_hash=block_hash)
            return getattr(found, "value", found)

        return await self._ask(ask)

    async def query_map(
        self, name: str, parameters: Sequence[Any], block_hash: BlockHash
    ) -> list[Any]:
        """All values under a prefix, at a block."""

        async def ask(interface: AsyncSubstrateInterface) -> list[Any]:
            rows = await interface.query_map(
                PALLET, name, list(parameters), block_hash=block_hash, page_size=PAGE_KEYS
            )
            return [getattr(value, "value", value) async for _, value in rows]

        return await self._ask(ask)

    async def query_many(
        self, name: str, keys: Sequence[Sequence[Any]], block_hash: BlockHash
    ) -> list[Any]:
        """One value for each key, in the order of the keys; None where there is none."""

        async def ask(interface: AsyncSubstrateInterface) -> list[Any]:
            storage_keys = [
                await interface.create_storage_key(PALLET, name, list(key), block_hash=block_hash)
                for key in keys
            ]
            found = {
                key.to_hex(): value
                for key, value in await interface.query_multi(storage_keys, block_hash=block_hash)
            }
            values = [found.get(key.to_hex()) for key in storage_keys]
            return [getattr(value, "value", value) for value in values]

        return await self._ask(ask)

    async def get_constant(self, name: str, *, pallet: str = PALLET) -> Any:
        """A constant of the pallet."""

        async def ask(interface: AsyncSubstrateInterface) -> Any:
            found = await interface.get_constant(pallet, name)
            return getattr(found, "value", found)

        return await self._ask(ask)

    async def has_storage(self, name: str) -> bool:
        """Whether the chain's runtime has a storage entry of that name."""

        async def ask(interface: AsyncSubstrateInterface) -> bool:
            return await interface.get_metadata_storage_function(PALLET, name) is not None

        return await self._ask(ask)

    async def get_call_fields(self, call: str, *, pallet: str = PALLET) -> list[Field] | None:
        """A call's arguments as the live metadata describes them, None without such a call."""

        async def ask(interface: AsyncSubstrateInterface) -> list[Field] | None:
            function = await interface.get_metadata_call_function(pallet, call)
            if function is None:
                return None
            fields = getattr(function, "value", function)["fields"]
            return [Field(field["name"], field.get("typeName") or "") for field in fields]

        return await self._ask(ask)

    async def send(
        self,
        account: Account,
        call: str,
        known: Mapping[str, Any],
        *,
        timeout_seconds: float,
        pallet: str = PALLET,
    ) -> None:
        """Send an extrinsic, and wait until a block has it.

        After ChainUnreachable nobody knows whether a block will take it, until its era is over:
        read what it should change.

        Args:
            account: The account that signs and pays.
            call: The call's name.
            known: Values by the name of their argument; more than the call takes.
            timeout_seconds: The longest wait for the block.
            pallet: The call's pallet.

        Raises:
            ChainRefused: The chain refuses it; the message has the chain's reason.
            ChainUnreachable: No answer came in time.
        """
        fields = await self.get_call_fields(call, pallet=pallet)
        if fields is None:
            raise ChainRefused(
                f"the chain has no call {call}: it is of another version, install a fitting"
                " epochgate"
            )

        async def act(interface: AsyncSubstrateInterface) -> None:
            composed = await interface.compose_call(pallet, call, fill_call(call, fields, known))
            extrinsic = await interface.create_signed_extrinsic(
                composed, account, era={"period": ERA_BLOCKS}, nonce=nonce
            )
            receipt = await interface.submit_extrinsic(extrinsic, wait_for_inclusion=True)
            if not await receipt.is_success:
                error = await receipt.error_message or {}
                raise CallFailed(call, str(error.get("name")), " ".join(error.get("docs") or ()))

        async with self._sending:  # one at a time, for each takes the next number of its account
            nonce = await self.request("system_accountNextIndex", [account.address])
            try:
                await self._ask(act, timeout_seconds)
            except RpcError as error:
                raise ChainRefused(_explain_refusal(call, account, error.text)) from None

    async def close(self) -> None:
        self._drop()
        await asyncio.gather(*self._closings, return_exceptions=True)

    async def _ask(
        self,
        work: Callable[[AsyncSubstrateInterface], Awaitable[T]],
        timeout_seconds: float | None = None,
    ) -> T:
        """Do `work` on a connection, and drop one that breaks.

        The library sometimes swallows a cancellation, so `work` has a task of its own: a caller
        that is cancelled, or has waited for long enough, does not wait for the task to end.
        """

        async def connect_and_work() -> T:
            return await work(await self._connect())

        task = asyncio.create_task(connect_and_work())
        try:
            await asyncio.wait({task}, timeout=timeout_seconds or self._timeout_seconds)
        finally:
            if not task.done():
                self._drop()
                self._abandon(task)
        if not task.done():
            raise self._lose("no answer in time")
        try:
            return task.result()
        except SubstrateRequestException as error:
            if not any(sign in str(error) for sign in LOST_SIGNS):
                raise RpcError(self.url, str(error)) from None
            raise self._lose(str(error)) from None
        except (OSError, WebSocketException) as error:
            raise self._lose(str(error) or type(error).__name__) from None

    def _lose(self, reason: str) -> ChainUnreachable:
        self._drop()
        return ChainUnreachable(
            f"{self.url} does not answer ({reason})",
            "look whether the chain node runs and the URL is right",
        )

    def _abandon(self, task: asyncio.Task[T]) -> None:
        task.cancel()
        self._abandoned.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            task.exception()  # read, or asyncio would report an error that nobody waits for

    async def _connect(self) -> AsyncSubstrateInterface:
        async with self._connecting:
            if self._interface is None:
                _mend_maps()
                interface = AsyncSubstrateInterface(
                    self.url,
                    retry_timeout=LIBRARY_TIMEOUT_SECONDS,
                    max_retries=1,
                    ws_shutdown_timer=None,
                )
                try:
                    await interface.initialize()
                except BaseException:
                    self._close_later(interface)
                    raise
                self._interface = interface
            return self._interface

    def _drop(self) -> None:
        self._connecting = asyncio.Lock()  # an abandoned task may hold the other one for good
        if self._interface is not None:
            self._close_later(self._interface)
            self._interface = None

    def _close_later(self, interface: AsyncSubstrateInterface) -> None:
        """Close in a task of its own, because closing a broken connection may take long."""
        task = asyncio.ensure_future(_close(interface))
        self._closings.add(task)
        task.add_done_callback(self._closings.discard)


async def _close(interface: AsyncSubstrateInterface) -> None:
    with suppress(Exception):  # a broken connection, the usual reason to close, may raise anything
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await interface.close()  # type: ignore[no-untyped-call] # the library's own is untyped


def _explain_refusal(call: str, account: Account, error: str) -> str:
    refusal = f"the chain did not take {call} from {account.address}"
    if UNFUNDED in error:
        return (
            f"{refusal} ({error}): send that account a little TENSOR, for the chain takes nothing"
            " from an empty one, also where the call is free"
        )
    return f"{refusal}: {error}"


_encode_map = scale_types.Map.process_encode


def _encode_any_map(self: Any, value: Any) -> Any:
    if self.map_key or not self.type_mapping:
        return _encode_map(self, value)
    pairs = self.runtime_config.create_scale_object(self.type_mapping[0], metadata=self.metadata)
    if isinstance(value, dict):
        return pairs.encode(list(value.items()))
    return pairs.encode(value)


def _mend_maps() -> None:
    """Let cyscale 0.8 encode a BTreeMap whose type comes from metadata.

    There it has the type of a list of pairs, and none of the key, which it asks for.
    """
    scale_types.Map.process_encode = _encode_any_map  # type: ignore[method-assign] # patched
