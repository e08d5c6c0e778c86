"""From images to results with a network and its settings."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Event, Failure, Frame, Source
from yolo_lightning.inference.inputs import ColorOrder, as_frames
from yolo_lightning.inference.networks import Networks, Precision
from yolo_lightning.inference.preprocess import as_size, fit_image, stack_images
from yolo_lightning.inference.results import Results
from yolo_lightning.models import Detector, Inference, Slices, TestTimeAugmentation, WeightedBoxesFusion
from yolo_lightning.ops import NMS, to_original
from yolo_lightning.types import Detections, ImageInfo

__all__ = ["Predictor", "PreparedFrames", "Settings", "class_indices"]

# What people who come from YOLOv5's hub interface write.
_OLD_NAMES = {
    "conf": "confidence_threshold",
    "iou": "iou_threshold",
    "agnostic": "class_agnostic",
    "max_det": "max_detections",
    "amp": "precision",
    "imgsz": "size",
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How images are turned into results; each may be an attribute of a predictor, or an argument of a call.

    Args:
        size: Height and width that images are scaled to fit, or one number for both, in pixels; with slices,
            images keep their scale.
        augment: Test-time augmentation: images are seen at several scales and flipped, as by YOLOv5's ``--augment``.
        confidence_threshold: Only detections above it count, 0…1; one number, or one for each class.
        iou_threshold: Boxes of one class that overlap by more than this are one object, 0…1.
        max_detections: Most detections of an image.
        classes: Classes to report, by name or index; all if None.
        class_agnostic: Boxes suppress each other whatever their classes.
        multi_label: A box may be reported once for each class above the threshold, not for its best alone.
        slices: Cuts large images into overlapping tiles instead of shrinking them.
        fusion: Fuses the boxes of an ensemble, or of augmented views, instead of suppressing all but the best.
    """

    size: int | tuple[int, int] = 640
    augment: bool | TestTimeAugmentation = False
    confidence_threshold: float | Sequence[float] = 0.25
    iou_threshold: float = 0.45
    max_detections: int = 1000
    classes: Sequence[int | str] | None = None
    class_agnostic: bool = False
    multi_label: bool = False
    slices: Slices | None = None
    fusion: WeightedBoxesFusion | None = None


@dataclass(frozen=True, eq=False)
class PreparedBatch:
    """Images fitted to one canvas, ready for the network.

    Args:
        images: (B, C, H, W) uint8 on the CPU.
        infos: How each was fitted.
        positions: Which of the frames each is.
    """

    images: Tensor
    infos: list[ImageInfo]
    positions: list[int]


@dataclass(frozen=True, eq=False)
class PreparedFrames:
    """Frames and the batches that they make.

    Args:
        frames: As they came.
        batches: One for each size of canvas.
        seconds: Time that preparing them took.
    """

    frames: list[Frame]
    batches: list[PreparedBatch]
    seconds: float


