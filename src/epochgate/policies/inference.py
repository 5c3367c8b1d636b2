"""The default policy: an inference subnet. Hosters run a model on the epoch's challenge, validators
score them.
"""

from __future__ import annotations

from epochgate.core.challenge import Derived, TensorSpec
from epochgate.core.commitment import OpeningOf
from epochgate.core.epoch import epochs, percent
from epochgate.core.policy import Policy
from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.core.rule import Rule
from epochgate.core.schema import Digest
from epochgate.core.scoring import ScoreList
from epochgate.schemas import Heartbeat, Map, Tensor

CHALLENGE = TensorSpec("float32", (16, 64))
OUTPUT = Tensor("float32", (16, 64))
COMMITMENT = Digest()
INFERENCE_POLICY = Policy(
    Rule("hoster", by=HOSTER, ttl=epochs("1.1"), schema=Map(Heartbeat)),
    Rule("validator", by=VALIDATOR, ttl=epochs("1.1"), schema=Map(Heartbeat)),
    Rule(
        "consensus-epoch_{epoch}",
        by=VALIDATOR,
        during=percent("[0, 15]"),
        ttl=epochs("1.1"),
        once=True,
        schema=Derived(Tensor("float32", (16, 64)), CHALLENGE),
        max_bytes=16_384,
        elected_until=epochs("0.10"),
        kept_until=epochs(1),
    ),
    Rule(
        "hoster-commit_epoch_{epoch}",
        by=HOSTER,
        during=percent("(15, 50]"),
        ttl=epochs(2),
        once=True,
        schema=COMMITMENT,
        kept_until=epochs(2),
    ),
    Rule(
        "validator-reveal_epoch_{epoch}",
        by=VALIDATOR,
        during=percent("(15, 50]"),
        ttl=epochs(2),
        once=True,
        schema=OpeningOf(ScoreList()),
        max_bytes=65_536,
        kept_until=epochs(2),
        opens="validator-commit",
        epochs_ago=1,
    ),
    Rule(
        "hoster-reveal_epoch_{epoch}",
        by=HOSTER,
        during=percent("(50, 60]"),
        ttl=epochs(2),
        once=True,
        schema=OpeningOf(OUTPUT),
        max_bytes=16_384,
        kept_until=epochs(2),
        opens="hoster-commit",
    ),
    Rule(
        "validator-commit_epoch_{epoch}",
        by=VALIDATOR,
        during=percent("[60, 100)"),
        ttl=epochs(2),
        once=True,
        schema=COMMITMENT,
        kept_until=epochs("2.5"),
    ),
)
