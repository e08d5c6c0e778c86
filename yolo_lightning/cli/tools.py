"""Commands that are plain typed functions: their signature is the command line, their docstring the help."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, get_type_hints

from docstring_parser import parse
from jsonargparse import ArgumentParser, DefaultHelpFormatter

__all__ = ["run_tool", "tool_parser"]

_YES_OR_NO = {"true", "false"}
_ALONE = {"help", "print_config"}


def run_tool(name: str, function: Callable[..., int | None], arguments: Sequence[str]) -> int:
    """Calls a function with arguments of the command line; its exit status, 0 if it returns none."""
    parser = tool_parser(name, function)
    given = parser.parse_args(_normalise(arguments, _flags(function)))
    given.pop("config", None)
    return int(function(**given.as_dict()) or 0)


def tool_parser(name: str, function: Callable[..., int | None]) -> ArgumentParser:
    """The parser of a function.

    Its positional parameters are positional arguments, and one that is a list of strings takes all that follow. The
    others are options.
    """
    lists = _list_parameters(function)
    text = parse(inspect.getdoc(function) or "")
    about = "\n\n".join(part for part in (text.short_description, text.long_description) if part)
    words = [word if word not in lists else f"{word} [{word} …]" for word in _positionals(function)]
    prog = f"yolo-lightning {name}"
    usage = " ".join([prog, *words, "[options]"])
    parser = ArgumentParser(prog=prog, usage=usage, description=about, formatter_class=_HelpFormatter)
    parser.add_argument("--config", action="config", help="YAML file of options, as --print_config prints them.")
    descriptions = {parameter.arg_name: parameter.description for parameter in text.params}
    parser.add_function_arguments(function, as_group=False, as_positional=True, skip=set(lists))
    for parameter in lists:
        parser.add_argument(parameter, nargs="+", type=str, help=descriptions.get(parameter))
    return parser


class _HelpFormatter(DefaultHelpFormatter):
    """Keeps the paragraphs of a description apart."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(super(_HelpFormatter, self)._fill_text(part, width, indent) for part in text.split("\n\n"))


def _positionals(function: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]


def _list_parameters(function: Callable[..., Any]) -> list[str]:
    hints = get_type_hints(function)
    return [name for name in _positionals(function) if hints[name] == list[str]]


def _flags(function: Callable[..., Any]) -> set[str]:
    return {name for name, hint in get_type_hints(function).items() if hint in (bool, bool | None)}


def _normalise(arguments: Sequence[str], flags: set[str]) -> list[str]:
    """Options first, each as one word, then the rest, so that they may be mixed.

    A hyphen in a name is an underscore, and a flag without a value says yes: ``--save-txt`` is ``--save_txt=true``.
    """
    options: list[str] = []
    rest: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument == "--":
            rest += waiting
            break
        if not argument.startswith("--"):
            (options if argument == "-h" else rest).append(argument)
            continue
        name, equals, value = argument[2:].partition("=")
        name = name.replace("-", "_")
        if name in flags and not equals:
            says = bool(waiting) and waiting[0].lower() in _YES_OR_NO
            equals, value = "=", waiting.pop(0) if says else "true"
        elif not equals and name not in _ALONE and waiting:
            equals, value = "=", waiting.pop(0)
        options.append(f"--{name}{equals}{value}")
    return [*options, *(["--", *rest] if rest else [])]