class Predictor:
    """Finds objects in images, videos and streams: ``predictor("bus.jpg")``.

    Made by :func:`yolo_lightning.load`. Its settings are attributes, and arguments of a call win over them::

        predictor.confidence_threshold = 0.4
        results = predictor(["bus.jpg", array], size=1280, augment=True)

    An image gives the same result alone and among others, up to rounding.

    Args:
        detectors: The network, or several for an ensemble, all of the same classes. They are not changed.
        class_names: Names of the classes.
        device: Where to compute; None takes the GPU if there is one.
        precision: Of the network: ``float32``, ``bfloat16`` or, on a GPU, ``float16``. Boxes are float32 always.
        **settings: See :class:`Settings`.

    Attributes:
        model: The plain network, for people who train or change it themselves; on ``device``.
        names: Names of the classes.

    Raises:
        ValueError: If names and classes differ in number, or a setting is wrong.
    """

    names: tuple[str, ...]
    settings: Settings

    def __init__(
        self,
        detectors: Detector | Sequence[Detector],
        class_names: Sequence[str],
        *,
        device: str | torch.device | None = None,
        precision: Precision = "float32",
        **settings: Any,
    ) -> None:
        networks = Networks([detectors] if isinstance(detectors, Detector) else detectors, device, precision)
        if len(class_names) != networks.num_classes:
            raise ValueError(f"{len(class_names)} class names for a network of {networks.num_classes} classes")
        self.__dict__.update(names=tuple(class_names), networks=networks, settings=Settings())
        self._check(settings)
        self.__dict__["settings"] = self._changed(settings)

    @property
    def model(self) -> Detector:
        """The plain network; of an ensemble, the first."""
        return self.networks.detectors[0]

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.networks.device

    networks: Networks

    def __getattr__(self, name: str) -> Any:
        if name in _SETTINGS:
            return getattr(self.settings, name)
        raise AttributeError(f"a predictor has no {name!r}{_meant(name)}")

    def __setattr__(self, name: str, value: Any) -> None:
        # A misspelt setting would otherwise be kept, and have no effect.
        self._check([name], AttributeError)
        self.__dict__["settings"] = self._changed({name: value})

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *_SETTINGS})

    def __repr__(self) -> str:
        return f"Predictor({len(self.names)} classes, {self.device}, {self.networks.precision}, {self.settings})"

    def __call__(
        self,
        images: Any,
        size: int | tuple[int, int] | None = None,
        *,
        color_order: ColorOrder = "rgb",
        **settings: Any,
    ) -> Results:
        """Detects in one image or several.

        Args:
            images: A path, an address, a Pillow image, an array, a tensor, or a list of these, mixed as you like; see
                :func:`yolo_lightning.inference.inputs.as_frames`.
            size: As in :class:`Settings`.
            color_order: Of arrays: ``rgb``, or ``bgr`` as ``cv2.imread`` gives them.
            **settings: For this call alone; see :class:`Settings`.

        Raises:
            InputError: If something is no image or cannot be read.
            TypeError: If a setting is unknown.
            ValueError: If a setting is wrong.
        """
        self._check(settings)
        if size is not None:
            settings["size"] = size
        return self.predict(as_frames(images, color_order), self._changed(settings))

    def stream(self, source: Any, **settings: Any) -> Generator[Results]:
        """The results of a video, camera, stream or folder, one frame after the other, without holding all of them.

        Of a live source each result is that of the newest frame; several live sources take turns. Gaps are passed over,
        and failures warned of; ``yolo-lightning detect`` tells both. When the iterator is closed or left to itself, the
        source is closed.

        Args:
            source: What ``yolo-lightning detect`` takes: ``video.mp4``, ``0``, ``rtsp://…``, ``screen``.
            **settings: See :class:`Settings`.

        Raises:
            InputError: When the first result is taken, if the source cannot be opened.
            TypeError: If a setting is unknown.
            ValueError: If a setting is wrong.
        """
        self._check(settings)
        return self._stream(source, self._changed(settings))

    def _stream(self, source: Any, settings: Settings) -> Generator[Results]:
        from yolo_lightning.inference.sources import parse_sources

        with closing(_events(parse_sources([str(source)]))) as events:
            for event in events:
                if isinstance(event, Frame):
                    yield self.predict([event], settings)
                elif isinstance(event, Failure):
                    warnings.warn(f"{event.source}: {event.reason}", stacklevel=2)

    def predict(self, frames: Sequence[Frame], settings: Settings | None = None) -> Results:
        """Detects in frames; those that fill equal canvases go through the network together."""
        settings = self.settings if settings is None else settings
        return self.detect(self.prepare(frames, settings), settings)

    def prepare(self, frames: Sequence[Frame], settings: Settings | None = None) -> PreparedFrames:
        """Fits frames to canvases, grouped by canvas. May run in a thread of its own."""
        settings = self.settings if settings is None else settings
        stride, channels = self.networks.stride, self.networks.in_channels
        size = None if settings.slices else as_size(settings.size, stride)
        began = perf_counter()
        groups: dict[tuple[int, ...], list[tuple[int, npt.NDArray[np.uint8], ImageInfo]]] = {}
        for position, frame in enumerate(frames):
            image, info = fit_image(_with_channels(frame, channels), size, stride, frame.source)
            groups.setdefault(image.shape, []).append((position, image, info))
        batches = []
        for group in groups.values():
            positions, images, infos = zip(*group, strict=True)
            batches.append(PreparedBatch(stack_images(images), list(infos), list(positions)))
        return PreparedFrames(list(frames), batches, perf_counter() - began)

    def detect(self, prepared: PreparedFrames, settings: Settings | None = None) -> Results:
        """Detects in prepared frames."""
        settings = self.settings if settings is None else settings
        found: dict[int, Detections] = {}
        sizes: dict[int, tuple[int, int]] = {}
        seconds = {"preprocess": prepared.seconds, "inference": 0.0, "postprocess": 0.0}
        for batch in prepared.batches:
            detections, taken = self._detect(batch, settings)
            found.update(zip(batch.positions, detections, strict=True))
            sizes.update(dict.fromkeys(batch.positions, (batch.images.shape[2], batch.images.shape[3])))
            seconds = {name: value + taken.get(name, 0.0) for name, value in seconds.items()}
        order = range(len(prepared.frames))
        return Results(
            [_shown(frame) for frame in prepared.frames],
            [found[position] for position in order],
            self.names,
            speed={name: 1000 * value / max(1, len(prepared.frames)) for name, value in seconds.items()},
            input_size=[sizes[position] for position in order],
        )

    @torch.inference_mode()
    def _detect(self, batch: PreparedBatch, settings: Settings) -> tuple[list[Detections], dict[str, float]]:
        """Detections of each image in its own pixels, on the CPU, and the seconds of each stage."""
        began = perf_counter()
        images = self.networks.to_input(batch.images)
        nms = self._nms(settings)
        watch = _Stopwatch(nms)
        found = self._inference(settings, nms)(images)
        detections = [
            Detections(to_original(each.boxes, info), each.scores, each.labels)
            for each, info in zip([each.to("cpu") for each in found], batch.infos, strict=True)
        ]
        total = perf_counter() - began
        return detections, {"inference": total - watch.seconds, "postprocess": watch.seconds}

    def _inference(self, settings: Settings, nms: NMS) -> Inference:
        chosen = settings.augment
        augmentation = (
            chosen if isinstance(chosen, TestTimeAugmentation) else TestTimeAugmentation() if chosen else None
        )
        return Inference(
            self.networks.fused(), nms, augmentation=augmentation, fusion=settings.fusion, slices=settings.slices
        )

    def _nms(self, settings: Settings) -> NMS:
        try:
            return NMS(
                confidence_threshold=settings.confidence_threshold,
                iou_threshold=settings.iou_threshold,
                max_detections=settings.max_detections,
                multi_label=settings.multi_label,
                class_agnostic=settings.class_agnostic,
                classes=class_indices(settings.classes, self.names),
            )
        except ValueError as error:
            raise InputError(str(error)) from error
        except TypeError as error:
            raise InputError(f"a setting is of a wrong type ({error}): {settings}") from error

    def _changed(self, changes: dict[str, Any]) -> Settings:
        """The settings with changes, checked."""
        settings = replace(self.settings, **changes)
        for name, kind in (("slices", Slices), ("fusion", WeightedBoxesFusion)):
            value = getattr(settings, name)
            if value is not None and not isinstance(value, kind):
                raise InputError(f"{name} is {value!r}: give a yolo_lightning.models.{kind.__name__}, or None")
        try:
            as_size(settings.size, self.networks.stride)
            if settings.slices is not None:
                settings.slices.check(self.networks.stride)
            if settings.fusion is not None:
                settings.fusion.check(len(self.networks.detectors))
        except ValueError as error:
            raise InputError(str(error)) from error
        except TypeError as error:
            raise InputError(f"a setting is of a wrong type ({error}): {settings}") from error
        self._nms(settings)
        return settings

    def _check(self, settings: Any, kind: type[Exception] = TypeError) -> None:
        for name in settings:
            if name not in _SETTINGS:
                raise kind(f"a predictor has no setting {name!r}{_meant(name)}")


