"""What was found in one image or several, and all that can be made of it."""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any, TypedDict, Unpack, overload

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from yolo_lightning.drawing import draw_detections
from yolo_lightning.errors import InputError
from yolo_lightning.inference.convert import (
    BoxForm,
    Tables,
    box_table,
    class_name,
    coco_detections,
    coco_image_id,
    data_frame,
    records,
    supervision_detections,
)
from yolo_lightning.inference.display import draw_preview, show_picture
from yolo_lightning.inference.frames import Frame
from yolo_lightning.inference.pictures import (
    class_directories,
    crop_image,
    encode_jpeg,
    output_stem,
    save_crop,
    save_picture,
)
from yolo_lightning.inference.summary import describe_image, mean_speed
from yolo_lightning.paths import new_directory
from yolo_lightning.text import describe_speed
from yolo_lightning.types import Detections

__all__ = ["Crop", "DrawingOptions", "Results"]

Size = tuple[int, int]


class DrawingOptions(TypedDict, total=False):
    """Arguments of :meth:`Results.render`."""

    labels: bool
    confidences: bool
    line_width: int | None


Crop = TypedDict(
    "Crop", {"box": Tensor, "confidence": float, "class": int, "label": str, "image": npt.NDArray[np.uint8]}
)
"""An object cut out of its image: box (4,) xyxy pixels, label as it is drawn, image (H, W, 3) uint8 RGB."""


