"""The options of a node on the command line, made from its settings, where each is written once."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from epochgate.runtime.settings import NodeSettings, RoleName

Command = Callable[..., int]
PLAIN_TYPES = (bool, int, float, str, Path)


def add_node_options(names: Iterable[str] | None = None) -> Callable[[Command], Command]:
    """Give a command the options of `epochgate node`, as its first argument, a dictionary.

    Args:
        names: fields of NodeSettings; all of them where it is None.

    Returns:
        A decorator. The command's own parameters, but for the first one, stay its options; an
        option that was not given is None in the dictionary.
    """
    chosen = tuple(NodeSettings.model_fields if names is None else names)

    def decorate(command: Command) -> Command:
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

        def run(**arguments: Any) -> int:
            options = {name: arguments.pop(name) for name in chosen}
            return command(options, **arguments)

        parameters = [*map(_make_parameter, chosen), *map(_as_keyword, own)]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # read by Typer
        run.__annotations__ = {each.name: each.annotation for each in parameters}
        run.__doc__ = command.__doc__
        run.__name__ = command.__name__
        return run

    return decorate


def _make_parameter(name: str) -> inspect.Parameter:
    field = NodeSettings.model_fields[name]
    option = typer.Option(help=field.description)
    kind = _find_type(field)
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[kind | None, option],
    )


def _as_keyword(parameter: inspect.Parameter) -> inspect.Parameter:
    return parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)


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