def class_indices(classes: Sequence[int | str] | None, names: Sequence[str]) -> list[int] | None:
    """Indices of classes given by name or index.

    Raises:
        InputError: If there is no such class; the message names those that are alike.
    """
    if classes is None:
        return None
    if isinstance(classes, str):
        classes = [classes]
    return [_class_index(each, names) for each in classes]


def _class_index(given: int | str, names: Sequence[str]) -> int:
    if isinstance(given, str) and given in names:
        return list(names).index(given)
    if not isinstance(given, int | str):
        raise InputError(f"there is no class {given!r}: give names or numbers")
    if isinstance(given, int) or given.lstrip("-").isdigit():
        if 0 <= int(given) < len(names):
            return int(given)
        raise InputError(f"there is no class {given}: the network has 0…{len(names) - 1}")
    alike = get_close_matches(given, names) or list(names[:10])
    raise InputError(f"there is no class {given!r}: did you mean one of {', '.join(alike)}?")


def _events(sources: Sequence[Source]) -> Generator[Event]:
    """What sources that end yield, one after the other, then what live ones do, all at once; closes them."""
    from yolo_lightning.inference.streams import MultiStream

    live = [source for source in sources if source.live]
    with ExitStack() as stack:
        for source in sources:
            stack.enter_context(source)
        for source in sources:
            if not source.live:
                yield from source
        if live:
            with MultiStream(live) as rounds:
                for events in rounds:
                    yield from (event for _, event in events)


