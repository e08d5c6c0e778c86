"""A detector as plain values and back, so that a checkpoint says what its network is.

The description has the form that the command line uses, ``{"class_path": …, "init_args": {…}}``, without the arguments
that are injected when the network is built: features and the number of classes.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from yolo_lightning.errors import InputError
from yolo_lightning.models.backbone import Backbone
from yolo_lightning.models.detector import Detector
from yolo_lightning.models.head import Head
from yolo_lightning.models.neck import Neck
from yolo_lightning.models.part import Part

__all__ = ["build_detector", "check_description", "describe"]

P = TypeVar("P", bound=Part)

_PACKAGE = "yolo_lightning"
_PUBLIC = "yolo_lightning.models"
# Kinds of part by the argument of Detector that makes them, with the number of arguments that Detector injects.
_PARTS: dict[str, tuple[type[Part], int]] = {"backbone": (Backbone, 0), "neck": (Neck, 1), "head": (Head, 2)}


def describe(detector: Detector) -> dict[str, Any]:
    """What the network is, in plain values: classes by name, and the arguments they were made with.

    Raises:
        InputError: If a class is not at the top of a module, or an argument is no plain value.
    """
    parts = {name: _describe_part(getattr(detector, name), injected) for name, (_, injected) in _PARTS.items()}
    _, *arguments = detector.constructor_arguments().items()  # the first is the number of classes
    init_args = {name: parts[name] if name in parts else _plain(value, name, detector) for name, value in arguments}
    return {"class_path": _class_path(detector), "init_args": init_args}


def build_detector(description: Mapping[str, Any], num_classes: int) -> Detector:
    """The network of a description, with fresh weights.

    Only classes of this package or of modules that are already imported are used, and only those of the right kind.

    Args:
        description: Made by :func:`describe`.
        num_classes: Number of classes.

    Raises:
        InputError: If a class is not available, or does not take the arguments.
    """
    cls, arguments = _resolve(description, Detector)
    for name, (kind, _) in _PARTS.items():
        if name in arguments:
            part, part_arguments = _resolve(arguments[name], kind)
            arguments[name] = partial(part, **part_arguments)
    try:
        return cls(num_classes, **arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"the network described as {dict(description)} cannot be made: {error}") from error


def check_description(description: Mapping[str, Any]) -> None:
    """Checks that all classes of a description are there, without making the network.

    Raises:
        InputError: If one is not; the message names the import to do.
    """
    _, arguments = _resolve(description, Detector)
    for name, (kind, _) in _PARTS.items():
        if name in arguments:
            _resolve(arguments[name], kind)


def _describe_part(part: Part, num_injected: int) -> dict[str, Any]:
    arguments = list(part.constructor_arguments().items())[num_injected:]
    init_args = {name: _plain(value, name, part) for name, value in arguments}
    return {"class_path": _class_path(part), "init_args": init_args}


def _class_path(part: Part) -> str:
    cls = type(part)
    if "." in cls.__qualname__:
        raise InputError(f"class {cls.__qualname__} must be at the top of a module: checkpoints name it")
    # The public place of a class stays when its module is moved.
    public = getattr(sys.modules[_PUBLIC], cls.__name__, None) is cls
    return f"{_PUBLIC if public else cls.__module__}.{cls.__name__}"


def _plain(value: object, name: str, part: Part) -> Any:
    """The value in types that ``torch.load(weights_only=True)`` reads."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping) and all(type(key) is str for key in value):
        return {key: _plain(item, name, part) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_plain(item, name, part) for item in value]
    raise InputError(
        f"{type(part).__name__}({name}={value!r}) cannot be stored in a checkpoint: give the class numbers, strings, "
        "lists and dictionaries, and let it make the rest itself"
    )


def _resolve(description: object, kind: type[P]) -> tuple[type[P], dict[str, Any]]:
    """Class and arguments of a description, checked."""
    if isinstance(description, Mapping):
        path, arguments = description.get("class_path"), description.get("init_args") or {}
        if isinstance(path, str) and isinstance(arguments, Mapping) and all(isinstance(key, str) for key in arguments):
            return _find_class(path, kind), dict(arguments)
    raise InputError(f"no description of a {kind.__name__.lower()} (class_path and init_args): {description!r}")


def _find_class(path: str, kind: type[P]) -> type[P]:
    module_name, _, name = path.rpartition(".")
    if module_name.split(".")[0] == _PACKAGE and module_name not in sys.modules:
        try:
            importlib.import_module(module_name)
        except ImportError as error:
            raise InputError(f"{path} is not in this version of {_PACKAGE}") from error
    if module_name not in sys.modules:
        raise InputError(
            f"the checkpoint's {kind.__name__.lower()} is {path}, whose module is not imported: `import {module_name}` "
            "first, or name the class in the configuration. A checkpoint alone never makes this library import code."
        )
    found = getattr(sys.modules[module_name], name, None)
    if not (isinstance(found, type) and issubclass(found, kind)):
        raise InputError(f"{path} is not a subclass of {_PUBLIC}.{kind.__name__}, as the checkpoint says")
    return found
