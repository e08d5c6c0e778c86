"""A list of Albumentations transforms from a config, with boxes kept in step and randomness keyed."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["AlbumentationsList"]

Image = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


class AlbumentationsList:
    """Applies transforms of the Albumentations library in order; the library is imported only if there are some.

    Args:
        transforms: Each ``{class_path: name, init_args: {...}}``, where the name is one of the library's
            (``Blur`` or ``albumentations.Blur``); the arguments may hold such transforms again, as ``OneOf`` needs.

    Raises:
        ValueError: If a name is no transform of the library, an argument is wrong, or an entry has another form.
    """

    def __init__(self, transforms: Sequence[Mapping[str, Any]] = ()) -> None:
        self._moves_boxes = False
        self._compose: Any = None
        if transforms:
            self._moves_boxes, self._compose = _compose(transforms)

    def __call__(
        self, image: Image, boxes: Boxes, labels: Labels, generator: np.random.Generator
    ) -> tuple[Image, Boxes, Labels]:
        """The transformed image, boxes and labels; a box that leaves the image is dropped with its label.

        Args:
            image: (H, W, 3) RGB.
            boxes: (n, 4) xyxy pixels inside the image.
            labels: (n,).
            generator: Where the transforms' random numbers come from.

        Raises:
            ValueError: If the list changes the size of the image.
        """
        if self._compose is None:
            return image, boxes, labels
        # A seed for all, as the library sets it, would have them draw the same numbers and always act together.
        self._compose.set_random_state(generator, random.Random(int(generator.integers(2**32))))  # noqa: S311
        arguments: dict[str, Any] = {"image": image}
        if self._moves_boxes:
            normalised, rows = _normalise(boxes, image.shape)
            arguments |= {"bboxes": normalised, "rows": rows}
        result = self._compose(**arguments)
        if result["image"].shape != image.shape:
            raise ValueError(
                f"the albumentations list turned an image of shape {image.shape} into {result['image'].shape}; "
                "end it with a Resize, or use transforms that keep the size, such as RandomSizedBBoxSafeCrop"
            )
        transformed = np.ascontiguousarray(result["image"])
        if not self._moves_boxes:
            return transformed, boxes, labels
        kept = np.asarray(result["rows"], np.int64)
        return transformed, _to_pixels(result["bboxes"], image.shape), labels[kept]


def _compose(transforms: Sequence[Mapping[str, Any]]) -> tuple[bool, Any]:
    """Whether any transform moves boxes, and all of them as one."""
    # The library otherwise asks the network for a newer version when it is imported.
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    import albumentations

    built = [_build(entry, albumentations) for entry in transforms]
    moves_boxes = not all(isinstance(transform, albumentations.ImageOnlyTransform) for transform in built)
    if not moves_boxes:
        return False, albumentations.Compose(built)
    parameters = albumentations.BboxParams("albumentations", label_fields=["rows"], clip=True)
    return True, albumentations.Compose(built, bbox_params=parameters)


def _build(entry: Any, library: Any) -> Any:
    """The transform that an entry names."""
    path, arguments = _parse(entry)
    if path is None:
        raise ValueError(f"albumentations entry {entry!r} has not the form {{class_path: Blur, init_args: {{p: 0.1}}}}")
    name = path.removeprefix("albumentations.")
    kind = getattr(library, name, None)
    if not (isinstance(kind, type) and issubclass(kind, library.BasicTransform | library.BaseCompose)):
        raise ValueError(f"albumentations {library.__version__} has no transform {name!r}; see its list of transforms")
    built = {key: _build_nested(value, library) for key, value in arguments.items()}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # a misspelt argument is only warned of
            return kind(**built)
    except (TypeError, ValueError, UserWarning) as error:
        raise ValueError(f"albumentations transform {name} rejects {dict(arguments)}: {error}") from error


def _build_nested(value: Any, library: Any) -> Any:
    """Transforms in place of the entries in a list; anything else as it is."""
    if not isinstance(value, list):
        return value
    return [item if _parse(item)[0] is None else _build(item, library) for item in value]


def _parse(entry: Any) -> tuple[str | None, Mapping[str, Any]]:
    """Name and arguments of an entry; no name if it has another form."""
    # A parser of config files may turn inner entries into name spaces, or into transforms already.
    fields = entry if isinstance(entry, Mapping) else getattr(entry, "__dict__", {})
    path, arguments = fields.get("class_path"), fields.get("init_args") or {}
    if not isinstance(path, str) or not fields.keys() <= {"class_path", "init_args"}:
        return None, {}
    return path, arguments if isinstance(arguments, Mapping) else vars(arguments)


def _normalise(boxes: Boxes, shape: tuple[int, ...]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Boxes in 0…1 with their row numbers, without those of no area, which the library rejects."""
    height, width = shape[:2]
    inside = np.clip(boxes.astype(np.float64) / (width, height, width, height), 0, 1)
    rows = np.flatnonzero((inside[:, 2] > inside[:, 0]) & (inside[:, 3] > inside[:, 1]))
    return inside[rows], rows


def _to_pixels(boxes_normalised: Any, shape: tuple[int, ...]) -> Boxes:
    height, width = shape[:2]
    scale = np.array([width, height, width, height])
    pixels: Boxes = (np.asarray(boxes_normalised, np.float64).reshape(-1, 4) * scale).astype(np.float32)
    return pixels
