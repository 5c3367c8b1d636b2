"""The values and proofs that stand in the lines of a file, to which later lines refer."""

from __future__ import annotations

from epochgate.core.receipt import Proof, RecordId
from epochgate.core.record import Record
from epochgate.core.types import Hash32
from epochgate.transcript.lines import Proven


class FileContents:
    """What the lines of one file have held so far.

    Attributes:
        proofs: The records of `proven` lines, with their receipts.
    """

    def __init__(self) -> None:
        self.proofs: dict[RecordId, Proof] = {}
        self._values: dict[Hash32, bytes] = {}

    def take_value(self, digest: Hash32, value: bytes | None) -> bytes:
        """Take the value of a line.

        Args:
            digest: The value's digest.
            value: The value; None where it stands in a line before.

        Returns:
            The value.

        Raises:
            LookupError: It stands in no line before.
        """
        if value is not None:
            self._values[digest] = value
        if digest not in self._values:
            raise LookupError(f"no line before it has the value {digest.hex()}")
        return self._values[digest]

    def add_proof(self, line: Proven, value: bytes) -> None:
        """Add the record of a `proven` line, and its receipts.

        Args:
            line: The line.
            value: The record's value.
        """
        record_id = RecordId(line.key, line.author, line.value_digest)
        record = Record(line.key, line.author, value, line.expiration_time)
        self.proofs[record_id] = Proof(record, line.receipts)
