"""What a devnet is asked for is read, and refused where its subnet could not live through it."""

from __future__ import annotations

import pytest

from epochgate.cli.devnet_options import DevnetOptions, read_adversaries, read_faults
from epochgate.core.policy_lint import PolicyError
from epochgate.devnet.faults import Faults
from epochgate.runtime.loading import DEFAULT_POLICY, InputError


def ask(
    *,
    hosters: int = 4,
    validators: int = 3,
    epochs: int = 2,
    faults: Faults | None = None,
    adversaries: tuple[str, ...] = (),
    policy: str = DEFAULT_POLICY,
) -> DevnetOptions:
    return DevnetOptions(
        hosters=hosters,
        validators=validators,
        epochs=epochs,
        epoch_seconds=30.0,
        settings={"policy": policy},
        faults=faults or Faults(),
        adversaries=adversaries,
    )


def test_adversaries_are_one_name_for_each() -> None:
    assert read_adversaries(["copier:2", "latecomer"]) == ("copier", "copier", "latecomer")
    assert read_adversaries([]) == ()


@pytest.mark.parametrize("text", ["copier:many", "copier:0", "copier:-1"])
def test_how_many_is_a_number_behind_a_colon(text: str) -> None:
    with pytest.raises(InputError) as refused:
        read_adversaries([text])
    assert refused.value.advice.endswith("as in copier:2")


def test_an_unknown_adversary_shows_all_of_them() -> None:
    with pytest.raises(InputError, match="there are copier, latecomer"):
        read_adversaries(["nobody"])


def test_a_restart_is_a_share_of_an_epoch() -> None:
    assert read_faults("45%", has_absent_elected=True, has_late_node=False) == Faults(
        0.45, True, False
    )
    assert read_faults(None, has_absent_elected=False, has_late_node=False) == Faults()


@pytest.mark.parametrize("text", ["100%", "-1%", "half", "nan"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="as in 45%"):
        read_faults(text, has_absent_elected=False, has_late_node=False)


@pytest.mark.parametrize(
    "options",
    [
        ask(),
        ask(hosters=1, validators=1),
        ask(adversaries=("copier", "copier")),
        ask(hosters=4, faults=Faults(restart_at=0.45, has_late_node=True)),
        ask(faults=Faults(has_absent_elected=True)),
    ],
)
def test_a_subnet_that_can_live_through_it_is_run(options: DevnetOptions) -> None:
    options.check()


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        (ask(adversaries=("copier",) * 4), "run at least 13 nodes in all, so 9 honest ones"),
        (ask(hosters=1, validators=1, faults=Faults(has_absent_elected=True)), "at least 4 nodes"),
        (ask(hosters=2, validators=6, adversaries=("copier",)), "--hosters 3 or more"),
        (ask(hosters=2, faults=Faults(has_late_node=True)), "--hosters 3"),
        (
            ask(hosters=3, validators=6, faults=Faults(restart_at=0.4, has_late_node=True)),
            "--hosters 4",
        ),
        (ask(hosters=4, validators=1, faults=Faults(has_absent_elected=True)), "--validators 2"),
    ],
)
def test_a_subnet_that_is_too_small_is_refused(options: DevnetOptions, advice: str) -> None:
    with pytest.raises(InputError) as refused:
        options.check()
    assert advice in refused.value.advice


def test_a_policy_that_does_not_fit_the_subnet_is_refused() -> None:
    with pytest.raises(PolicyError):
        ask(hosters=3000).check()