class Results(Sequence["Results"]):
    """Detections in one image or several.

    A sequence: an index or a loop gives the results of one image, a slice those of some, ``+`` joins. What has a value
    for each image is a list, also where there is one image alone::

        results = predictor(["bus.jpg", "zidane.jpg"])
        print(results)
        results.xyxy[0]  # (n, 6): x1, y1, x2, y2 in pixels, confidence, class
        for result in results:
            result.show()

    Args:
        frames: The images.
        detections: Of each image, in its pixels.
        class_names: Names of the classes; a class that has none goes by its number.
        speed: Milliseconds per image of each stage: ``preprocess``, ``inference``, ``postprocess``.
        input_size: Height and width of what the network saw, of all images or of each.

    Attributes:
        frames: The images, with where they come from.
        detections: Of each image.
        names: Names of the classes.
        speed: As given; None if unknown.
        input_sizes: Of each image; empty if unknown.

    Raises:
        ValueError: If there are not as many detections, or input sizes, as images.
    """

    def __init__(
        self,
        frames: Sequence[Frame],
        detections: Sequence[Detections],
        class_names: Sequence[str],
        speed: Mapping[str, float] | None = None,
        input_size: Size | Sequence[Size] | None = None,
    ) -> None:
        self.frames = tuple(frames)
        self.detections = tuple(detections)
        self.names = tuple(class_names)
        self.speed = None if speed is None else dict(speed)
        self.input_sizes = _as_sizes(input_size, len(self.frames))
        lengths = [len(self.frames), len(self.detections), len(self.input_sizes) or len(self.frames)]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"{lengths[0]} images, {lengths[1]} detections and {lengths[2]} input sizes differ in number"
            )

    # ---- a sequence of images

    def __len__(self) -> int:
        return len(self.frames)

    @overload
    def __getitem__(self, index: int) -> Results: ...

    @overload
    def __getitem__(self, index: slice) -> Results: ...

    def __getitem__(self, index: int | slice) -> Results:
        if not isinstance(index, slice):
            position = range(len(self))[index]  # raises for what is out of range
            index = slice(position, position + 1)
        return Results(
            self.frames[index], self.detections[index], self.names, self.speed, self.input_sizes[index] or None
        )

    def __iter__(self) -> Iterator[Results]:
        return (self[position] for position in range(len(self)))

    def __add__(self, other: Results) -> Results:
        """The images of both; the speed is the mean over all images.

        Raises:
            ValueError: If they know different classes.
        """
        if not isinstance(other, Results):
            return NotImplemented
        if self.names != other.names:
            raise ValueError("results of different classes cannot be joined")
        sizes = self.input_sizes + other.input_sizes
        return Results(
            self.frames + other.frames,
            self.detections + other.detections,
            self.names,
            mean_speed([(self.speed, len(self)), (other.speed, len(other))]),
            sizes if len(sizes) == len(self) + len(other) else None,
        )

    def tolist(self) -> list[Results]:
        """The results of each image."""
        return list(self)

    # ---- values

    @property
    def images(self) -> list[npt.NDArray[np.uint8]]:
        """(H, W, 3) uint8 RGB of each image, without boxes."""
        return [frame.image for frame in self.frames]

    @property
    def files(self) -> list[str]:
        """File name of each image."""
        return [frame.name for frame in self.frames]

    @cached_property
    def xyxy(self) -> list[Tensor]:
        """(n, 6) float32 for each image: left, top, right, bottom in pixels, confidence, class."""
        return self._tables("xyxy")

    @cached_property
    def xywh(self) -> list[Tensor]:
        """(n, 6) float32 for each image: centre x, centre y, width, height in pixels, confidence, class."""
        return self._tables("xywh")

    @cached_property
    def xyxyn(self) -> list[Tensor]:
        """As :attr:`xyxy`, but fractions of the image's width and height, 0…1."""
        return self._tables("xyxyn")

    @cached_property
    def xywhn(self) -> list[Tensor]:
        """As :attr:`xywh`, but fractions of the image's width and height, 0…1."""
        return self._tables("xywhn")

    def to(self, device: torch.device | str) -> Results:
        """The results with their tensors on a device."""
        moved = [found.to(device) for found in self.detections]
        return Results(self.frames, moved, self.names, self.speed, self.input_sizes or None)

    def cpu(self) -> Results:
        """The results with their tensors on the CPU."""
        return self.to("cpu")

    def numpy(self) -> list[npt.NDArray[np.float32]]:
        """:attr:`xyxy` as arrays."""
        return [table.cpu().numpy() for table in self.xyxy]

    # ---- words

    def __str__(self) -> str:
        """A line for each image with the number of objects of each class, and one with the speed."""
        if not self.frames:
            return "no images"
        pairs = enumerate(zip(self.frames, self.detections, strict=True), 1)
        lines = [f"image {number}/{len(self)}: {describe_image(*pair, self.names)}" for number, pair in pairs]
        if self.speed:
            lines.append(f"speed per image: {describe_speed(self.speed, self.input_sizes)}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"Results({len(self)} images, {sum(map(len, self.detections))} detections)"

    def print(self) -> None:
        """Prints what ``str`` gives."""
        sys.stdout.write(f"{self}\n")

    # ---- pictures

    def render(
        self, labels: bool = True, confidences: bool = True, line_width: int | None = None
    ) -> list[npt.NDArray[np.uint8]]:
        """New pictures with the detections drawn on them, (H, W, 3) uint8 RGB.

        Args:
            labels: Whether to write the names of the classes.
            confidences: Whether to write the confidences behind the names.
            line_width: Pixels; by default it grows with the image.
        """
        return [
            draw_detections(
                frame.image,
                found.boxes.cpu(),
                found.labels.cpu(),
                self.names,
                found.scores.cpu(),
                show_labels=labels,
                show_scores=confidences,
                line_width=line_width,
            )
            for frame, found in zip(self.frames, self.detections, strict=True)
        ]

    def show(self, **drawing: Unpack[DrawingOptions]) -> None:
        """Shows the pictures: in a notebook below the cell, else in the system's viewer.

        Raises:
            InputError: If there is no display.
        """
        for result in self:
            show_picture(result.render(**drawing)[0], result.files[0])

    def save(self, directory: str | PathLike[str] = "runs/detect", **drawing: Unpack[DrawingOptions]) -> list[Path]:
        """Writes the pictures into a new directory: ``directory``, or ``directory-2``, ``-3`` … if it exists.

        Returns:
            The file of each image. Files are named as the images; where names are equal, a number is added.

        Raises:
            InputError: If they cannot be written.
        """
        try:
            target = new_directory(Path(directory))
            return [save_picture(each.render(**drawing)[0], target, each.frames[0]) for each in self]
        except OSError as error:
            raise InputError(f"pictures cannot be saved in {directory}: {error}") from error

    def crop(self, save: bool = False, directory: str | PathLike[str] = "runs/detect") -> list[Crop]:
        """Cuts out all objects of all images, with a margin of 1 % and 5 pixels at each side.

        Args:
            save: Whether to write them as ``crops/<class>/<image>.jpg`` as well, with numbers where there are several.
            directory: Where: a new one, as in :meth:`save`.

        Raises:
            InputError: If they cannot be written.
        """
        crops = [crop for result in self for crop in result._crops()]
        if save:
            try:
                self._save_crops(crops, new_directory(Path(directory)) / "crops")
            except OSError as error:
                raise InputError(f"crops cannot be saved in {directory}: {error}") from error
        return crops

    def _repr_jpeg_(self) -> bytes | None:
        """What a notebook shows: the picture, or a grid of several."""
        if not self.frames:
            return None
        return encode_jpeg(draw_preview(self.frames, self.detections, self.names), quality=90)

    # ---- other forms

    def pandas(self) -> Tables:
        """Tables of the detections: ``results.pandas().xyxy[0]`` is the ``pandas.DataFrame`` of the first image.

        Raises:
            InputError: If pandas is not installed.
        """
        forms: tuple[BoxForm, ...] = ("xyxy", "xywh", "xyxyn", "xywhn")
        pairs = list(zip(self.frames, self.detections, strict=True))
        return Tables(*([data_frame(found, frame.size, self.names, form) for frame, found in pairs] for form in forms))

    def to_json(self, indent: int | None = None) -> str:
        """A list for each image, of an object for each detection.

        As ``[[{"name": "bus", "class": 5, "confidence": 0.87, "box": {"x1": 17.1, "y1": 231, "x2": 80, "y2": 76}}]]``.
        Boxes are pixels with three decimals, confidences have five.

        Args:
            indent: Spaces for each level; by default all is in one line.
        """
        return json.dumps([records(found, self.names) for found in self.detections], ensure_ascii=False, indent=indent)

    def to_base64(self, **drawing: Unpack[DrawingOptions]) -> list[str]:
        """The pictures with their detections as JPEG files in base64, for web pages and JSON."""
        return [base64.b64encode(encode_jpeg(picture)).decode("ascii") for picture in self.render(**drawing)]

    def to_coco(
        self, image_ids: Sequence[int | str] | None = None, category_ids: Sequence[int] | None = None
    ) -> list[dict[str, Any]]:
        """The detections of all images as COCO's result files have them.

        Args:
            image_ids: One for each image; by default the name of the file without its ending, as a number where it is
                one.
            category_ids: The number of each class; by default its index, or if the classes are the 80 of COCO, 1…90 as
                COCO numbers them.

        Returns:
            ``{"image_id", "category_id", "bbox", "score"}`` for each detection; boxes are left, top, width, height in
            pixels.

        Raises:
            ValueError: If there are not as many ids as images, or a class has no number.
        """
        ids = [coco_image_id(frame) for frame in self.frames] if image_ids is None else list(image_ids)
        if len(ids) != len(self):
            raise ValueError(f"{len(ids)} image ids for {len(self)} images")
        return [
            row
            for found, image_id in zip(self.detections, ids, strict=True)
            for row in coco_detections(found, image_id, self.names, category_ids)
        ]

    def to_supervision(self) -> Any:
        """``supervision.Detections``: of the image if there is one alone, else a list.

        Raises:
            InputError: If supervision is not installed.
        """
        converted = [supervision_detections(found, self.names) for found in self.detections]
        return converted[0] if len(converted) == 1 else converted

    def _tables(self, form: BoxForm) -> list[Tensor]:
        return [box_table(found, frame.size, form) for frame, found in zip(self.frames, self.detections, strict=True)]

    def _crops(self) -> Iterator[Crop]:
        """Those of the only image."""
        found = self.detections[0]
        for box, score, label in zip(found.boxes, found.scores.tolist(), found.labels.tolist(), strict=True):
            yield {
                "box": box,
                "confidence": score,
                "class": label,
                "label": f"{class_name(self.names, label)} {score:.2f}",
                "image": crop_image(self.images[0], box.cpu()),
            }

    def _save_crops(self, crops: Sequence[Crop], directory: Path) -> None:
        folders = class_directories(self.names)
        stems = [output_stem(f) for f, found in zip(self.frames, self.detections, strict=True) for _ in found.labels]
        for crop, stem in zip(crops, stems, strict=True):
            save_crop(crop["image"], directory / class_name(folders, crop["class"]), stem)


def _as_sizes(given: Size | Sequence[Size] | None, count: int) -> tuple[Size, ...]:
    if given is None:
        return ()
    if len(given) == 2 and all(isinstance(side, int) for side in given):
        height, width = given
        return ((height, width),) * count  # type: ignore[return-value]
    return tuple(given)  # type: ignore[arg-type]
