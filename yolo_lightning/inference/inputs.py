"""Whatever a person may hand to a predictor, as frames."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageOps
from torch import Tensor

from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Failure, Frame, Source
from yolo_lightning.web import redact

__all__ = ["ColorOrder", "as_frames"]

ColorOrder = Literal["rgb", "bgr"]
"""Order of the channels in arrays: RGB as Pillow has it, or BGR as OpenCV reads it."""

_MOST_CHANNELS = 4  # an array whose first side is at most this has its channels there


def as_frames(images: Any, color_order: ColorOrder = "rgb", *, allow_private_addresses: bool = True) -> list[Frame]:
    """Frames of one image or several, in order.

    Args:
        images: A path, an address (http, https), a Pillow image, an array, a tensor, a :class:`Frame`, a
            :class:`Source`, or a list of these, mixed as you like. A path may name a folder, a pattern or a video.
            Arrays are (H, W, C) or (C, H, W) with 1, 3 or 4 channels, or (H, W) grey; uint8, or floating point in
            0…1. Tensors are (C, H, W), (H, W), or (B, C, H, W) for several.
        color_order: Of arrays and tensors; files and Pillow images know their own.
        allow_private_addresses: Whether an address may be one of a private network. Services for others say no, and
            hand over images rather than paths: files of this machine are read all the same.

    Raises:
        InputError: If something is no image, or cannot be read.
    """
    if color_order not in ("rgb", "bgr"):
        raise InputError(f"color_order is {color_order!r}; it must be 'rgb' or 'bgr'")
    is_list = isinstance(images, Sequence) and not isinstance(images, str | bytes)
    is_batch = isinstance(images, Tensor | np.ndarray) and images.ndim == 4
    parts = list(images) if is_list or is_batch else [images]
    frames: list[Frame] = []
    for part in parts:
        frames += _frames(part, color_order, f"image{len(frames)}.jpg", allow_private_addresses)
    return frames


def _frames(image: Any, color_order: ColorOrder, name: str, allow_private: bool) -> list[Frame]:
    if isinstance(image, Frame):
        return [image]
    if isinstance(image, str | Path):
        return _read(str(image), allow_private)
    if isinstance(image, Source):
        return _all(image)
    if isinstance(image, Image.Image):
        return [_pillow_frame(image, name)]
    if isinstance(image, Tensor):
        image = image.detach().cpu()
        array = (image.float() if image.dtype == torch.bfloat16 else image).numpy()
        array = array.transpose(1, 2, 0) if array.ndim == 3 else _channels_last(array, name)
        return [Frame(_upright(array, color_order, name), name, name)]
    if isinstance(image, np.ndarray):
        return [Frame(_upright(_channels_last(image, name), color_order, name), name, name)]
    raise InputError(
        f"{type(image).__name__} is no image: give a path, an address, a Pillow image, an array, a tensor, or a list "
        "of these"
    )


def _read(token: str, allow_private: bool) -> list[Frame]:
    from yolo_lightning.inference.sources import parse_sources

    with tempfile.TemporaryDirectory() as folder:
        frames: list[Frame] = []
        for source in parse_sources([token], allow_private_addresses=allow_private, downloads=Path(folder)):
            frames += _all(source, token)
    return frames


def _all(source: Source, token: str | None = None) -> list[Frame]:
    """All frames of a source that ends; the first failure is an error."""
    if source.live:
        shown = redact(token) if token else "the source"
        raise InputError(f"{shown} does not end: iterate over predictor.stream(…) of it instead")
    with source:
        return list(_frames_of(source))


def _frames_of(source: Source) -> Iterator[Frame]:
    for event in source:
        if isinstance(event, Failure):
            raise InputError(f"{event.source}: {event.reason}")
        if isinstance(event, Frame):
            yield event


def _pillow_frame(image: Image.Image, name: str) -> Frame:
    """A Pillow image turned upright; transparency is dropped, 16 bits become 8."""
    path = str(getattr(image, "filename", "") or name)
    try:
        image = ImageOps.exif_transpose(image)
        if image.mode == "F" or image.mode.startswith("I"):
            return Frame(_grey(np.asarray(image), path), path, Path(path).name)
        return Frame(np.array(image.convert("RGB")), path, Path(path).name)
    except OSError as error:
        raise InputError(f"{path} cannot be decoded ({error}): the file is damaged") from error


def _grey(array: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    """Grey values of 16 or 32 bits, or floating point, as three equal channels of 8 bits."""
    if np.issubdtype(array.dtype, np.integer):
        if array.min() < 0 or array.max() > np.iinfo(np.uint16).max:
            raise InputError(f"{name} has values {array.min()}…{array.max()}: grey values must have 16 bits at most")
        array = array.astype(np.uint16)
    return np.repeat(_eight_bits(array, name)[..., None], 3, axis=2)


def _channels_last(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """(H, W, C), whichever side the channels were."""
    if array.ndim == 2:
        return array[..., None]
    if array.ndim != 3:
        raise InputError(f"{name} has shape {array.shape}: expected (H, W, C), (C, H, W) or (H, W)")
    if array.shape[0] <= _MOST_CHANNELS < array.shape[2]:
        return array.transpose(1, 2, 0)
    return array


def _upright(array: npt.NDArray[Any], color_order: ColorOrder, name: str) -> npt.NDArray[np.uint8]:
    """uint8 with the channels in RGB order."""
    if 0 in array.shape:
        raise InputError(f"{name} is empty: its shape is {array.shape}")
    image = _eight_bits(array, name)
    if color_order == "bgr" and image.shape[2] >= 3:
        image = image[..., [2, 1, 0, *range(3, image.shape[2])]]
    return np.ascontiguousarray(image)


def _eight_bits(array: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array >> 8).astype(np.uint8)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if np.issubdtype(array.dtype, np.floating):
        low, high = float(array.min()), float(array.max())
        if not 0 <= low <= high <= 1:
            raise InputError(f"{name} has values {low:.3g}…{high:.3g}: floating-point images must be in 0…1")
        return (array.astype(np.float32) * 255).round().astype(np.uint8)
    raise InputError(f"{name} is of type {array.dtype}: expected uint8, uint16, or floating point in 0…1")