class _Stopwatch:
    """Counts the seconds that a module takes; a GPU is waited for on both sides."""

    def __init__(self, module: nn.Module) -> None:
        self.seconds = 0.0
        self._began = 0.0
        module.register_forward_pre_hook(self._start)
        module.register_forward_hook(self._stop)

    def _start(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].is_cuda:
            torch.cuda.synchronize(inputs[0].device)
        self._began = perf_counter()

    def _stop(self, module: nn.Module, inputs: tuple[Tensor, ...], output: object) -> None:
        if inputs[0].is_cuda:
            torch.cuda.synchronize(inputs[0].device)
        self.seconds += perf_counter() - self._began


def _with_channels(frame: Frame, num_channels: int) -> npt.NDArray[np.uint8]:
    """The image with as many channels as the network sees: grey is repeated, transparency dropped."""
    image = frame.image
    found = image.shape[2]
    if found == num_channels:
        return image
    if found == 1:
        return np.repeat(image, num_channels, axis=2)
    if (found, num_channels) == (4, 3):
        return np.ascontiguousarray(image[..., :3])
    if (found, num_channels) == (3, 1):
        return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.uint8, copy=False)
    raise InputError(f"{frame.source} has {found} channels, but the network sees {num_channels}")


def _shown(frame: Frame) -> Frame:
    """The frame as a picture that can be drawn on, of three channels."""
    image = frame.image
    if image.shape[2] == 3:
        return frame
    image = np.ascontiguousarray(image[..., :3]) if image.shape[2] > 3 else np.repeat(image[..., :1], 3, axis=2)
    return replace(frame, image=image)


def _meant(name: str) -> str:
    """What to write instead, for an error."""
    meant = _OLD_NAMES.get(name) or next(iter(get_close_matches(name, _SETTINGS)), None)
    return f"; did you mean {meant}?" if meant else f"; settings are {', '.join(_SETTINGS)}"


_SETTINGS = tuple(field.name for field in fields(Settings))
