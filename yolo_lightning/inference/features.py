"""What each layer of a network makes of an image, as pictures and arrays."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from yolo_lightning.closing import Closing
from yolo_lightning.drawing import draw_grid
from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Frame
from yolo_lightning.inference.pictures import output_stem
from yolo_lightning.inference.predictor import Predictor
from yolo_lightning.inference.preprocess import PreparedFrames
from yolo_lightning.inference.results import Results
from yolo_lightning.inference.settings import Settings
from yolo_lightning.inference.threads import WriteBehind
from yolo_lightning.models import Detector
from yolo_lightning.paths import new_directory, safe_name, write_new_file

__all__ = ["FeatureRecorder", "check_recordable", "draw_maps", "named_layers"]

Picture = npt.NDArray[np.uint8]

_CHANNELS, _COLUMNS = 32, 8
_SMALLEST_SIDE = 96  # of a channel in the picture, in pixels
_MOST_PIXELS = 1600  # of a side of the picture
_BEHIND = 2  # layers that wait to be written
_CONTAINERS = (nn.ModuleDict, nn.ModuleList, nn.Sequential)


@dataclass(frozen=True, eq=False)
class _Maps:
    """What a layer made of some images (B, C, H, W), on the CPU, and the folder of each."""

    layer: str
    values: Tensor
    folders: list[Path]


class FeatureRecorder(Closing):
    """A predictor that also writes the feature maps of its network, as YOLOv5's ``detect.py --visualize`` does.

    Stands in for the predictor in :func:`~yolo_lightning.inference.pipeline.run_pipeline`; the results are the same. Of
    each image it writes, under ``<directory>/<image>/``, for each layer of :func:`named_layers`:

    - ``<layer>.png``: the first 32 channels, see :func:`draw_maps`
    - ``<layer>.npy``: all channels (C, H, W), in float32, or float16 if the network computes in it

    Maps are shown as the network has them: of the image scaled to its input, with the grey margin of the letterbox. Of
    an ensemble they are those of the first network. What layers give besides maps (B, C, H, W) is left out. Only the
    maps of a few layers are in memory at a time.

    Args:
        predictor: The predictor; not changed.
        directory: Where to make the folders.

    Raises:
        InputError: If the predictor looks several times at an image, see :func:`check_recordable`.
    """

    def __init__(self, predictor: Predictor, directory: Path) -> None:
        check_recordable(predictor.settings)
        self.predictor = predictor
        self.directory = directory
        self._folders: list[Path] = []
        self._write = WriteBehind(_write, _BEHIND)

    def close(self) -> None:
        """Waits until all is written.

        Raises:
            OSError: If something could not be written.
        """
        self._write.close()

    def prepare(self, frames: Sequence[Frame]) -> PreparedFrames:
        """As the predictor."""
        return self.predictor.prepare(frames)

    def detect(self, prepared: PreparedFrames) -> Results:
        """As the predictor; the maps are written meanwhile.

        Raises:
            OSError: If something could not be written.
        """
        check_recordable(self.predictor.settings)
        with self._hooks(prepared):
            return self.predictor.detect(prepared)

    @contextmanager
    def _hooks(self, prepared: PreparedFrames) -> Iterator[None]:
        detector = self.predictor.networks.fused()[0]
        batches = iter(prepared.batches)  # the network sees one after the other

        def begin(module: nn.Module, inputs: object) -> None:
            stems = [output_stem(prepared.frames[position]) for position in next(batches).positions]
            self._folders = [new_directory(self.directory / stem) for stem in stems]

        with ExitStack() as stack:
            stack.callback(detector.register_forward_pre_hook(begin).remove)
            for name, layer in named_layers(detector):
                stack.callback(layer.register_forward_hook(self._recorder(name)).remove)
            yield

    def _recorder(self, name: str) -> Callable[[nn.Module, object, object], None]:
        def record(module: nn.Module, inputs: object, output: object) -> None:
            for layer, maps in _maps(name, output, len(self._folders)):
                dtype = torch.float16 if maps.dtype == torch.float16 else torch.float32
                values = maps.to("cpu", dtype, copy=True)  # the next layer may work in place
                self._write(_Maps(layer, values, self._folders))

        return record


def check_recordable(settings: Settings) -> None:
    """Makes sure that the network sees each image once, as a whole.

    Raises:
        InputError: If test-time augmentation or slices make it look several times.
    """
    for name in ("augment", "slices"):
        if getattr(settings, name):
            raise InputError(f"feature maps are of one look at the whole image: save them without {name}")


def named_layers(detector: Detector) -> list[tuple[str, nn.Module]]:
    """The layers of backbone and neck that have maps to show, with names that are good for files.

    They are called ``<number>_<class>``, with YOLOv5's numbers: ``00_Conv``, ``09_SPPF``, ``23_C3``. A backbone or neck
    of your own that has no such numbers is shown by its children, those of lists and sequences one by one:
    ``backbone.layers.0``.
    """
    layers = [
        (f"{number:02d}_{type(layer).__name__}", layer)
        for part in (detector.backbone, detector.neck)
        for number, layer in sorted(part.official_layers().items())
    ]
    for name, part in (("backbone", detector.backbone), ("neck", detector.neck)):
        if not part.official_layers():
            layers += _children(name, part) or [(name, part)]
    return layers


def draw_maps(maps: npt.NDArray[np.floating]) -> Picture:
    """Draws the first 32 channels in rows of eight, from dark violet for a channel's lowest value to yellow.

    Small maps are magnified, large ones shrunk. A channel that is the same everywhere is dark.

    Args:
        maps: (C, H, W), of at least one channel.

    Returns:
        A (H, W, 3) uint8 RGB picture.
    """
    factor = -(-_SMALLEST_SIDE // max(maps.shape[1:]))
    pictures = [_coloured(channel).repeat(factor, 0).repeat(factor, 1) for channel in maps[:_CHANNELS]]
    return draw_grid(pictures, _COLUMNS, gap=2, max_size=_MOST_PIXELS)


def _coloured(channel: npt.NDArray[np.floating]) -> Picture:
    values = np.nan_to_num(channel.astype(np.float64))
    low, high = values.min(), values.max()
    grey = np.zeros(values.shape, np.uint8) if low == high else ((values - low) / (high - low) * 255).astype(np.uint8)
    return np.asarray(cv2.applyColorMap(grey, cv2.COLORMAP_VIRIDIS)[..., ::-1], np.uint8)


def _children(name: str, module: nn.Module) -> list[tuple[str, nn.Module]]:
    """The layers in a module; containers are no layers, since a network may run through them by itself."""
    found: list[tuple[str, nn.Module]] = []
    for child_name, child in module.named_children():
        path = f"{name}.{child_name}"
        found += _children(path, child) if isinstance(child, _CONTAINERS) else [(path, child)]
    return found


def _maps(name: str, output: object, count: int) -> Iterator[tuple[str, Tensor]]:
    """The tensors (B, C, H, W) in what a layer gives, of so many images, with a number if it gives several."""
    if isinstance(output, Tensor):
        if output.ndim == 4 and len(output) == count and output.numel():
            yield name, output
        return
    if isinstance(output, list | tuple):
        output = dict(enumerate(output))
    if isinstance(output, Mapping):
        for key, value in output.items():
            yield from _maps(f"{name}.{key}", value, count)


def _write(maps: _Maps) -> None:
    for values, folder in zip(maps.values.numpy(), maps.folders, strict=True):
        array, picture = io.BytesIO(), io.BytesIO()
        np.save(array, np.ascontiguousarray(values), allow_pickle=False)
        write_new_file(folder / f"{safe_name(maps.layer)}.npy", array.getvalue())
        Image.fromarray(draw_maps(values)).save(picture, "PNG", compress_level=1)
        write_new_file(folder / f"{safe_name(maps.layer)}.png", picture.getvalue())
