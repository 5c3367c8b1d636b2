"""A node's settings: from options, the environment and a file, in this order, each value with the
place it came from.
"""

from __future__ import annotations

import difflib
import enum
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import tomli_w
from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from epochgate.core.roster import HOSTER, VALIDATOR
from epochgate.runtime.loading import DEFAULT_POLICY, InputError
from epochgate.schemas.heartbeat import Name

PREFIX = "EPOCHGATE_"
CONFIG_VARIABLE = "EPOCHGATE_CONFIG"
HOTKEY_VARIABLE = "EPOCHGATE_HOTKEY_SECRET"
COLDKEY_VARIABLE = "EPOCHGATE_COLDKEY_SECRET"
"""Keys of the chain may come from the environment; they are no settings, which are shown."""
DEFAULT_LISTEN = "/ip4/127.0.0.1/tcp/0"


class RoleName(enum.StrEnum):
    """What `role` takes."""

    HOSTER = "hoster"
    VALIDATOR = "validator"
    BOTH = "both"


ROLE_BITS = {
    RoleName.HOSTER: HOSTER,
    RoleName.VALIDATOR: VALIDATOR,
    RoleName.BOTH: HOSTER | VALIDATOR,
}


def _split(value: object) -> object:
    """A list may be written as one text, its items set apart by commas or spaces: a variable holds
    nothing else.
    """
    if isinstance(value, str):
        return re.split(r"[,\s]+", value.strip(", \t\n"))
    return value


def _split_facts(value: object) -> object:
    """NAME=VALUE, many of them; their types are the heartbeat model's business."""
    parts = _split(value)
    if not isinstance(parts, list | tuple):
        return parts
    pairs = [str(part).partition("=") for part in parts]
    if not all(name and equals for name, equals, _ in pairs):
        raise ValueError("write NAME=VALUE")
    return {name: fact for name, _, fact in pairs}


Texts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Roles = Annotated[tuple[RoleName, ...], NoDecode, BeforeValidator(_split), Field(min_length=1)]
Facts = Annotated[dict[str, str | int | float | bool], NoDecode, BeforeValidator(_split_facts)]


