from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from epochgate import HOSTER, VALIDATOR
from epochgate.runtime.loading import InputError
from epochgate.runtime.settings import (
    RoleName,
    find_unknown_variables,
    load_settings,
    make_arguments,
)

NEEDED = {"role": ["hoster"], "chain": "local:chain.sqlite", "identity": "node.key", "data": "data"}


def write(folder: Path, text: str) -> Path:
    file = folder / "node.toml"
    file.write_text(text)
    return file


def test_options_come_before_variables_and_those_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, 'public_name = "file"\nmodel = "file:model"\nchain = "local:file"\n')
    monkeypatch.setenv("EPOCHGATE_PUBLIC_NAME", "variable")
    monkeypatch.setenv("EPOCHGATE_CHAIN", "local:variable")
    loaded = load_settings(NEEDED | {"chain": "local:option", "model": None}, file)
    settings = loaded.settings
    assert (settings.chain, settings.public_name, settings.model) == (
        "local:option",
        "variable",
        "file:model",
    )
    assert settings.listen == "/ip4/127.0.0.1/tcp/0", (
        "only this machine, unless somebody says otherwise"
    )
    assert loaded.origins["chain"] == "--chain"
    assert loaded.origins["public_name"] == "EPOCHGATE_PUBLIC_NAME"
    assert loaded.origins["model"] == f"{file} line 2"
    assert loaded.origins["listen"] == "default"


def test_a_variable_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPOCHGATE_CONFIG", f"{write(tmp_path, 'behind_nat = true')}")
    assert load_settings(NEEDED).settings.behind_nat


def test_lists_in_a_variable_are_set_apart_by_commas_or_spaces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EPOCHGATE_INITIAL_PEERS", "/ip4/1, /ip4/2\n/ip4/3")
    monkeypatch.setenv("EPOCHGATE_ROLE", "hoster,validator")
    monkeypatch.setenv("EPOCHGATE_HEARTBEAT_FACTS", "gpus=8 city=Ulm")
    settings = load_settings(
        {name: value for name, value in NEEDED.items() if name != "role"}
    ).settings
    assert settings.initial_peers == ("/ip4/1", "/ip4/2", "/ip4/3")
    assert (settings.role, settings.roles) == (
        (RoleName.HOSTER, RoleName.VALIDATOR),
        HOSTER | VALIDATOR,
    )
    assert settings.heartbeat_facts == {"gpus": "8", "city": "Ulm"}


@pytest.mark.parametrize(
    ("text", "where", "advice"),
    [
        (
            'lisen = "/ip4/0.0.0.0/tcp/4001"',
            "node.toml line 1",
            "there is no setting 'lisen': did you mean listen?",
        ),
        ("\n# a comment\nbehind_nat = 3", "node.toml line 3", "behind_nat cannot be 3"),
        ('role = "king"', "node.toml line 1", "'hoster', 'validator' or 'both'"),
        ("[heartbeat_facts]\ngpus = [1]", "node.toml line 1", "heartbeat_facts cannot be"),
        ("public_name = Ulm", "node.toml is not TOML", "line 1"),
    ],
)
def test_what_is_wrong_in_the_file_is_named_with_its_line(
    tmp_path: Path, text: str, where: str, advice: str
) -> None:
    options = (
        {name: value for name, value in NEEDED.items() if name != "role"}
        if "role" in text
        else NEEDED
    )
    with pytest.raises(InputError) as refused:
        load_settings(options, write(tmp_path, text))
    assert where in str(refused.value)
    assert advice in str(refused.value)


def test_what_is_wrong_elsewhere_is_named_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EPOCHGATE_BEHIND_NAT", "perhaps")
    with pytest.raises(InputError, match=r"EPOCHGATE_BEHIND_NAT: behind_nat cannot be 'perhaps'"):
        load_settings(NEEDED)
    with pytest.raises(InputError, match=r"--heartbeat-facts: .* write NAME=VALUE"):
        load_settings(NEEDED | {"heartbeat_facts": ["gpus"], "behind_nat": False})
    with pytest.raises(
        InputError, match="--data is missing: give it, or set EPOCHGATE_DATA, or data in the file"
    ):
        load_settings({name: value for name, value in NEEDED.items() if name != "data"})
    with pytest.raises(InputError, match=r"cannot be read .* EPOCHGATE_CONFIG"):
        load_settings(NEEDED, tmp_path / "missing.toml")


def test_a_variable_that_looks_like_a_setting_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EPOCHGATE_LISEN", "/ip4/0.0.0.0/tcp/4001")
    monkeypatch.setenv("EPOCHGATE_LISTEN", "/ip4/127.0.0.1/tcp/4001")
    assert find_unknown_variables() == ("EPOCHGATE_LISEN",)


def test_what_is_shown_is_a_file_with_the_same_settings(tmp_path: Path) -> None:
    options = NEEDED | {
        "public_name": 'say "hi"',
        "heartbeat_facts": ["gpus=8"],
        "initial_peers": ["/ip4/1", "/ip4/2"],
    }
    first = load_settings(options)
    shown = first.render()
    assert "(--public-name)" in shown
    assert tomllib.loads(shown)["heartbeat_facts"] == {"gpus": "8"}
    assert load_settings({}, write(tmp_path, shown)).settings == first.settings


def test_settings_become_a_command_line_which_reads_as_they_are(tmp_path: Path) -> None:
    values = {
        "role": RoleName.HOSTER,
        "data": tmp_path,
        "initial_peers": ["/ip4/1", "/ip4/2"],
        "announce": (),
        "model": None,
    }
    assert make_arguments(values) == [
        *["--role", "hoster", "--data", str(tmp_path)],
        *["--initial-peers", "/ip4/1", "--initial-peers", "/ip4/2"],
    ]


def test_what_is_no_setting_is_no_option() -> None:
    with pytest.raises(KeyError, match="NodeSettings has no field 'lisen'"):
        make_arguments({"lisen": "/ip4/127.0.0.1/tcp/0"})
