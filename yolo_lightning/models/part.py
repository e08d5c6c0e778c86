"""What backbone, neck, head and detector have in common."""

from __future__ import annotations

import inspect
from typing import Any, Self

from torch import nn

__all__ = ["Part"]


class Part(nn.Module):
    """A module that remembers the arguments it was made with, and its layer numbers in published YOLOv5 files.

    The arguments are those of the call itself, however it came about: a class, a ``partial``, or YAML. They are what
    :func:`yolo_lightning.models.build.describe` stores in a checkpoint.
    """

    _constructor_call: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Notes the arguments, then makes the object as usual."""
        part = super().__new__(cls)
        # nn.Module.__init__ has not run yet, so its own __setattr__ does not work yet.
        part.__dict__["_constructor_call"] = (args, kwargs)
        return part

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Keeps ``inspect.signature`` on ``__init__``, which a ``__new__`` would hide."""
        super().__init_subclass__(**kwargs)
        _, *parameters = inspect.signature(cls.__init__).parameters.values()
        cls.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]

    def constructor_arguments(self) -> dict[str, Any]:
        """Arguments of the constructor by name, in order, defaults included.

        Raises:
            TypeError: If the constructor was given extra positional arguments, which no name can repeat.
        """
        args, kwargs = self._constructor_call
        signature = inspect.signature(type(self))
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                arguments.update(value)
            elif kind is not inspect.Parameter.VAR_POSITIONAL:
                arguments[name] = value
            elif value:
                raise TypeError(f"{type(self).__qualname__} was made with *{name}; give its arguments by name")
        return arguments

    def official_layers(self) -> dict[int, nn.Module]:
        """Layers by their number in published YOLOv5 files (``model.<number>``); empty if the files know no such part.

        Tensors in a layer must have the names and shapes that they have in the files.
        """
        return {}
