"""The derived challenge: everybody computes the same one, and nothing else is accepted in its
place.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from epochgate.core.challenge import (
    MAX_CHALLENGE_ELEMENTS,
    Chosen,
    Derived,
    TensorSpec,
    compute_challenge,
    compute_challenge_digest,
)
from epochgate.core.policy import Policy
from epochgate.core.policy_lint import find_problems
from epochgate.core.record import compute_network_id
from epochgate.core.roster import Roster
from epochgate.core.schema import Decoder, Digest, EpochContext, Malformed
from epochgate.core.types import Epoch, NetworkId
from epochgate.policies.inference import INFERENCE_POLICY
from epochgate.schemas import Tensor
from tests.support.identities import NETWORK, TIMING, make_context, make_roster

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "challenges.json").read_text())
SPEC = TensorSpec("float32", (2, 3))
SEED = make_roster(Epoch(7)).seed


class Raw(msgspec.Struct, frozen=True):
    """A schema as plain as can be: the elements of a 2 x 3 array of float32; text stands for what
    is no array at all.
    """

    def bind(self, context: EpochContext) -> Decoder:
        return lambda payload: (
            "text" if payload == b"text" else np.frombuffer(payload, "<f4").reshape(2, 3)
        )

    def encode(self, value: object) -> bytes:
        return np.asarray(value, "<f4").tobytes()

    def describe(self) -> str:
        return "raw"


def derive(
    spec: TensorSpec = SPEC,
    network: NetworkId = NETWORK,
    epoch: Epoch = Epoch(7),
    seed: bytes = SEED,
) -> np.ndarray:
    return compute_challenge(spec, network, epoch, seed)


@pytest.mark.parametrize(
    "case", VECTORS, ids=lambda case: f"{case['dtype']} {case['shape']} {case['epoch']}"
)
def test_the_fixed_vectors_hold(case: dict[str, Any]) -> None:
    spec = TensorSpec(case["dtype"], tuple(case["shape"]), case["low"], case["high"])

    challenge = derive(
        spec, NetworkId(bytes.fromhex(case["network"])), case["epoch"], bytes.fromhex(case["seed"])
    )

    assert challenge.dtype == case["dtype"]
    assert challenge.shape == tuple(case["shape"])
    assert challenge.ravel().tolist() == case["values"]
    assert compute_challenge_digest(challenge).hex() == case["digest"]


def test_network_epoch_and_seed_each_change_everything() -> None:
    others = [
        derive(network=compute_network_id("test-chain", 2)),
        derive(epoch=Epoch(8)),
        derive(seed=make_roster(Epoch(8)).seed),
        derive(network=NetworkId(NETWORK[:-1]), seed=NETWORK[-1:] + SEED),
    ]

    assert all(not np.isin(other, derive()).any() for other in others)


def test_floats_fill_their_range_and_can_be_written_to_by_nobody() -> None:
    challenge = derive(TensorSpec("float32", (100, 100)))

    assert -1 <= challenge.min() < -0.999
    assert 0.999 < challenge.max() < 1
    assert abs(challenge.mean()) < 0.03
    assert not challenge.flags.writeable
    assert (challenge * 2**23 == np.rint(challenge * 2**23)).all()


def test_integers_fill_their_range_and_keep_to_it() -> None:
    challenge = derive(TensorSpec("int64", (1000,), low=-3, high=4))

    assert sorted(set(challenge.tolist())) == [-3, -2, -1, 0, 1, 2, 3]


@pytest.mark.parametrize(
    "arguments",
    [
        ("float32", (0, 4)),
        ("float32", (-1, -4)),
        ("float32", (MAX_CHALLENGE_ELEMENTS + 1,)),
        ("float32", (4,), 0, 10),
        ("float32", (4,), 1),
        ("float64", (4,)),
        ("bfloat16", (4,)),
        ("bool", (4,), 0, 2),
        ("nonsense", (4,)),
        ("int64", (4,)),
        ("int64", (4,), 5, 5),
        ("int64", (4,), 5, 4),
        ("int64", (4,), 0, 2**32 + 1),
        ("int8", (4,), -129, 0),
        ("uint8", (4,), 0, 257),
    ],
)
def test_a_spec_of_what_cannot_be_derived_is_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="challenge"):
        TensorSpec(*arguments)


def test_a_digest_names_dtype_shape_and_every_bit_but_neither_layout_nor_byte_order() -> None:
    challenge = derive()
    zero = np.zeros(6, np.float32)
    others = [
        challenge.astype(np.float64),
        challenge.reshape(3, 2),
        challenge.reshape(6),
        challenge.view(np.int32),
        challenge * 2,
    ]

    digests = {compute_challenge_digest(array) for array in [challenge, *others, zero, -zero]}

    assert len(digests) == 8
    assert compute_challenge_digest(challenge.astype(">f4")) == compute_challenge_digest(challenge)
    assert compute_challenge_digest(np.asfortranarray(challenge)) == compute_challenge_digest(
        challenge
    )


def test_only_the_derived_challenge_is_accepted() -> None:
    context = make_context(Epoch(7))
    decode = Derived(Raw(), SPEC).bind(context)

    assert decode(derive().tobytes()).tolist() == derive().tolist()


@pytest.mark.parametrize(
    ("what", "change"),
    [
        (
            "one bit",
            lambda array: np.frombuffer(
                bytes([array.tobytes()[0] ^ 1]) + array.tobytes()[1:], "<f4"
            ),
        ),
        ("zeros", np.zeros_like),
        ("not a number", lambda array: array * np.nan),
        ("of the last epoch", lambda _array: derive(epoch=Epoch(6))),
        ("of another seed", lambda _array: derive(seed=bytes(32))),
        ("of another network", lambda _array: derive(network=NetworkId(bytes(32)))),
    ],
)
def test_any_other_value_is_malformed(
    what: str, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    decode = Derived(Raw(), SPEC).bind(make_context(Epoch(7)))

    with pytest.raises(Malformed, match="derived for epoch 7"):
        decode(change(derive()).tobytes())


def test_what_is_no_tensor_or_of_another_shape_is_malformed() -> None:
    with pytest.raises(Malformed):
        Derived(Raw(), SPEC).bind(make_context(Epoch(7)))(b"text")
    flat = TensorSpec("float32", (6,))
    with pytest.raises(Malformed):
        Derived(Raw(), flat).bind(make_context(Epoch(7)))(derive(flat).tobytes())


def test_it_is_derived_once_a_binding_and_only_when_it_is_needed() -> None:
    asked = []

    class Watched(Roster):
        @property
        def seed(self) -> bytes:
            asked.append(self.epoch)
            return SEED

        @seed.setter
        def seed(self, _seed: bytes) -> None: ...

    decode = Derived(Raw(), SPEC).bind(
        make_context(Epoch(7), Watched(Epoch(7), SEED, make_roster(Epoch(7)).members))
    )

    assert asked == []
    for _ in range(3):
        decode(derive().tobytes())
    assert asked == [7]


def test_openings_name_the_challenge_of_their_epoch() -> None:
    schema = Derived(Raw(), SPEC)

    assert schema.compute_digest(make_context(Epoch(7))) == compute_challenge_digest(derive())
    assert schema.compute_digest(make_context(Epoch(8))) != schema.compute_digest(
        make_context(Epoch(7))
    )


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (SPEC, "derived[float32 (2, 3) in [-1, 1); raw]"),
        (TensorSpec("int64", (1, 128), high=50_000), "derived[int64 (1, 128) in [0, 50000); raw]"),
    ],
)
def test_it_describes_all_that_it_accepts(spec: TensorSpec, words: str) -> None:
    assert Derived(Raw(), spec).describe() == words


def test_a_chosen_challenge_is_any_array_that_its_schema_takes() -> None:
    schema = Chosen(Tensor("float32", (2, 2)))
    decode = schema.bind(make_context(Epoch(3)))
    array = np.ones((2, 2), np.float32)
    assert np.array_equal(decode(schema.encode(array)), array)
    with pytest.raises(Malformed, match="expected"):
        decode(b"no tensor")
    assert schema.describe() == "chosen[tensor[float32 (2, 2)]]"


def test_a_chosen_challenge_must_be_an_array_since_it_needs_a_digest() -> None:
    with pytest.raises(Malformed, match="expected an array as the challenge, saw bytes"):
        Chosen(Digest()).bind(make_context(Epoch(3)))(bytes(32))


def test_a_policy_whose_challenge_has_no_digest_is_refused_at_start() -> None:
    rule = msgspec.structs.replace(
        INFERENCE_POLICY.protocol.require_challenge(), schema=Tensor("float32", (16, 64))
    )
    others = (other for other in INFERENCE_POLICY.rules if other.kind != rule.kind)
    (problem,) = find_problems(Policy(rule, *others), TIMING, 6)
    assert "a challenge is Derived(...) or Chosen(...)" in problem