class NodeSettings(BaseSettings):
    """What one node is made from.

    A field's name is its key in the file; in capitals behind EPOCHGATE_ it is a variable, and with
    dashes an option.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    role: Roles = Field(description="What the node does: hoster, validator or both.")
    chain: str = Field(description="The chain, as local:FILE, ws://HOST:PORT or wss://HOST.")
    subnet_id: int | None = Field(
        None, ge=0, description="The subnet's number, on a chain with many."
    )
    hotkey: Path | None = Field(
        None, description="The node's key on the chain, made by `epochgate chain keygen`."
    )
    block_seconds: float | None = Field(
        None, gt=0, description="Only for a development chain that keeps a pace of its own."
    )
    identity: Path = Field(description="The node's key, made by `epochgate keygen`.")
    data: Path = Field(description="The node's folder: its database and peerstore.")
    listen: str = Field(
        DEFAULT_LISTEN, description="The multiaddress to listen on; port 0 takes any."
    )
    announce: Texts = Field(
        (), description="The multiaddress at which others reach this node, where it is another one."
    )
    behind_nat: bool = Field(False, description="Ask the router for a port, and use relays.")
    initial_peers: Texts = Field(
        (), description="A peer to begin with, as a full multiaddress; give two or more."
    )
    model: str | None = Field(
        None,
        description="The model to serve: module:factory, export:FILE.pt2 or transformers:FOLDER.",
    )
    challenger: str | None = Field(
        None,
        description="Who chooses the challenge, where the policy leaves it open: module:factory.",
    )
    policy: str = Field(DEFAULT_POLICY, description="The subnet's policy, as module:NAME.")
    public_name: Name = Field("", description="What the node calls itself in its heartbeats.")
    heartbeat_facts: Facts = Field(
        {}, description="What the subnet's heartbeat holds besides, as NAME=VALUE."
    )
    events: Literal["-"] | None = Field(
        None, description="'-' writes each event as a line of JSON."
    )

    @property
    def roles(self) -> int:
        """As bits of `Role`."""
        bits = 0
        for name in self.role:
            bits |= ROLE_BITS[name]
        return bits

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """`load_settings` asks the sources itself, one by one: so it knows where each value came
        from.
        """
        return (init_settings,)


class Loaded(msgspec.Struct, frozen=True):
    """Settings in force, and where each came from by the name of its field: an option, a variable,
    a line, the default.
    """

    settings: NodeSettings
    origins: Mapping[str, str]

    def render(self) -> str:
        """As a file that holds the same settings, each below the place it came from. Tables come
        last, as TOML wants.
        """
        dumped = self.settings.model_dump(mode="json")
        blocks = []
        for name in sorted(dumped, key=lambda name: isinstance(dumped[name], dict)):
            value = dumped[name]
            if value in (None, {}):
                text = f"# {name} is not set"
            else:
                text = tomli_w.dumps({name: value}).rstrip()
            blocks.append(
                f"# {NodeSettings.model_fields[name].description} ({self.origins[name]})\n{text}"
            )
        return "\n\n".join(blocks)


def load_settings(options: Mapping[str, object], config: Path | None = None) -> Loaded:
    """Merge `options` (by field; None where it was not given), the environment and the file. Raises
    InputError.

    The file is `config`, or what EPOCHGATE_CONFIG names.
    """
    given = {name: value for name, value in options.items() if value is not None}
    variables = EnvSettingsSource(NodeSettings)()
    named = os.environ.get(CONFIG_VARIABLE)
    file = config
    if file is None and named:
        file = Path(named)
    written: dict[str, Any] = {}
    lines: dict[str, int] = {}
    if file is not None:
        written, lines = _read_file(file)
    origins = dict.fromkeys(NodeSettings.model_fields, "default")
    origins |= {name: f"{file} line {lines[name]}" for name in written}
    origins |= {name: get_variable(name) for name in variables}
    origins |= {name: get_option(name) for name in given}
    try:
        return Loaded(NodeSettings(**(written | variables | given)), origins)
    except ValidationError as error:
        wrong = [_explain(details, origins) for details in error.errors(include_url=False)]
        raise InputError("; ".join(dict.fromkeys(wrong))) from None


def explain(name: str) -> str:
    """What the setting `name` is, for its option's help."""
    return NodeSettings.model_fields[name].description or ""


def get_option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def get_variable(name: str) -> str:
    return f"{PREFIX}{name.upper()}"


def find_unknown_variables() -> tuple[str, ...]:
    """Variables that look like a setting and are none: a typing error, or put there by somebody
    else's platform.
    """
    known = {
        CONFIG_VARIABLE,
        HOTKEY_VARIABLE,
        COLDKEY_VARIABLE,
        *map(get_variable, NodeSettings.model_fields),
    }
    return tuple(
        sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    )


def _read_file(file: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The file's settings, and the line on which each one's key stands."""
    try:
        text = file.read_text()
        written: dict[str, Any] = TomlConfigSettingsSource(NodeSettings, file)()
    except OSError as error:
        raise InputError(
            f"{file} cannot be read ({error.strerror}): look at --config and {CONFIG_VARIABLE}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file} is no TOML: {error}: write NAME = VALUE, texts in quotation marks"
        ) from None
    return written, {name: _find_line(text, name) for name in written}


def _find_line(text: str, key: str) -> int:
    """1 for a key that is written in a way of its own, with quotation marks say: the advice names
    it anyway.
    """
    pattern = re.compile(rf"\s*\[?\s*{re.escape(key)}\s*[\].=]")
    return next(
        (number for number, line in enumerate(text.splitlines(), 1) if pattern.match(line)), 1
    )


def _explain(details: ErrorDetails, origins: Mapping[str, str]) -> str:
    """What is wrong, where it was written, and what to write."""
    name = str(details["loc"][0])
    if details["type"] == "missing":
        return (
            f"{get_option(name)} is missing: give it, or set {get_variable(name)}, or {name} in the"
            " file of --config"
        )
    if details["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, NodeSettings.model_fields, n=1)
        if near:
            advice = f"did you mean {near[0]}?"
        else:
            advice = f"there are {', '.join(NodeSettings.model_fields)}"
        return f"{origins[name]}: there is no setting {name!r}: {advice}"
    return f"{origins[name]}: {name} cannot be {details['input']!r}: {details['msg']}"
