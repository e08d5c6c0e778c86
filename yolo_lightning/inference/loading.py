"""Weights as a predictor, in one call."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from yolo_lightning.errors import InputError
from yolo_lightning.inference.networks import Precision, resolve_device
from yolo_lightning.inference.predictor import Predictor
from yolo_lightning.models import (
    Detector,
    build_detector,
    describe,
    detector_from_weights,
    load_weights,
    resolve_weights,
    yolov5,
)
from yolo_lightning.models.download import OFFICIAL_FILES
from yolo_lightning.operating_point import OperatingPoint, operating_point_path
from yolo_lightning.runtimes import is_exported, load_exported

__all__ = ["load"]

Weights = str | Path


@torch.inference_mode(mode=False)  # what is made in it could not be trained
def load(
    weights: Weights | Sequence[Weights] = "yolov5s.pt",
    *,
    device: str | torch.device | None = None,
    precision: Precision = "float32",
    channels: int | None = None,
    classes: int | Sequence[str] | None = None,
    pretrained: bool = True,
    force_reload: bool = False,
    operating_point: bool | str | Path = False,
    allow_native_code: bool = False,
    **settings: Any,
) -> Predictor:
    """Makes a predictor of weights: ``load("yolov5s.pt")("bus.jpg").show()``.

    Args:
        weights: A published YOLOv5 ``.pt``, a checkpoint of this library, safetensors, or an exported file (``.onnx``,
            ``_openvino_model``, ``.torchscript``, ``.pt2``); several are an ensemble. The bare name of a published file
            that is not there is downloaded once.
        device: Where to compute: ``cpu``, ``cuda``, ``cuda:1``, ``mps``; None takes the GPU if there is one.
        precision: ``float32``, ``bfloat16`` or, on a GPU, ``float16``. An exported file computes as it was exported.
        channels: Channels of the images, if others than the network was made for. What fits of the weights is kept,
            and the rest is reported and starts afresh: train ``predictor.model`` before you use it.
        classes: Number of classes, or their names, if others than the network was made for; as with ``channels``. Names
            for as many classes as there are rename them.
        pretrained: Whether to load the weights; if not, the network of a published name or of a file starts afresh.
        force_reload: Downloads a published file again.
        operating_point: Takes the confidence thresholds chosen on validation, and the settings of suppression that they
            presume: those stored beside the weights if True, or the file given. What ``settings`` say wins.
        allow_native_code: Also opens exported files that hold machine code, which then does what it likes: those of
            AOTInductor (``.aoti.pt2``).
        **settings: See :class:`yolo_lightning.inference.settings.Settings`. Which classes to report is set
            afterwards, by ``predictor.classes``, or in a call.

    Raises:
        InputError: If a file cannot be read, does not say what its network is, or something given does not fit it.
    """
    if channels is not None and channels < 1:
        raise InputError(f"channels is {channels}; images have at least one")
    files = [weights] if isinstance(weights, str | Path) else list(weights)
    if not files:
        raise InputError("there are no weights: give a file, or the name of a published one such as yolov5s.pt")
    chosen = resolve_device(device)
    loaded = [
        _load_exported(file, chosen, precision, channels, classes, allow_native_code)
        if is_exported(file)
        else _load_one(file, channels, classes, pretrained, force_reload)
        for file in files
    ]
    detectors, names = [detector for detector, _ in loaded], loaded[0][1]
    for file, (_, others) in zip(files, loaded, strict=True):
        if others != names:
            raise InputError(f"the networks of an ensemble must have the same classes: {files[0]} and {file} differ")
    if operating_point:
        settings = {**_operating_settings(operating_point, files, names), **settings}
    return Predictor(detectors, names, device=chosen, precision=precision, **settings)


def _load_exported(
    file: Weights,
    device: torch.device,
    precision: str,
    channels: int | None,
    classes: int | Sequence[str] | None,
    allow_native_code: bool,
) -> tuple[Detector, tuple[str, ...]]:
    detector = load_exported(file, device, allow_native_code=allow_native_code)
    if precision != "float32":
        raise InputError(f"{file} computes in {detector.contract.precision}, as it was exported: leave precision out")
    names, num_classes = _class_names(classes, detector.contract.class_names)
    if num_classes != detector.num_classes or channels not in (None, detector.in_channels):
        raise InputError(f"{file} is an exported network, whose classes and channels cannot be changed")
    return detector, names


def _load_one(
    file: Weights, channels: int | None, classes: int | Sequence[str] | None, pretrained: bool, force_reload: bool
) -> tuple[Detector, tuple[str, ...]]:
    if not pretrained and str(file) in OFFICIAL_FILES and not Path(file).exists():
        detector, names = yolov5(OFFICIAL_FILES[str(file)]), None
    else:
        path = resolve_weights(file, force_download=force_reload)
        detector, names = detector_from_weights(path)
    names = names or tuple(f"class{index}" for index in range(detector.num_classes))
    names, num_classes = _class_names(classes, names)
    same = num_classes == detector.num_classes and channels in (None, detector.in_channels)
    if same and pretrained:
        return detector, names
    changed = _rebuild(detector, num_classes, channels)
    if pretrained:
        Console(stderr=True).print(str(load_weights(changed, path)), highlight=False, markup=False, soft_wrap=True)
    return changed, names


def _class_names(classes: int | Sequence[str] | None, names: tuple[str, ...]) -> tuple[tuple[str, ...], int]:
    """Names and number of the classes asked for."""
    if classes is None or classes == len(names):
        return names, len(names)
    if isinstance(classes, int):
        if classes < 1:
            raise InputError(f"classes is {classes}; a network needs at least one")
        return tuple(f"class{index}" for index in range(classes)), classes
    if isinstance(classes, str) or not classes:
        raise InputError(f"classes is {classes!r}: give a number, or a list of names")
    return tuple(classes), len(classes)


def _rebuild(detector: Detector, num_classes: int, channels: int | None) -> Detector:
    """A network of the same kind with fresh weights."""
    description = copy.deepcopy(describe(detector))
    if channels is not None:
        backbone = description["init_args"].get("backbone", {}).get("init_args", {})
        if "in_channels" not in backbone:
            raise InputError(f"the number of channels of {type(detector.backbone).__name__} cannot be changed")
        backbone["in_channels"] = channels
    return build_detector(description, num_classes)


def _operating_settings(given: bool | str | Path, files: list[Weights], names: tuple[str, ...]) -> dict[str, Any]:
    """Thresholds, and the suppression that they presume."""
    if given is True and len(files) > 1:
        raise InputError("an ensemble has no operating point of its own: choose one on validation and give its file")
    path = operating_point_path(Path(files[0])) if given is True else Path(str(given))
    point = OperatingPoint.load(path)
    if (doubt := point.doubt(Path(files[0]))) is not None:
        warnings.warn(doubt, stacklevel=3)
    settings: dict[str, Any] = {"confidence_threshold": point.thresholds(names)}
    if point.suppression is not None:
        suppression = asdict(point.suppression)
        settings |= {name: suppression[name] for name in ("iou_threshold", "multi_label", "class_agnostic")}
    return settings
