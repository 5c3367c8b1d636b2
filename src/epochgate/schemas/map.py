"""Maps: MessagePack that a pydantic model accepts as it is, without converting anything."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Callable
from typing import Any

import msgspec
from pydantic import BaseModel, ValidationError

from epochgate.core.schema import EpochContext, Malformed

MAX_DEPTH = 8
MAX_ITEMS = 4096
MAX_REASON_CHARACTERS = 200

_decode_map = msgspec.msgpack.Decoder(dict[str, Any]).decode
_encode_exactly = msgspec.msgpack.Encoder(order="deterministic").encode
"""Tells apart what Python calls equal: True, 1 and 1.0."""
_ANNOTATIONS = frozenset({"title", "description", "examples"})
_NAMED_SCHEMAS = frozenset({"properties", "$defs"})


class Map(msgspec.Struct, frozen=True):
    """The schema of a MessagePack map that a pydantic model accepts. It decodes to an instance.

    Keys are text, numbers are finite, and there are at most `MAX_DEPTH` levels and `MAX_ITEMS`
    values. The model must say the same value back, so nothing is converted (neither `"2"` nor
    `true` nor 2.0 is 2), no field is dropped, and a field that the model would ignore is refused.

    Attributes:
        model: A subclass of pydantic's `BaseModel`.

    >>> import pydantic
    >>> class Offer(pydantic.BaseModel):
    ...     price: int
    >>> Map(Offer).decode(Map(Offer).encode(Offer(price=7)))
    Offer(price=7)
    """

    model: type[BaseModel]

    def bind(self, _context: EpochContext) -> Callable[[bytes], BaseModel]:
        """The decoder, which is the same in every epoch."""
        return self.decode

    def decode(self, payload: bytes) -> BaseModel:
        """The model's instance. Raises Malformed, and nothing else."""
        # Stops "malformed MessagePack" and "deep nesting".
        try:
            value = _decode_map(payload)
            _check_bounds(value)
            model = self.model.model_validate(value)
            said = _decode_map(msgspec.msgpack.encode(model.model_dump(exclude_unset=True)))
        except Malformed:
            raise
        except ValidationError as error:
            raise Malformed(_explain(error)) from None
        except Exception as error:  # noqa: BLE001 - a user's validators may raise anything
            raise Malformed(f"{type(error).__name__}: {error}"[:MAX_REASON_CHARACTERS]) from None
        if _encode_exactly(said) != _encode_exactly(value):
            raise Malformed(
                f"{self.model.__name__} reads it, but as another value: send each field in its own"
                " type, and no other"
            )
        return model

    def encode(self, value: object) -> bytes:
        """The payload of an instance of the model. Raises Malformed for a value that no replica
        would accept.
        """
        if not isinstance(value, BaseModel):
            raise Malformed(f"expected a {self.model.__name__}, saw {type(value).__name__}")
        payload = msgspec.msgpack.encode(value.model_dump())
        self.decode(payload)
        return payload

    def describe(self) -> str:
        """The model's name, and a digest of its JSON schema without titles, descriptions and
        examples.

        A JSON schema does not show validators that are written in code. State their rules as
        constraints of the fields, or give the model another name, so that the policy's digest tells
        the two apart.
        """
        return _describe(self.model)


@functools.lru_cache(maxsize=256)
def _describe(model: type[BaseModel]) -> str:
    canonical = msgspec.json.encode(
        _strip_annotations(model.model_json_schema()), order="deterministic"
    )
    return f"map[{model.__name__} {hashlib.sha256(canonical).hexdigest()[:32]}]"


def _strip_annotations(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_strip_annotations(entry) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    stripped = {}
    for key, entry in schema.items():
        # here the keys are the user's names, and a field may well be called `title`
        if key in _NAMED_SCHEMAS:
            stripped[key] = {name: _strip_annotations(field) for name, field in entry.items()}
        elif key not in _ANNOTATIONS:
            stripped[key] = _strip_annotations(entry)
    return stripped


def _check_bounds(value: dict[str, Any]) -> None:
    """Raise Malformed for too many levels or values. It goes level by level, so no nesting is too
    deep for it.
    """
    level: list[Any] = [value]
    items = 0
    for _ in range(MAX_DEPTH):
        items += len(level)
        if items > MAX_ITEMS:
            raise Malformed(f"expected at most {MAX_ITEMS} values, saw more")
        level = [inner for entry in level for inner in _get_inner(entry)]
        if not level:
            return
    raise Malformed(f"expected at most {MAX_DEPTH} levels, saw more")


def _get_inner(entry: Any) -> list[Any]:
    if isinstance(entry, dict):
        if not all(isinstance(key, str) for key in entry):
            raise Malformed("expected text for every key of a map")
        return list(entry.values())
    if isinstance(entry, list):
        return entry
    if isinstance(entry, float) and not math.isfinite(entry):
        raise Malformed(f"expected finite numbers, saw {entry}")
    if entry is not None and not isinstance(entry, (bool, int, float, str, bytes)):
        raise Malformed(
            f"expected plain values, saw the MessagePack extension {type(entry).__name__}"
        )
    return []


def _explain(error: ValidationError) -> str:
    """The place and cause of up to three faults; never the input, which a stranger may make as long
    and as odd as it likes.
    """
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    explanations = (
        f"{'.'.join(map(str, fault['loc']))[:60] or 'map'}: {fault['msg']}" for fault in faults[:3]
    )
    return "; ".join(explanations)[:MAX_REASON_CHARACTERS]
