"""Dataclasses out of JSON, with every type checked."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

__all__ = ["from_json"]


def from_json(kind: Any, value: Any, where: str = "") -> Any:
    """Makes a value of a type out of what ``json.loads`` returned; the reverse of ``dataclasses.asdict``.

    Args:
        kind: A dataclass, a tuple, a ``Literal``, ``str``, ``bool``, ``int``, ``float``, or one of these or None.
        value: Parsed JSON.
        where: Path to the value, for messages.

    Raises:
        ValueError: If anything is missing, unknown, or of another type, or a dataclass refuses it.
    """
    if get_origin(kind) is UnionType:
        if value is None and NoneType in get_args(kind):
            return None
        (kind,) = (option for option in get_args(kind) if option is not NoneType)
    if is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    if get_origin(kind) is tuple:
        return _build_tuple(kind, value, where)
    if get_origin(kind) is Literal and value in get_args(kind):
        return value
    if kind is float and type(value) is int:
        value = _as_float(value, where)
    if type(value) is not kind:
        raise ValueError(f"{where} is {_shown(value)}, expected {_describe(kind)}")
    return value


def _build_dataclass(kind: Any, value: Any, where: str) -> Any:
    names = [field.name for field in fields(kind)]
    if not isinstance(value, dict):
        raise ValueError(f"{where or 'the content'} is {_shown(value)}, expected {', '.join(names)}")
    prefix = f"{where}." if where else ""
    if different := set(names) ^ set(value):
        known = sorted(different)[0]
        raise ValueError(f"{prefix}{known} is {'missing' if known in names else 'unknown'}")
    hints = get_type_hints(kind)
    arguments = {name: from_json(hints[name], value[name], prefix + name) for name in names}
    try:
        return kind(**arguments)
    except ValueError as error:
        raise ValueError(f"{where}: {error}" if where else str(error)) from error


def _build_tuple(kind: Any, value: Any, where: str) -> tuple[Any, ...]:
    kinds = get_args(kind)
    if not isinstance(value, list):
        raise ValueError(f"{where} is {_shown(value)}, expected a list")
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise ValueError(f"{where} has {len(value)} elements, expected {len(kinds)}")
    return tuple(from_json(kinds[index], item, f"{where}[{index}]") for index, item in enumerate(value))


def _as_float(value: int, where: str) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError(f"{where} is too large") from error


def _describe(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    return {str: "a text", bool: "true or false", int: "a whole number", float: "a number"}[kind]


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"
