"""Puts weights from files into detectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from yolo_lightning.artifacts import ARTIFACT_PREFIX, artifact_address, fetch_artifact
from yolo_lightning.errors import InputError
from yolo_lightning.models.backbone import CSPDarknet
from yolo_lightning.models.build import build_detector
from yolo_lightning.models.checkpoint import Checkpoint, read_checkpoint
from yolo_lightning.models.detector import SIZES, Detector, yolov5
from yolo_lightning.models.download import OFFICIAL_FILES, download_file, download_weights
from yolo_lightning.models.head import YOLOv5Head
from yolo_lightning.models.layers import scale_channels
from yolo_lightning.models.neck import PAFPN
from yolo_lightning.models.official import from_official, official_state_dict
from yolo_lightning.models.pruned import pruned_description

__all__ = ["TransferReport", "detector_from_weights", "load_weights", "resolve_weights"]


@dataclass(frozen=True)
class TransferReport:
    """What became of the tensors of a file and of a detector.

    Args:
        transferred: Names of the detector's tensors that now have the file's values.
        skipped: Name and reason of every tensor that the file or the detector has and that was not transferred.
    """

    transferred: list[str]
    skipped: list[tuple[str, str]]

    def __str__(self) -> str:
        """One line on the count, one for each skipped tensor of the first ten."""
        lines = [f"Transferred {len(self.transferred)} tensors, skipped {len(self.skipped)}"]
        lines += [f"  {name}: {reason}" for name, reason in self.skipped[:10]]
        if len(self.skipped) > 10:
            lines.append(f"  … and {len(self.skipped) - 10} more")
        return "\n".join(lines)


def load_weights(detector: Detector, path: str | Path) -> TransferReport:
    """Transfers what fits, by name and shape, from a file into a detector.

    Args:
        detector: Changed in place. Its parts that published files do not know keep their values, and so do anchors that
            its head was given.
        path: A published YOLOv5 ``.pt`` (v6 or v7, any size), a checkpoint of this library, or safetensors with the
            names of either. The bare name of a published file that is not there (``yolov5s.pt``) is downloaded, and
            so is an artifact at W&B, ``wandb-artifact://entity/project/name:alias``.

    Returns:
        What was transferred, and what was not and why.

    Raises:
        WeightsNotFoundError: If there is no such file.
        InputError: If the file cannot be read, or no weight of it fits, or it holds a pruned network and the detector
            is another.
    """
    checkpoint = read_checkpoint(resolve_weights(path))
    _check_pruned(detector, checkpoint, path)
    tensors = _own_tensors(detector, checkpoint)
    own_anchors = getattr(detector.head, "has_own_anchors", False)
    report = _transfer(detector, tensors, kept=("head.anchors",) if own_anchors else ())
    # Biases and counters may fit by chance: another size of the same network shares their shapes.
    weights = {name for name, parameter in detector.named_parameters() if parameter.ndim > 1}
    if weights.isdisjoint(report.transferred):
        raise InputError(f"nothing in {path} fits the network: is it of another size?\n{report}")
    return report


def detector_from_weights(path: str | Path) -> tuple[Detector, tuple[str, ...] | None]:
    """The network that a file holds, with its weights, and the names of its classes if the file has them.

    Args:
        path: As in :func:`load_weights`. Safetensors must be by :func:`~yolo_lightning.models.save_weights`, or have
            the names of published files.

    Raises:
        WeightsNotFoundError: If there is no such file.
        InputError: If the file cannot be read, or does not say what its network is.
    """
    checkpoint = read_checkpoint(resolve_weights(path))
    try:
        detector = _build(checkpoint)
        report = _transfer(detector, _own_tensors(detector, checkpoint))
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error
    if report.skipped:
        raise InputError(f"{path}: its weights are not those of the network that it describes. {report}")
    return detector, checkpoint.class_names


def resolve_weights(path: str | Path, force_download: bool = False) -> Path:
    """The path itself, or that of the downloaded file: for an address, or the bare name of a published file.

    Args:
        path: A path, the name of a published file that is not there, an address of the web, or that of an artifact at
            W&B, ``wandb-artifact://entity/project/name:alias``, of which its ``best.ckpt``, else ``last.ckpt``, else
            its only file of weights is meant.
        force_download: Whether to download again what was downloaded before; a version of an artifact never changes.

    Raises:
        InputError: If the download fails, or an artifact holds no weights, or several.
    """
    if (address := artifact_address(path)) is not None:
        return _weights_of_artifact(address)
    if str(path).startswith(("https://", "http://")):
        return download_file(str(path), check=read_checkpoint, force=force_download)
    path = Path(path)
    if path.exists() or str(path) not in OFFICIAL_FILES:
        return path
    check = partial(_check_official, size=OFFICIAL_FILES[path.name])
    return download_weights(path.name, check=check, force=force_download)


def _weights_of_artifact(address: str) -> Path:
    folder = fetch_artifact(address)
    for name in ("best.ckpt", "last.ckpt"):
        if (folder / name).is_file():
            return folder / name
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    for suffix in (".ckpt", ".safetensors", ".pt"):
        found = [file for file in files if file.suffix == suffix]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(str(file.relative_to(folder)) for file in found)
            raise InputError(
                f"{ARTIFACT_PREFIX}{address}: holds several files of weights: give one of {names} in {folder}"
            )
    raise InputError(f"{ARTIFACT_PREFIX}{address}: holds no weights (.ckpt, .safetensors, .pt): is it a model's?")


def _check_official(path: Path, size: str) -> None:
    with torch.device("meta"):
        expected = official_state_dict(yolov5(size))
    found = read_checkpoint(path).tensors
    wrong = [name for name, tensor in expected.items() if name not in found or found[name].shape != tensor.shape]
    if wrong:
        raise InputError(f"it is no YOLOv5{size}: {len(wrong)} tensors are missing or of other shapes, as {wrong[0]}")


def _check_pruned(detector: Detector, checkpoint: Checkpoint, path: str | Path) -> None:
    """Layers that were not narrowed would fit any network, and be worth nothing in it."""
    description = pruned_description(checkpoint)
    if description is not None and getattr(detector, "channels", None) != description["init_args"].get("channels"):
        raise InputError(
            f"{path} holds a pruned network, of other widths than this one: make it with detector_from_weights(), or "
            "leave model.detector out, so that the weights bring it"
        )


def _own_tensors(detector: Detector, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Tensors of a file under our names and in our units."""
    if not checkpoint.is_official:
        return checkpoint.tensors
    # Before v6 the same anchors were there twice.
    tensors = {name: value for name, value in checkpoint.tensors.items() if not name.endswith(".anchor_grid")}
    return from_official(detector, tensors)


