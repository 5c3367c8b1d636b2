"""The real runtime of Hypertensor on this machine: booted offline from the chain's raw spec, with
blocks on demand.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import websockets

from epochgate.core.types import BlockNumber

HERE = Path(__file__).parent
SPEC_VARIABLE = "EPOCHGATE_HYPERTENSOR_SPEC"
LOOPBACK = "127.0.0.1"
COLDKEYS = {
    "alith": "5fb92d6e98884f76de468fa3f6278f8807c48bebc13595d45af5bdc4da702133",
    "baltathar": "8075991ce870b93a8870eca0c0f91913d12f47948ca0fd25b49c6fa7cdbeee8b",
    "charleth": "0b6e18cafb6ed99687ec547bd28139cafdd2bffe70e6b688025de6b445aa5c5b",
    "dorothy": "39539ab1876910bbf3a223d84a29e28f1cb4e2e456503e7e91ed39b2e7223d68",
}
"""The well-known development accounts of Frontier chains: they hold all that the chain's genesis
gives out.
"""


def find_spec() -> Path:
    """The chain's raw spec; without one the test is skipped."""
    path = os.environ.get(SPEC_VARIABLE)
    if not path:
        pytest.skip(
            f"set {SPEC_VARIABLE} to the file hoskinsonSpecRaw.json of"
            " github.com/hayotensor/hypertensor-blockchain, and run `make test-chain`"
        )
    if not (HERE / "node_modules").is_dir():
        pytest.skip(
            "the chain's helper is not installed: run `make test-chain`, which does it with npm"
        )
    return Path(path)


def find_port() -> int:
    with socket.create_server((LOOPBACK, 0)) as server:
        port: int = server.getsockname()[1]
        return port


class DevChain:
    """One chain in a process of its own. A block is made at once for each extrinsic, and whenever
    it is asked for.
    """

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process = process
        self.url = url

    @staticmethod
    def start(spec: Path, port: int | None = None) -> DevChain:
        port = port or find_port()
        command = ["node", str(HERE / "devchain.mjs"), str(spec), str(port), "Instant"]
        environment = os.environ | {"LOG_LEVEL": "error"}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        while line and not line.startswith("READY"):
            line = process.stdout.readline()
        assert line, (
            "the chain ended before it was ready: run tests/chain/devchain.mjs by hand to see why"
        )
        return DevChain(process, f"ws://{LOOPBACK}:{port}")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    async def ask(self, method: str, *parameters: Any) -> Any:
        async with websockets.connect(self.url, max_size=1 << 24) as connection:
            await connection.send(
                json.dumps(
                    {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}
                )
            )
            answer = json.loads(await connection.recv())
        assert "error" not in answer, answer
        return answer["result"]

    async def get_block(self) -> BlockNumber:
        return BlockNumber(int((await self.ask("chain_getHeader"))["number"], 16))

    async def make_blocks(self, count: int = 1) -> None:
        await self.ask("dev_newBlock", {"count": count})

    async def reach(self, block: BlockNumber) -> None:
        """Make blocks until the head is `block`."""
        missing = block - await self.get_block()
        if missing > 0:
            await self.make_blocks(missing)

    async def go_back(self, block: BlockNumber) -> None:
        """A reorganisation: the head is `block` again, and what comes after it is made anew."""
        await self.ask("dev_setHead", block)
