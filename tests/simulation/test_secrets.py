"""Nothing that a node emits, logs or prints of itself shows a secret: its key, a salt, or what it
has not opened yet.
"""

from __future__ import annotations

import base64
import gc
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from epochgate.core.commitment import Opening
from epochgate.core.types import Epoch
from epochgate.keys import SigningKey
from epochgate.observe.events import Line, encode_line
from tests.simulation.subnet import SimSubnet, live

RUNTIME = "epochgate"


def write_down(secret: bytes) -> Iterator[str]:
    """Every way in which bytes get into text."""
    yield secret.hex()
    yield base64.b64encode(secret).decode().rstrip("=")
    yield base64.urlsafe_b64encode(secret).decode().rstrip("=")
    yield repr(secret)[2:-1]
    yield repr(bytearray(secret))[12:-2]
    yield str(list(secret))[1:-1]


def find_openings(subnet: SimSubnet, epoch: Epoch) -> Iterator[Opening]:
    """What every node has committed to in `epoch`."""
    for sim_node in subnet.nodes.values():
        for kind in ("hoster-commit", "validator-commit"):
            opening = sim_node.get_live_node().context.database.get_own_opening(kind, epoch)
            if opening is not None:
                yield opening


def find_texts() -> Iterator[tuple[str, str]]:
    """The text of every object of this package's own classes."""
    for thing in gc.get_objects():
        kind: type[Any] = type(thing)
        if str(kind.__module__).partition(".")[0] == RUNTIME:
            yield kind.__qualname__, repr(thing)


def test_an_epoch_shows_no_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def story(subnet: SimSubnet) -> tuple[list[tuple[str, str]], list[bytes]]:
        await subnet.start()
        # hosters have committed, and nobody has opened
        await subnet.run_until(Epoch(0), percent=48)
        openings = list(find_openings(subnet, Epoch(0)))
        texts = [*find_texts(), *(("Opening", repr(opening)) for opening in openings)]
        await subnet.run_until(Epoch(1), percent=55)
        openings += find_openings(subnet, Epoch(0))
        secrets = [bytes(sim_node.key._key) for sim_node in subnet.nodes.values()]
        secrets += [opening.salt for opening in openings]
        for sim_node in subnet.nodes.values():
            texts += [
                (sim_node.name, encode_line(Line(sim_node.peer_id, 0.0, fact)).decode())
                for fact in sim_node.facts
            ]
        await subnet.stop()
        return texts, secrets

    # no other test has it: what they left in memory, with salts of the same seed, has been opened
    # there
    seed = 9_041
    texts, secrets = live(tmp_path, story, seed=seed, is_on_disk=True)
    texts += [("log", record.getMessage()) for record in caplog.records]

    assert len(secrets) >= 7 + 4 + 3, "seven keys, four hosters' salts, three validators'"
    assert len(texts) > 100
    forms = {form for secret in set(secrets) for form in write_down(secret)}
    assert not [name for name, text in texts for form in forms if form in text]


def test_the_search_finds_what_it_looks_for() -> None:
    secret = bytes(range(32))
    for text in (
        secret.hex(),
        f"{secret!r}",
        f"{bytearray(secret)!r}",
        str(list(secret)),
        msgspec.json.encode(secret).decode(),
    ):
        assert any(form in text for form in write_down(secret)), text


def assert_only_the_owner_reads(folder: Path) -> None:
    files = sorted(folder.glob("alice.sqlite*"))
    assert files
    assert [file.name for file in files if file.stat().st_mode & 0o077] == []


def test_files_that_hold_secrets_are_their_owners_alone(tmp_path: Path) -> None:
    async def story(subnet: SimSubnet) -> None:
        await subnet.start()
        await subnet.run_until(Epoch(0), percent=48)
        assert_only_the_owner_reads(tmp_path)
        await subnet.stop()

    live(tmp_path, story, is_on_disk=True)
    SigningKey.create(tmp_path / "alice.key")
    assert (tmp_path / "alice.key").stat().st_mode & 0o777 == 0o600
