"""An evaluation as a file: all detections and labels, from which every figure can be read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from yolo_lightning.array_file import Arrays, load_arrays, save_arrays
from yolo_lightning.metrics.matching import EvaluationData, IntArray

__all__ = ["EVALUATION_FILE", "StoredEvaluation"]

EVALUATION_FILE = "evaluation.npz"
"""Name of the file in a run directory."""

_VERSION = 1
_STORED_TYPES = {
    "boxes": np.float32,
    "scores": np.float32,
    "labels": np.int32,
    "image_index": np.int32,
    "target_boxes": np.float32,
    "target_labels": np.int32,
    "target_image_index": np.int32,
    "target_crowd": np.bool_,
    "target_areas": np.float64,
}
_WIDTH = {"boxes": 4, "target_boxes": 4}


@dataclass(frozen=True)
class StoredEvaluation:
    """Detections and labels of a whole data set, with what they are of.

    Args:
        data: Detections and labels.
        class_names: Names of the classes.
        images: Path, or name, of each image, by its index in ``data``.
        image_ids: (num_images,) position of each image in its data set.
        image_sizes: (num_images, 2) height and width in pixels.
        split: ``train``, ``val`` or ``test``.
        epoch: Epoch of a training run, counted from 0; None for an evaluation by itself.
    """

    data: EvaluationData
    class_names: tuple[str, ...]
    images: tuple[str, ...]
    image_ids: IntArray
    image_sizes: IntArray
    split: str
    epoch: int | None = None

    def save(self, path: Path) -> None:
        """Writes the file, whole or not at all, in the place of an older one.

        Raises:
            OSError: If it cannot be written.
        """
        meta = {
            "version": _VERSION,
            "class_names": self.class_names,
            "images": self.images,
            "split": self.split,
            "epoch": self.epoch,
        }
        arrays = {name: _narrowed(getattr(self.data, name), dtype) for name, dtype in _STORED_TYPES.items()}
        save_arrays(path, {**arrays, "image_ids": self.image_ids, "image_sizes": self.image_sizes}, meta)

    @classmethod
    def load(cls, path: Path) -> StoredEvaluation:
        """Reads a file, or that of a run directory.

        Raises:
            InputError: If there is none, or it is damaged.
        """
        file = path / EVALUATION_FILE if path.is_dir() else path
        return load_arrays(
            file,
            _VERSION,
            cls._from_arrays,
            missing="`yolo-lightning validate` and `fit` write it; older runs have none",
            damaged="no evaluation, evaluate again",
        )

    @classmethod
    def _from_arrays(cls, arrays: Arrays, meta: Mapping[str, Any]) -> StoredEvaluation:
        class_names, images = tuple(map(str, meta["class_names"])), tuple(map(str, meta["images"]))
        image_ids, image_sizes = arrays["image_ids"].astype(np.int64), arrays["image_sizes"].astype(np.int64)
        if image_ids.shape != (len(images),) or image_sizes.shape != (len(images), 2):
            raise ValueError(f"{len(images)} images, but {image_ids.shape} ids and {image_sizes.shape} sizes")
        values: dict[str, Any] = {"num_classes": len(class_names), "num_images": len(images)}
        for field in fields(EvaluationData):
            if field.name not in values:
                values[field.name] = _widened(field.name, arrays[field.name])
        data = EvaluationData(**values)
        _check(data)
        return cls(data, class_names, images, image_ids, image_sizes, str(meta["split"]), meta["epoch"])


def _narrowed(array: npt.NDArray[Any], dtype: type) -> npt.NDArray[Any]:
    """In a smaller type, unless that loses something: boxes of a network are float32, those of a file need not be."""
    small: npt.NDArray[Any] = array.astype(dtype)
    return small if np.array_equal(small, array) else array


def _widened(name: str, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """In the type that figures are computed in."""
    stored = _STORED_TYPES[name]
    kind = np.bool_ if stored is np.bool_ else np.int64 if issubclass(stored, np.integer) else np.float64
    if array.ndim != 1 + (name in _WIDTH) or array.shape[1:] != ((_WIDTH[name],) if name in _WIDTH else ()):
        raise ValueError(f"{name} has shape {array.shape}")
    result: npt.NDArray[Any] = array.astype(kind)
    return result


def _check(data: EvaluationData) -> None:
    for names in (
        ("boxes", "scores", "labels", "image_index"),
        ("target_boxes", "target_labels", "target_image_index"),
    ):
        lengths = {len(getattr(data, name)) for name in names}
        if len(lengths) > 1:
            raise ValueError(f"{', '.join(names)} differ in length")
    for name, end in (("labels", data.num_classes), ("image_index", data.num_images)):
        for values in (getattr(data, name), getattr(data, f"target_{name}")):
            if values.size and not (values.min() >= 0 and values.max() < end):
                raise ValueError(f"{name} must be in 0…{end - 1}")