@torch.no_grad()
def _transfer(detector: Detector, tensors: dict[str, Tensor], kept: Sequence[str] = ()) -> TransferReport:
    report = TransferReport([], [])
    own = detector.state_dict()
    for name, tensor in tensors.items():
        if name not in own:
            report.skipped.append((name, "the network has no such tensor"))
        elif name in kept:
            report.skipped.append((name, "the network was given its own"))
        elif own[name].shape != tensor.shape:
            reason = f"shape {tuple(tensor.shape)} in the file, {tuple(own[name].shape)} in the network"
            report.skipped.append((name, reason))
        else:
            own[name].copy_(tensor)
            report.transferred.append(name)
    report.skipped.extend((name, "not in the file") for name in own if name not in tensors)
    return report


def _build(checkpoint: Checkpoint) -> Detector:
    """The network of a file, with fresh weights."""
    if checkpoint.description is None:
        return _build_official(checkpoint)
    return build_detector(checkpoint.description, _num_classes(checkpoint))


def _num_classes(checkpoint: Checkpoint) -> int:
    if checkpoint.class_names is None:
        raise InputError("it does not say its classes, so it is no checkpoint of this library")
    return len(checkpoint.class_names)


def _build_official(checkpoint: Checkpoint) -> Detector:
    """The network of a published file, as its tensors and settings tell."""
    tensors = checkpoint.tensors
    head = next((name.removesuffix("anchors") for name in tensors if name.endswith(".anchors")), None)
    stem, outputs = tensors.get("model.0.conv.weight"), tensors.get(f"{head}m.0.bias")
    if head is None or stem is None or outputs is None or stem.ndim != 4:
        raise InputError("it does not say what its network is: make a detector of its kind and use load_weights()")
    num_levels, num_anchors = tensors[f"{head}anchors"].shape[:2]
    depth, width = _multiples(checkpoint, len(stem))
    strides = torch.tensor([8 * 2**level for level in range(num_levels)]).view(-1, 1, 1)
    return Detector(
        num_classes=len(outputs) // num_anchors - 5,
        backbone=partial(CSPDarknet, depth, width, stem.shape[1], "P6" if num_levels == 4 else "P5"),
        neck=partial(PAFPN, depth_multiple=depth),
        head=partial(YOLOv5Head, anchors=(tensors[f"{head}anchors"] * strides).tolist()),
    )


def _multiples(checkpoint: Checkpoint, stem_channels: int) -> tuple[float, float]:
    """Depth and width multiple: from the file's settings, or of the published size with so many channels."""
    depth, width = (checkpoint.config.get(key) for key in ("depth_multiple", "width_multiple"))
    if isinstance(depth, int | float) and isinstance(width, int | float):
        return float(depth), float(width)
    for multiples in SIZES.values():
        if scale_channels(64, multiples[1]) == stem_channels:
            return multiples
    raise InputError(f"its first layer has {stem_channels} channels, which no published YOLOv5 has")
