"""What goes wrong in a simulated run, drawn from its seed within a declared budget.

Runs of the class *within f* keep at most f nodes faulty at a time: then everything is promised.
Runs of the class *wild* go beyond: then only safety is.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

import msgspec

from epochgate.engine.memory import Links

CRASH = "crash"
WIPE = "wipe"
SILENCE = "silence"
DEAF = "deaf"
MUTE = "mute"
ISLAND = "island"
LEAVE = "leave"
JOIN = "join"
SPLIT = "split"
STALL = "stall"
LAG = "lag"
BENIGN = (CRASH, WIPE, SILENCE, DEAF, MUTE, ISLAND, LEAVE, STALL, LAG)
"""A node dies and comes back with its disk, or an empty one; takes requests and never answers;
hears nothing, is not heard, both; goes for good; its chain's head stands still, or comes late.
"""
OF_A_GROUP = (SPLIT, SPLIT, CRASH, WIPE, STALL)
"""Several nodes at once: parted from all others but not from each other; or one of the above
befalls them together.
"""
LAG_BLOCKS = 3
LARGE = 100
WITHIN_F = "within f"
WILD = "wild"

REST_BLOCKS = 4.0
"""Between two faults of one slot: what a node that came back needs to take what is proven, at these
latencies.
"""
QUIET_BLOCKS = 10
"""So long before a run's last epoch everything is healed."""
WILD_SHARE = 0.2
GROUP_SHARE = 0.4


class Fault(msgspec.Struct, frozen=True):
    """`kind` befalls `nodes` from block `begins` to block `ends`, counted from the subnet's
    first.
    """

    kind: str
    nodes: tuple[str, ...]
    begins: float
    ends: float

    def __str__(self) -> str:
        return f"{self.begins:7.2f} to {self.ends:7.2f}  {self.kind:8} {' '.join(self.nodes)}"


class Plan(msgspec.Struct, frozen=True):
    """All that befalls a run. `adversaries` maps nodes to the adversary that each is."""

    seed: int
    epochs: int
    hosters: tuple[str, ...]
    validators: tuple[str, ...]
    budget: str
    links: Links
    skews_seconds: dict[str, float]
    adversaries: dict[str, str]
    faults_drawn: tuple[Fault, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.hosters, *self.validators)

    @property
    def is_large(self) -> bool:
        """Whether nodes must share their memory to fit into one process."""
        return len(self.names) > LARGE

    def __str__(self) -> str:
        skews = ", ".join(f"{name} {seconds:+.2f}" for name, seconds in self.skews_seconds.items())
        if self.is_large and skews:
            skews = f"{len(self.skews_seconds)} of them wrong"
        adversaries = (
            ", ".join(f"{name} ({kind})" for name, kind in self.adversaries.items()) or "none"
        )
        lines = [
            f"seed {self.seed}, {self.budget}: {len(self.hosters)} hosters, {len(self.validators)}"
            " validators"
        ]
        lines += [
            f"links: {self.links}",
            f"clocks: {skews}",
            f"adversaries: {adversaries}",
            *map(str, self.faults_drawn),
        ]
        return "\n  ".join(lines)


