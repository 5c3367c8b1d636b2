"""A subnet whose hosters serve a language model: the epoch's challenge is a row of token ids,
outputs are logits.

It is the default policy with another challenge and other openings. Take VOCABULARY from your
model's config.json, and POSITIONS and WIDTH as in `--model
transformers:FOLDER?positions=...&width=...`.
"""

from __future__ import annotations

import msgspec

from epochgate import INFERENCE_POLICY, Derived, OpeningOf, Policy, Rule, Tensor, TensorSpec

VOCABULARY = 512
SEQUENCE = 64
POSITIONS = 16
WIDTH = 64
TOKENS = Tensor("int64", (1, SEQUENCE))
OUTPUT = Tensor("float32", (POSITIONS, WIDTH))
ENVELOPE_BYTES = 8192
"""Signature, salt, digest, and what a tensor's file adds to its elements."""

CHANGES = {
    "consensus": {
        "schema": Derived(TOKENS, TensorSpec("int64", (1, SEQUENCE), high=VOCABULARY)),
        "max_bytes": TOKENS.longest_bytes + ENVELOPE_BYTES,
    },
    "hoster-reveal": {
        # a key and replicas for each hoster: outputs may be large
        "name": "hoster-reveal_epoch_{epoch}_{author}",
        "schema": OpeningOf(OUTPUT),
        "max_bytes": OUTPUT.longest_bytes + ENVELOPE_BYTES,
    },
}


def change(rule: Rule) -> Rule:
    return msgspec.structs.replace(rule, **CHANGES.get(rule.kind, {}))


POLICY = Policy(*map(change, INFERENCE_POLICY.rules))
