"""The options of a node on the command line, made from its settings, where each is written once."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from epochgate.runtime.settings import NodeSettings, RoleName

Command = Callable[..., int]
NodeOptions = dict[str, object]
"""By field of NodeSettings; None where an option was not given."""
PARAMETER = "options"
PLAIN_TYPES = (bool, int, float, str, Path)


def add_node_options(names: Iterable[str] | None = None) -> Callable[[Command], Command]:
    """Give a command the options of `epochgate node`, in the place of its parameter `options`.

    The command gets what was given to them in that one parameter, as NodeOptions.

        @add_node_options()
        def node(options: NodeOptions, config: ConfigFile = None) -> int: ...

    Args:
        names: fields of NodeSettings; all of them where it is None.

    Returns:
        A decorator, which makes a function of the kind that Typer reads.
    """
    chosen = tuple(names or NodeSettings.model_fields)

    def decorate(command: Command) -> Command:
        def run(**arguments: Any) -> int:
            options = {name: arguments.pop(name) for name in chosen}
            return command(options=options, **arguments)

        parameters = list(_expand(command, chosen))
        signature = inspect.Signature(parameters)
        run.__signature__ = signature  # type: ignore[attr-defined] # Typer reads it
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        run.__doc__ = command.__doc__
        run.__name__ = command.__name__
        return run

    return decorate


def _expand(command: Command, names: Iterable[str]) -> Iterator[inspect.Parameter]:
    """The command's parameters, with one for each of `names` where `options` stands."""
    for parameter in inspect.signature(command, eval_str=True).parameters.values():
        if parameter.name == PARAMETER:
            yield from map(_make_parameter, names)
        else:
            yield parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


def _make_parameter(name: str) -> inspect.Parameter:
    field = NodeSettings.model_fields[name]
    kind = _find_type(field)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, typer.Option(help=field.description)],
    )


def _find_type(field: FieldInfo) -> Any:
    """What Typer reads for a field: a plain type, or a list where the setting has many values."""
    annotation = field.annotation
    if get_origin(annotation) is tuple:
        if RoleName in get_args(annotation):
            return list[RoleName]
        return list[str]
    if get_origin(annotation) is dict:
        return list[str]
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(each for each in get_args(annotation) if each is not type(None))
    if annotation in PLAIN_TYPES:
        return annotation
    return str