def compute_f(nodes: int) -> int:
    """How many of a key's replicas may be faulty, in a roster of so many nodes
    (docs/spec.md#5-which-records-count).
    """
    return max(0, (min(nodes, 13) - 1) // 3)


def draw_plan(
    seed: int,
    nodes: int = 12,
    epochs: int = 0,
    adversary_kinds: tuple[str, ...] = (),
    budget: str = "",
) -> Plan:
    """The plan of a seed; the same arguments give the same plan. Blocks are those of epochs of 100.

    All heals in time for the last epoch. `budget` and the number of `epochs` are drawn too unless
    they are given.
    """
    rng = random.Random(f"plan {seed}")
    drawn_epochs = rng.choices((2, 3, 4), weights=(60, 35, 5))[0]
    epochs = epochs or drawn_epochs
    validators = max(2, nodes // 3)
    hosters_named = tuple(f"hoster-{number}" for number in range(nodes - validators))
    validators_named = tuple(f"validator-{number}" for number in range(validators))
    names = [*hosters_named, *validators_named]
    drawn = WILD if rng.random() < WILD_SHARE else WITHIN_F
    budget = budget or drawn
    f = compute_f(nodes)
    slots = f if budget == WITHIN_F else rng.randint(f + 1, max(f + 1, nodes // 2))
    adversaries: dict[str, str] = {}
    if adversary_kinds:
        adversaries = {
            name: rng.choice(adversary_kinds) for name in rng.sample(names, rng.randint(0, f))
        }
    healed_block = (epochs - 1) * 100 - QUIET_BLOCKS
    honest = [name for name in names if name not in adversaries]
    faults_drawn = [
        *_draw_incidents(rng, honest, _draw_sizes(rng, slots - len(adversaries)), healed_block)
    ]
    if rng.random() < 0.3:
        begins = rng.uniform(1, healed_block)
        faults_drawn.append(Fault(JOIN, (f"newcomer-{rng.randint(0, 9)}",), begins, begins))
    half_margin = 3.0  # clocks may differ by a margin, one block of 6 s
    return Plan(
        seed=seed,
        epochs=epochs,
        hosters=hosters_named,
        validators=validators_named,
        budget=budget,
        links=_draw_links(rng),
        skews_seconds=(
            {name: rng.uniform(-half_margin, half_margin) for name in names}
            if rng.random() < 0.7
            else {}
        ),
        adversaries=adversaries,
        faults_drawn=tuple(sorted(faults_drawn, key=lambda it: it.begins)),
    )


def draw_churn(seed: int, nodes: int, epochs: int, percent: int, *, is_for_good: bool) -> Plan:
    """In each of `epochs` epochs that share of the nodes dies at drawn moments. Each comes back
    within five blocks with an empty disk; or, `is_for_good`, somebody new registers in its place at
    once and counts from the next epoch on.

    Two epochs more follow, in which the last of them are settled.
    """
    rng = random.Random(f"churn {seed}")
    validators = max(2, nodes // 3)
    hosters_named = [f"hoster-{number}" for number in range(nodes - validators)]
    validators_named = [f"validator-{number}" for number in range(validators)]
    living = [*hosters_named, *validators_named]
    faults_drawn = []
    for epoch in range(epochs):
        struck = rng.sample(living, max(1, round(nodes * percent / 100)))
        moments = sorted(epoch * 100 + rng.uniform(0, 100) for _ in struck)
        for name, begins in zip(struck, moments, strict=True):
            if not is_for_good:
                faults_drawn.append(Fault(WIPE, (name,), begins, begins + rng.uniform(1, 5)))
                continue
            successor = f"{name.partition('.')[0]}.{epoch}"
            living[living.index(name)] = successor
            faults_drawn += [
                Fault(LEAVE, (name,), begins, begins),
                Fault(JOIN, (successor,), begins, begins),
            ]
    budget = WILD if is_for_good else WITHIN_F
    links = Links(latency_seconds=0.05)
    return Plan(
        seed,
        epochs + 2,
        tuple(hosters_named),
        tuple(validators_named),
        budget,
        links,
        {},
        {},
        _never_twice(faults_drawn),
    )


def _never_twice(faults_drawn: list[Fault]) -> tuple[Fault, ...]:
    """A node that dies at the end of an epoch and is drawn at the beginning of the next is left
    alone then.
    """
    kept: list[Fault] = []
    free_from: dict[str, float] = {}
    for it in sorted(faults_drawn, key=lambda it: it.begins):
        (name,) = it.nodes
        if it.begins >= free_from.get(name, 0.0):
            kept.append(it)
            free_from[name] = it.ends + REST_BLOCKS
    return tuple(kept)


def _draw_links(rng: random.Random) -> Links:
    return Links(
        latency_seconds=rng.choice((0.01, 0.05, 0.2, 0.5)),
        loss=rng.choice((0.0, 0.0, 0.01, 0.03)),
        held_back=rng.choice((0.0, 0.02, 0.1)),
        held_back_seconds=rng.uniform(0.5, 2.0),
        duplication=rng.choice((0.0, 0.02, 0.1)),
    )


def _draw_sizes(rng: random.Random, slots: int) -> list[int]:
    """How many nodes are struck together: mostly each by itself."""
    group = rng.randint(2, slots) if slots > 1 and rng.random() < GROUP_SHARE else 1
    return [group] * (slots // group) + [1] * (slots % group)


def _draw_incidents(
    rng: random.Random, names: list[str], sizes: list[int], healed_block: int
) -> Iterator[Fault]:
    """For each size, so many nodes are faulty at a time, one group after the other; no node is in
    two at once.
    """
    busy: list[tuple[float, float, str]] = []
    for size in sizes:
        block = rng.uniform(0, 60)
        while block < healed_block - 1:
            kind = rng.choice(BENIGN if size == 1 else OF_A_GROUP)
            ends = (
                healed_block
                if kind == LEAVE
                else min(healed_block, block + rng.choice((0.3, 2.0, 10.0, 40.0)))
            )
            until = float("inf") if kind == LEAVE else ends + REST_BLOCKS
            taken = {name for begins, ended, name in busy if begins < until and block < ended}
            free = [name for name in names if name not in taken]
            if len(free) < size:
                break
            struck = rng.sample(free, size)
            busy += [(block, until, name) for name in struck]
            yield Fault(kind, tuple(struck), block, ends)
            block = until + rng.uniform(0, 50)
