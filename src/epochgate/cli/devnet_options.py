"""What a devnet is asked for: read from the command line, and checked before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from epochgate.cli.adversaries import load_adversaries
from epochgate.core.epoch import Timing
from epochgate.core.policy_lint import check_policy
from epochgate.devnet.faults import Faults
from epochgate.runtime.loading import InputError, load_policy

BLOCKS_PER_EPOCH = 100
BOOTSTRAP_NODES = 2
"""The first nodes, to which all others connect first."""
MIN_ATTACKED_HOSTERS = 3


class DevnetOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The subnet to run, for how long, and which files to write.

    Attributes:
        hosters: how many honest ones, 1 or more; likewise `validators`.
        epochs: how many to complete.
        epoch_seconds: how long each one is.
        settings: what each node is given, by field of NodeSettings: `policy`, and where they are
            given `model` and `challenger`.
        faults: what to stage.
        adversaries: one name per adversary.
        json: where the summary goes.
        attack_json: where goes what the adversaries earned and cost.
    """

    hosters: int
    validators: int
    epochs: int
    epoch_seconds: float
    settings: Mapping[str, str]
    faults: Faults
    adversaries: tuple[str, ...]
    json: Path | None = None
    attack_json: Path | None = None

    @property
    def block_seconds(self) -> float:
        """How long each block is."""
        return self.epoch_seconds / BLOCKS_PER_EPOCH

    @property
    def nodes(self) -> int:
        """How many take part in all."""
        return self.hosters + self.validators + len(self.adversaries)

    def check(self) -> None:
        """Check that this subnet can live through what is asked for.

        Raises:
            InputError: it has too few nodes.
            PolicyError: the policy cannot work with its blocks or its roster.
        """
        self._check_tolerance()
        self._check_roles()
        timing = Timing(None, BLOCKS_PER_EPOCH, self.block_seconds)
        check_policy(load_policy(self.settings["policy"]), timing, self.nodes)

    def _check_tolerance(self) -> None:
        adversaries = len(self.adversaries)
        bad = self.faults.compute_most_away(self.epochs) + adversaries
        if bad == 0 or self.nodes > 3 * bad:
            return
        tolerated = max(0, (self.nodes - 1) // 3)
        raise InputError(
            f"{self.nodes} nodes tolerate {tolerated} that are away or dishonest, and {bad} are at"
            " a time",
            f"run at least {3 * bad + 1} nodes in all, so {3 * bad + 1 - adversaries} honest ones,"
            " or more epochs",
        )

    def _check_roles(self) -> None:
        if self.adversaries and self.hosters < MIN_ATTACKED_HOSTERS:
            raise InputError(
                "hosters are paid when three agree, so an attack on fewer shows nothing",
                f"--hosters {MIN_ATTACKED_HOSTERS} or more",
            )
        least = BOOTSTRAP_NODES
        if self.faults.restart_at is not None:
            least += 1
        if self.faults.has_late_node:
            least += 1
        if least > BOOTSTRAP_NODES and self.hosters < least:
            raise InputError(
                f"the first {BOOTSTRAP_NODES} nodes are those that others connect to first, so they"
                " stay",
                f"--hosters {least}",
            )
        if self.faults.has_absent_elected and self.validators < 2:
            raise InputError(
                "--absent-elected needs a validator that stands in", "--validators 2 or more"
            )


def read_faults(restart_at: str | None, has_absent_elected: bool, has_late_node: bool) -> Faults:
    """The faults to stage; `restart_at` is a share of an epoch, such as 45%. Raises InputError."""
    return Faults(_read_share(restart_at), has_absent_elected, has_late_node)


def read_adversaries(texts: Iterable[str]) -> tuple[str, ...]:
    """One name per adversary: `copier:2` is two copiers. Raises InputError."""
    names: list[str] = []
    for text in texts:
        names += _read_adversary(text)
    return tuple(names)


def _read_share(text: str | None) -> float | None:
    """`45%` as 0.45."""
    if text is None:
        return None
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise InputError(
            f"--restart-node-at {text!r}", "write a part of the epoch below 100%, as in 45%"
        )
    return share


def _read_adversary(text: str) -> list[str]:
    adversaries = load_adversaries()
    name, _, count = text.partition(":")
    if name not in adversaries:
        raise InputError(
            f"--adversary {text}: there is no such one; there are {', '.join(adversaries)}"
        )
    if not count:
        return [name]
    if not count.isdecimal() or int(count) < 1:
        raise InputError(
            f"--adversary {text}", f"write how many of them behind the colon, as in {name}:2"
        )
    return [name] * int(count)
