"""A network as an exported file, with its contract and a golden pair; the file is run before it is kept."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from yolo_lightning import __version__
from yolo_lightning.data.checks import round_up
from yolo_lightning.data.transforms import PADDING_VALUE
from yolo_lightning.errors import InputError
from yolo_lightning.export.comparing import Difference, Tolerance
from yolo_lightning.export.golden import Golden, make_golden
from yolo_lightning.export.network import ExportedNetwork
from yolo_lightning.export.options import ExportOptions, Format, Job, find_format
from yolo_lightning.models import Detector
from yolo_lightning.runtimes import contract_path, golden_path
from yolo_lightning.runtimes.contract import Contract, Input, Letterboxing, Library, Output, Suppression
from yolo_lightning.text import first_line

__all__ = ["TOLERANCES", "Export", "export_network"]

_FIRST = ("model.xml", "Manifest.json")
_OPERATORS = {"onnx": "onnx", "openvino": "onnx", "tensorrt": "tensorrt"}


TOLERANCES = {
    "float32": Tolerance(0.5, 0.005),
    "float16": Tolerance(4.0, 0.02),
    "int8": Tolerance(float("inf"), float("inf")),
}
"""By precision. Single boxes of int8 files differ by more than says anything; mAP judges these."""


@dataclass(frozen=True)
class Export:
    """A file that was exported.

    Args:
        path: The file, or the directory.
        contract: Of it.
        difference: From the network; None if it cannot be run here.
    """

    path: Path
    contract: Contract
    difference: Difference | None


def export_network(
    detector: Detector,
    class_names: Sequence[str],
    format_name: str,
    path: Path,
    options: ExportOptions | None = None,
    *,
    images: Tensor,
    calibration: Callable[[], Iterable[npt.NDArray[np.uint8]]] | None = None,
    overwrite: bool = False,
    judge: Callable[[Path], None] = lambda path: None,
) -> Export:
    """Exports a network, and runs the file: it is kept only if it answers as the network does.

    Args:
        detector: Plain; not changed.
        class_names: Names of its classes.
        format_name: One of :data:`~yolo_lightning.export.FORMATS`.
        path: Where the file goes.
        options: What is asked for.
        images: (B, C, H, W) uint8, of the size and batch of the options, for the golden pair.
        calibration: Batches like ``images`` to take ranges from, for int8.
        overwrite: Replaces what is there.
        judge: Is called with the file before it is kept, and may raise.

    Raises:
        InputError: If a library is missing, the format cannot do what is asked for, the network cannot be exported, or
            the file differs from the network by more than the tolerance.
    """
    options = options or ExportOptions()
    kind = find_format(format_name)
    kind.check(options)
    libraries = kind.check_libraries()
    if options.int8 and calibration is None:
        raise InputError("int8 needs images to take ranges from: give --data")
    options = replace(options, image_size=_rounded(options.image_size, detector.strides[-1]))
    if kind.name == "safetensors":
        options = replace(options, dynamic=True)  # weights are for images of any size
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists: --overwrite replaces it, --output writes elsewhere")
    if path.is_dir() and not contract_path(path).is_file():
        raise InputError(f"{path} is a directory that no export made: move it, or choose another --output")
    job = _job(detector, class_names, kind, options, libraries, calibration)
    plain = ExportedNetwork(detector)
    golden = make_golden(job.network, plain, images)
    with _beside(path) as folder:
        made = folder / path.name
        kind.write(job, made)
        contract = _describe(made, job.contract, golden)
        difference = _check(kind, made, golden, options.precision)
        judge(made)
        _keep(made, path)
    return Export(path, contract, difference)


def _rounded(size: tuple[int, int], stride: int) -> tuple[int, int]:
    rounded, _ = round_up(size, stride)
    return rounded


def _job(
    detector: Detector,
    class_names: Sequence[str],
    kind: Format,
    options: ExportOptions,
    libraries: Sequence[str],
    calibration: Callable[[], Iterable[npt.NDArray[np.uint8]]] | None,
) -> Job:
    operator = _OPERATORS.get(kind.name, "torchvision")
    suppression = Suppression(**vars(options.thresholds), operator=operator) if options.nms else None  # type: ignore[arg-type]
    network = ExportedNetwork(
        detector,
        dtype=options.dtype,
        preprocess=options.preprocess,
        suppression=suppression,
        num_images=options.batch_size,
    )
    contract = _contract(detector, class_names, kind, options, libraries, suppression)
    # A batch of one is taken for a constant, whatever is said of the axis.
    num_images = options.batch_size if contract.input.batch is not None else max(2, options.batch_size)
    shape = (num_images, detector.in_channels, *options.image_size)
    example = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    if options.preprocess:
        example = (example * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()

    def inputs() -> Iterator[npt.NDArray[Any]]:
        assert calibration is not None
        for batch in calibration():
            yield np.moveaxis(batch, 1, -1) if options.preprocess else (batch / np.float32(255)).astype(np.float32)

    return Job(network, detector, contract, example, options, inputs if calibration is not None else None)


def _contract(
    detector: Detector,
    class_names: Sequence[str],
    kind: Format,
    options: ExportOptions,
    libraries: Sequence[str],
    suppression: Suppression | None,
) -> Contract:
    height, width = (None, None) if options.dynamic else options.image_size
    batch = None if options.dynamic and not options.nms else options.batch_size
    return Contract(
        runtime=kind.name,
        precision=options.precision,
        class_names=tuple(class_names),
        strides=detector.strides,
        input=Input(
            name="images",
            dtype="uint8" if options.preprocess else "float32",
            layout="NHWC" if options.preprocess else "NCHW",
            color="RGB",
            channels=detector.in_channels,
            batch=batch,
            height=height,
            width=width,
            stride=detector.strides[-1],
        ),
        letterbox=Letterboxing(PADDING_VALUE),
        output=Output("detections", "detections") if options.nms else Output("output0", "rows"),
        thresholds=options.thresholds,
        suppression=suppression,
        tolerance=box if math.isfinite(box := TOLERANCES[options.precision].box) else None,
        libraries=(
            Library("yolo-lightning", __version__),
            *(Library(name, version(name)) for name in dict.fromkeys(("torch", *libraries))),
        ),
    )


def _describe(made: Path, contract: Contract, golden: Golden) -> Contract:
    """Contract and golden pair beside the file, or in the directory."""
    golden.write(golden_path(made))
    if not made.is_dir():
        return contract.write(contract_path(made), {file.name: file for file in (made, golden_path(made))})
    files = sorted(
        (file for file in made.rglob("*") if file.is_file()), key=lambda file: (file.name not in _FIRST, file)
    )
    return contract.write(contract_path(made), {file.relative_to(made).as_posix(): file for file in files})


def _check(kind: Format, made: Path, golden: Golden, precision: str) -> Difference | None:
    """How far the file is from the network; None if it cannot be run here."""
    tolerance = TOLERANCES[precision]
    try:
        if (exported := kind.load(made)) is None:
            return None
        difference = golden.compare(exported, tolerance)
    except Exception as error:  # runtimes raise what they like
        raise InputError(f"the exported file does not work: {first_line(error)}") from error
    if not difference.is_within(tolerance):
        raise InputError(
            f"the exported file is not the network: boxes differ by up to {difference.box:.3g} pixels and scores by "
            f"up to {difference.score:.3g}, more than {tolerance.box:g} and {tolerance.score:g}"
        )
    return difference


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A directory on the file system of a path, which is removed with all in it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-")
    except OSError as error:
        raise InputError(f"cannot write to {path.parent}: {error.strerror or error}") from error
    with folder as name:
        yield Path(name)


def _keep(made: Path, path: Path) -> None:
    """Moves the file and what belongs to it to where it is to be; the contract comes last."""
    try:
        if made.is_dir():
            if path.is_dir():
                path.replace(made.with_name("replaced"))
            made.replace(path)
            return
        golden_path(made).replace(golden_path(path))
        made.replace(path)
        contract_path(made).replace(contract_path(path))
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error
