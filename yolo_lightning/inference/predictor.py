"""From images to results with a network and its settings."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Event, Failure, Frame, Source
from yolo_lightning.inference.inputs import ColorOrder, as_frames
from yolo_lightning.inference.networks import Networks, Precision
from yolo_lightning.inference.preprocess import (
    PreparedBatch,
    PreparedFrames,
    as_size,
    fit_image,
    shown,
    stack_images,
    with_channels,
)
from yolo_lightning.inference.results import Results
from yolo_lightning.inference.settings import SETTING_NAMES, Settings, check_names, check_settings, make_nms
from yolo_lightning.models import Detector, Inference, TestTimeAugmentation
from yolo_lightning.ops import NMS, to_original
from yolo_lightning.runtimes import ExportedDetector
from yolo_lightning.types import Detections, ImageInfo

__all__ = ["Predictor"]


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
        initial = Settings(size=networks.fixed_size or Settings.size)
        self.__dict__.update(names=tuple(class_names), networks=networks, settings=initial)
        check_names(settings)
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
        check_names([name], AttributeError)
        return getattr(self.settings, name)

    def __setattr__(self, name: str, value: Any) -> None:
        # A misspelt setting would otherwise be kept, and have no effect.
        check_names([name], AttributeError)
        self.__dict__["settings"] = self._changed({name: value})

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *SETTING_NAMES})

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
        check_names(settings)
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
        check_names(settings)
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
        fixed = self.networks.fixed_size
        size = None if settings.slices else as_size(settings.size, stride)
        began = perf_counter()
        groups: dict[tuple[int, ...], list[tuple[int, npt.NDArray[np.uint8], ImageInfo]]] = {}
        for position, frame in enumerate(frames):
            image, info = fit_image(with_channels(frame, channels), size, stride, frame.source, whole=fixed is not None)
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
            [shown(frame) for frame in prepared.frames],
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
        nms = make_nms(settings, self.names)
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

    def _changed(self, changes: dict[str, Any]) -> Settings:
        """The settings with changes, checked."""
        settings = replace(self.settings, **changes)
        check_settings(settings, self.names, self.networks.stride, len(self.networks.detectors))
        fixed = self.networks.fixed_size
        if fixed is not None and not settings.slices and as_size(settings.size, self.networks.stride) != fixed:
            raise InputError(
                f"size is {settings.size}, but the network is exported for images of {fixed[0]}×{fixed[1]} pixels: "
                "export it with --dynamic, or for that size"
            )
        for detector in self.networks.detectors:
            if isinstance(detector, ExportedDetector):
                detector.check_postprocess(make_nms(settings, self.names))
        return settings


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
