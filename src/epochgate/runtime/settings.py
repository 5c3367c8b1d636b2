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
"""Keys of the chain may come from the environment. They are not settings, for those are shown."""
DEFAULT_LISTEN = "/ip4/127.0.0.1/tcp/0"


class RoleName(enum.StrEnum):
    """The values of the setting `role`."""

    HOSTER = "hoster"
    VALIDATOR = "validator"
    BOTH = "both"


ROLE_BITS = {
    RoleName.HOSTER: HOSTER,
    RoleName.VALIDATOR: VALIDATOR,
    RoleName.BOTH: HOSTER | VALIDATOR,
}


def _split(value: object) -> object:
    """Split a text at commas and spaces: a variable can hold a list in no other way."""
    if isinstance(value, str):
        return re.split(r"[,\s]+", value.strip(", \t\n"))
    return value


def _split_facts(value: object) -> object:
    """Read NAME=VALUE pairs. The values stay text here; the heartbeat's model knows their types."""
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
    """What a node is made from.

    A field is written here once. Its name is also its key in the settings file, `--name` its option
    and `EPOCHGATE_NAME` its variable; its description is the option's help.

    A program may make the settings itself. Wrong values raise pydantic's ValidationError then, and
    an InputError from `load_settings`.

    >>> settings = NodeSettings(
    ...     role=(RoleName.HOSTER,),
    ...     chain="local:chain.sqlite",
    ...     identity=Path("node.key"),
    ...     data=Path("node"),
    ... )
    >>> settings.listen
    '/ip4/127.0.0.1/tcp/0'
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    role: Roles = Field(description="What the node does: hoster, validator or both.")
    chain: str = Field(description="The chain, as local:FILE, ws://HOST:PORT or wss://HOST.")
    subnet_id: int | None = Field(
        default=None, ge=0, description="The subnet's number, on a chain with many."
    )
    hotkey: Path | None = Field(
        default=None, description="The node's key on the chain, made by `epochgate chain keygen`."
    )
    block_seconds: float | None = Field(
        default=None,
        gt=0,
        description="Seconds per block, for a development chain that runs at a pace of its own.",
    )
    identity: Path = Field(description="The node's key, made by `epochgate keygen`.")
    data: Path = Field(description="The node's folder: its database and peerstore.")
    listen: str = Field(
        default=DEFAULT_LISTEN, description="The multiaddress to listen on; port 0 takes any."
    )
    announce: Texts = Field(
        default=(),
        description="The multiaddress at which others reach this node, if it is not --listen.",
    )
    behind_nat: bool = Field(
        default=False, description="Ask the router for a port, and use relays."
    )
    initial_peers: Texts = Field(
        default=(),
        description="A peer to connect to first, as a full multiaddress; give two or more.",
    )
    model: str | None = Field(
        default=None,
        description="The model to serve: module:factory, export:FILE.pt2 or transformers:FOLDER.",
    )
    challenger: str | None = Field(
        default=None,
        description="Who chooses the challenge, where the policy leaves it open: module:factory.",
    )
    policy: str = Field(default=DEFAULT_POLICY, description="The subnet's policy, as module:NAME.")
    public_name: Name = Field(
        default="", description="What the node calls itself in its heartbeats."
    )
    heartbeat_facts: Facts = Field(
        default={}, description="A field of the subnet's own heartbeat model, as NAME=VALUE."
    )
    events: Literal["-"] | None = Field(
        default=None, description="'-' writes each event as a line of JSON."
    )

    @property
    def roles(self) -> int:
        """The roles as bits of `epochgate.Role`."""
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
        """Read nothing but the arguments: `load_settings` asks the other sources one by one, since
        it tells where each value came from.
        """
        return (init_settings,)


class Loaded(msgspec.Struct, frozen=True):
    """The settings in force, and where each came from.

    Attributes:
        settings: the merged settings.
        origins: by field, an option (`--chain`), a variable (`EPOCHGATE_CHAIN`), a line of the file
            (`node.toml line 3`) or `default`.
    """

    settings: NodeSettings
    origins: Mapping[str, str]

    def render(self) -> str:
        """The settings as a TOML file, which `load_settings` reads back. A comment above each says
        what it is and where it came from.
        """
        dumped = self.settings.model_dump(mode="json")
        blocks = []
        # tables come last: in TOML what follows a table's head belongs to it
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
    """Merge options, the environment's variables and a file; the first one that has a value wins.

    Args:
        options: values by field of NodeSettings. None counts as not given.
        config: a TOML file; None for the one that the variable EPOCHGATE_CONFIG names, if any.

    Returns:
        The settings, and where each came from.

    Raises:
        InputError: a setting is missing, unknown or cannot have its value, or the file cannot be
            read. The message says where each wrong value was written.
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


def make_arguments(values: Mapping[str, object]) -> list[str]:
    """Write settings as a command line, for a node in a process of its own.

    >>> make_arguments({"role": "hoster", "model": None, "initial_peers": ["/ip4/1", "/ip4/2"]})
    ['--role', 'hoster', '--initial-peers', '/ip4/1', '--initial-peers', '/ip4/2']

    Args:
        values: texts, paths, or lists of them, by field of NodeSettings. None is left out.

    Returns:
        The arguments behind `epochgate node`.

    Raises:
        KeyError: NodeSettings has no such field.
    """
    arguments = []
    for name, value in values.items():
        if name not in NodeSettings.model_fields:
            raise KeyError(f"NodeSettings has no field {name!r}")
        option = get_option(name)
        if value is None:
            continue
        if isinstance(value, list | tuple):
            for each in value:
                arguments += [option, str(each)]
        else:
            arguments += [option, str(value)]
    return arguments


def explain(name: str) -> str:
    """The description of the field `name`, which is its option's help."""
    return NodeSettings.model_fields[name].description or ""


def get_option(name: str) -> str:
    """The option of the field `name`, such as `--subnet-id`."""
    return f"--{name.replace('_', '-')}"


def get_variable(name: str) -> str:
    """The variable of the field `name`, such as `EPOCHGATE_SUBNET_ID`."""
    return f"{PREFIX}{name.upper()}"


def find_unknown_variables() -> tuple[str, ...]:
    """The environment's variables that begin with EPOCHGATE_ and are not a setting, in order.

    Each is a typing error, or was set by the platform that the node runs on.
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
    """The file's settings, and the number of the line that has each one's key."""
    try:
        text = file.read_text()
        written: dict[str, Any] = TomlConfigSettingsSource(NodeSettings, file)()
    except OSError as error:
        raise InputError(
            f"{file} cannot be read ({error.strerror})",
            f"look at --config and {CONFIG_VARIABLE}",
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file} is not TOML: {error}", "write NAME = VALUE, texts in quotation marks"
        ) from None
    return written, {name: _find_line(text, name) for name in written}


def _find_line(text: str, key: str) -> int:
    """The line of `key`, from 1; 1 for a key that is written in another way, in quotation marks
    say. The error names the key as well.
    """
    pattern = re.compile(rf"\s*\[?\s*{re.escape(key)}\s*[\].=]")
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.match(line):
            return number
    return 1


def _explain(details: ErrorDetails, origins: Mapping[str, str]) -> str:
    """One sentence: where the value was written, what is wrong with it, and what to write."""
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
