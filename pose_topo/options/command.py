"""From dataclasses of options to commands, and checks that options share."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import Any

from pose_topo.errors import UsageError


def one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{name} {value}: give one of {', '.join(allowed)}")


def as_command(options: type, positional: dict[str, Any]) -> Callable[[Callable], Callable]:
    """Decorate `f(positional..., options)`: typer sees the positional arguments, then every field as an option.

    Args:
        options: a dataclass whose fields are annotated with typer options.
        positional: name -> (annotation, default) of the arguments before them. One that is named as a field stands for
            it: the field is no option then, and holds the argument's value.
    """

    def wrap(function: Callable) -> Callable:
        hints = typing.get_type_hints(options, include_extras=True)
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter(name, kind, annotation=annotation, default=default)
            for name, (annotation, default) in positional.items()
        ]
        parameters += [
            inspect.Parameter(field.name, kind, annotation=hints[field.name], default=field.default)
            for field in dataclasses.fields(options)
            if field.name not in positional
        ]
        fields = {field.name for field in dataclasses.fields(options)}

        def command(**values: Any) -> None:
            first = [values[name] for name in positional if name not in fields]
            function(*first, options(**{name: value for name, value in values.items() if name in fields}))

        command.__doc__, command.__name__ = function.__doc__, function.__name__
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return wrap
