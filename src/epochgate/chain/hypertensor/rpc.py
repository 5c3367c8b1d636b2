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
from epochgate.errors import EpochgateError
from epochgate.ports import ChainRefused

PALLET = "Network"
TIMEOUT_SECONDS = 20.0
"""For a question; connecting and reading the metadata for the first time are in it."""
LIBRARY_TIMEOUT_SECONDS = 45.0
ERA_BLOCKS = 8
"""An extrinsic that is not in a block by then never will be: a late one would act in another epoch.
"""
PAGE_KEYS = 500
LOST = ("reconnect", "Max retries")
"""By these words the library tells a lost connection in the same kind of error as a server's
refusal.
"""
UNFUNDED = "1010"
"""The transaction pool's code for an extrinsic that is not valid now; for an account without a
balance also when it is free.
"""

T = TypeVar("T")

logging.getLogger("async_substrate").setLevel(
    logging.CRITICAL
)  # what it logs is raised as well, and told in our words


class ChainUnreachable(EpochgateError, ConnectionError):
    """The chain's RPC server did not answer; the message names it and says what to do."""


class RpcError(ChainRefused):
    """The chain's RPC server answered that it cannot answer. `text` is its own."""

    def __init__(self, url: str, text: str) -> None:
        super().__init__(
            f"{url} cannot answer ({text}): a chain node that keeps its history may be needed"
        )
        self.text = text


class CallFailed(ChainRefused):
    """The chain took the extrinsic into a block, and refused what it asked for. `name` is the
    pallet's error.
    """

    def __init__(self, call: str, name: str, documentation: str) -> None:
        super().__init__(
            f"the chain refused {call}: {name} {documentation}".rstrip()
            + ": see `epochgate chain status`"
        )
        self.name = name


class Rpc:
    """One RPC server. Nothing is connected before the first question."""

    def __init__(self, url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self.url = url
        self._timeout_seconds = timeout_seconds
        self._interface: AsyncSubstrateInterface | None = None
        self._lock = asyncio.Lock()
        self._sending = asyncio.Lock()
        self._endings: set[asyncio.Task[None]] = set()
        self._abandoned: set[asyncio.Task[Any]] = set()

    async def request(self, method: str, parameters: Sequence[Any] = ()) -> Any:
        async def ask(interface: AsyncSubstrateInterface) -> Any:
            return (await interface.rpc_request(method, list(parameters)))["result"]

        return await self._ask(ask)

    async def query(
        self, name: str, parameters: Sequence[Any], block_hash: str, pallet: str = PALLET
    ) -> Any:
        """A value of the pallet's storage, None where there is none."""

        async def ask(interface: AsyncSubstrateInterface) -> Any:
            found = await interface.query(pallet, name, list(parameters), block_hash=block_hash)
            return getattr(found, "value", found)

        return await self._ask(ask)

    async def query_map(self, name: str, parameters: Sequence[Any], block_hash: str) -> list[Any]:
        """All values under a prefix."""

        async def ask(interface: AsyncSubstrateInterface) -> list[Any]:
            rows = await interface.query_map(
                PALLET, name, list(parameters), block_hash=block_hash, page_size=PAGE_KEYS
            )
            return [getattr(value, "value", value) async for _, value in rows]

        return await self._ask(ask)

    async def query_many(
        self, name: str, keys: Sequence[Sequence[Any]], block_hash: str
    ) -> list[Any]:
        """One value a key, in the order of the keys."""

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

    async def get_constant(self, pallet: str, name: str) -> Any:
        async def ask(interface: AsyncSubstrateInterface) -> Any:
            found = await interface.get_constant(pallet, name)
            return getattr(found, "value", found)

        return await self._ask(ask)

    async def has_storage(self, name: str) -> bool:
        async def ask(interface: AsyncSubstrateInterface) -> bool:
            return await interface.get_metadata_storage_function(PALLET, name) is not None

        return await self._ask(ask)

    async def get_call_fields(self, call: str, pallet: str = PALLET) -> list[Field] | None:
        """The arguments of a call as the live metadata has them, None for a call that the chain
        does not have.
        """

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
        """Send an extrinsic and wait until a block has it. Raises ChainRefused with the chain's
        reason.

        After ChainUnreachable nobody knows whether a block will have it, until its era is over:
        read what it should change.
        """
        fields = await self.get_call_fields(call, pallet)
        if fields is None:
            raise ChainRefused(
                f"the chain has no call {call}: it is of another version, install a fitting"
                " epochgate"
            )

        async def act(interface: AsyncSubstrateInterface) -> None:
            composed = await interface.compose_call(pallet, call, fill_call(call, fields, known))
            era = {"period": ERA_BLOCKS}
            extrinsic = await interface.create_signed_extrinsic(
                composed, account, era=era, nonce=nonce
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
        await asyncio.gather(*self._endings, return_exceptions=True)

    async def _ask(
        self,
        work: Callable[[AsyncSubstrateInterface], Awaitable[T]],
        timeout_seconds: float | None = None,
    ) -> T:
        """Raises ChainUnreachable, and lets a broken connection go.

        The library now and then swallows a cancellation, so `work` has a task of its own: whoever
        is cancelled, or has waited for long enough, does not wait for it to end.
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
            if not any(sign in str(error) for sign in LOST):
                raise RpcError(self.url, str(error)) from None
            raise self._lose(str(error)) from None
        except (OSError, WebSocketException) as error:
            raise self._lose(str(error) or type(error).__name__) from None

    def _lose(self, why: str) -> ChainUnreachable:
        self._drop()
        return ChainUnreachable(
            f"{self.url} does not answer ({why}): look whether the chain node runs and the URL is"
            " right"
        )

    def _abandon(self, task: asyncio.Task[T]) -> None:
        task.cancel()
        self._abandoned.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            # asked for, so that asyncio does not report it: whoever wanted the answer is gone
            task.exception()

    async def _connect(self) -> AsyncSubstrateInterface:
        async with self._lock:
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
                    self._end(interface)
                    raise
                self._interface = interface
            return self._interface

    def _drop(self) -> None:
        self._lock = asyncio.Lock()  # an abandoned task may hold the other one for good
        if self._interface is not None:
            self._end(self._interface)
            self._interface = None

    def _end(self, interface: AsyncSubstrateInterface) -> None:
        """Beside what goes on: closing a broken connection may take long."""
        task = asyncio.ensure_future(_close(interface))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)


async def _close(interface: AsyncSubstrateInterface) -> None:
    with suppress(
        Exception
    ):  # it may raise when the connection is broken, which is why it is closed
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await interface.close()  # type: ignore[no-untyped-call] # the library's own is untyped


def _explain_refusal(call: str, account: Account, error: str) -> str:
    if UNFUNDED in error:
        return (
            f"the chain did not take {call} from {account.address} ({error}): send that account a"
            " little TENSOR, for the chain takes nothing from an empty one, also where the call is"
            " free"
        )
    return f"the chain did not take {call} from {account.address}: {error}"


_encode_map = scale_types.Map.process_encode


def _encode_any_map(self: Any, value: Any) -> Any:
    if not self.map_key and self.type_mapping:
        pairs = self.runtime_config.create_scale_object(
            self.type_mapping[0], metadata=self.metadata
        )
        return pairs.encode(list(value.items()) if isinstance(value, dict) else value)
    return _encode_map(self, value)


def _mend_maps() -> None:
    """cyscale 0.8 cannot encode a BTreeMap that comes from metadata: it has a list of pairs there
    and no type of the key.
    """
    scale_types.Map.process_encode = _encode_any_map  # type: ignore[method-assign] # that is what mending it takes
