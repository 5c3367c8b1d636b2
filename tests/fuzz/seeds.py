"""Writes the corpus, from what honest encoders make: `python -m tests.fuzz.seeds`. What
a fuzzer found is kept beside it, under a name that says what it was.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import torch

from epochgate.core.commitment import Opening
from epochgate.core.receipt import Entry, Proof, Receipt, compute_record_id
from epochgate.core.record import Record, compute_key
from epochgate.core.scoring import ScoreList
from epochgate.core.types import BlockNumber, Epoch, Hash32, PeerId, RecordKey, Salt
from epochgate.core.verdict import Denied, Reason
from epochgate.keys import format_peer_id
from epochgate.observe.events import DutyDone, Line, Scored, encode_line
from epochgate.predicate import MSGPackSerializer
from epochgate.schemas import Heartbeat, ServerState, Tensor
from epochgate.store import wire
from tests.support.identities import NETWORK, alice, bob, victor

CORPUS = Path(__file__).parent / "corpus"
EXPIRATION_TIME = 1_700_007_000.0


def make_tensor_files() -> Iterator[tuple[str, bytes]]:
    for name in ("float32", "int64", "bool"):
        array = np.array([[0, 1], [1, 0]]).astype(name)
        yield f"{name}.safetensors", Tensor(name, array.shape).encode(array)
    yield (
        "bfloat16.safetensors",
        Tensor("bfloat16", (3,)).encode(np.array([1.0, -2.0, 0.5], np.float32)),
    )
    for dtype in (torch.float32, torch.bfloat16, torch.bool):
        file = io.BytesIO()
        torch.save(torch.tensor([[1, 0], [0, 1]]).to(dtype), file)
        yield f"{str(dtype).removeprefix('torch.')}.pt", file.getvalue()


def make_seeds() -> Iterator[tuple[str, str, bytes]]:
    """Target, name and content."""
    key = compute_key("hoster-commit_epoch_0")
    record = alice.sign_record(NETWORK, key, bytes(32), EXPIRATION_TIME)
    receipt = Receipt(bob.author, Epoch(0), BlockNumber(1020), bob.sign(b"receipt"))
    proof = Proof(record, (receipt,))
    entry = Entry(
        alice.author, compute_record_id(record).value_digest, EXPIRATION_TIME, 96, (receipt,)
    )
    requests = (
        wire.Post(record),
        wire.List(key),
        wire.Fetch(key, (alice.author,)),
        wire.ShowSet(1, 2),
    )
    replies = (
        wire.Posted(receipt),
        wire.Refused.from_denied(Denied(Reason.EARLY, "rule", 1, b"x", 3, 18.0)),
        wire.Listing((entry,), True),
        wire.Values((record,)),
        wire.SetPage((proof,), ((record, record),), False),
    )
    for target, messages in (("request", requests), ("reply", replies)):
        for message in messages:
            yield target, type(message).__name__.lower(), wire.encode(message)
    for name, content in make_tensor_files():
        targets = ("torch_file",) if name.endswith(".pt") else ("safetensors_file",)
        for target in (*targets, "tensor", "safe_torch"):
            yield target, name, content
    heartbeat = Heartbeat(
        state=ServerState.ONLINE,
        role="hoster",
        throughput=1.5,
        public_name="a",
        version="0",
        policy_digest="00" * 32,
    ).to_bytes()
    yield from (("map", "heartbeat", heartbeat), ("payload", "heartbeat", heartbeat))
    yield (
        "opening",
        "list",
        Opening(Salt(bytes(32)), Hash32(bytes(32)), ScoreList().encode((1, 10**6))).to_bytes(),
    )
    yield "peer_id", "alice", format_peer_id(alice.author).encode()
    for fact in (DutyDone(Epoch(1), "commit", "13 of 13"), Scored(Epoch(1), {"a": 5}, ["a"], [])):
        yield (
            "event",
            type(fact).__name__.lower(),
            encode_line(Line(format_peer_id(victor.author), 1.5, fact)),
        )
    yield (
        "serializer",
        "values",
        MSGPackSerializer.dumps([(1, "two", (b"3", None)), {"four": 5.0}, True]),
    )
    yield "record", "commitment", msgspec.msgpack.encode(record)
    yield (
        "record",
        "strange",
        msgspec.msgpack.encode(Record(RecordKey(b""), PeerId(b""), b"", float("inf"))),
    )
    heart = alice.sign_record(NETWORK, compute_key("hoster"), heartbeat, EXPIRATION_TIME)
    yield "record", "heartbeat", msgspec.msgpack.encode(heart)


def main() -> None:
    for target, name, content in make_seeds():
        path = CORPUS / target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    main()
