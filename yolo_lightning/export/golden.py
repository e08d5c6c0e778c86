"""An input and what the network answers, kept beside an exported file, and how far the file is from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from yolo_lightning.errors import InputError
from yolo_lightning.export.network import ExportedNetwork
from yolo_lightning.models import Detector
from yolo_lightning.paths import replacing
from yolo_lightning.runtimes import ExportedDetector

__all__ = ["Difference", "Golden", "make_golden"]

_MOST_ROWS = 300


@dataclass(frozen=True)
class Difference:
    """How far an exported file is from the network.

    Args:
        compared: Boxes compared.
        box: Largest difference of a corner in pixels.
        score: Largest difference of a score.
    """

    compared: int
    box: float
    score: float


@dataclass(frozen=True, eq=False)
class Golden:
    """Images and the best rows that the network has for them, computed in float32.

    Args:
        images: (B, C, H, W) uint8.
        index: (B, n) which rows these are.
        rows: (B, n, 5 + C) float32, as :class:`~yolo_lightning.runtimes.contract.Output` describes them.
        detections: (n, 7) what suppression leaves, if the file suppresses.
    """

    images: npt.NDArray[np.uint8]
    index: npt.NDArray[np.int64]
    rows: npt.NDArray[np.float32]
    detections: npt.NDArray[np.float32] | None = None

    def write(self, path: Path) -> None:
        """Writes an ``.npz`` of arrays called as the attributes are.

        Raises:
            OSError: If it cannot be written.
        """
        arrays = {name: value for name, value in vars(self).items() if value is not None}
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **arrays)

    @torch.inference_mode()
    def compare(self, exported: Detector) -> Difference:
        """Runs an exported file on the images.

        Raises:
            InputError: If it has other rows, or other detections.
        """
        images = torch.from_numpy(self.images).float() / 255
        # A detector that is a network itself answers with what is not decoded yet.
        answer = exported(images)[0] if isinstance(exported, ExportedDetector) else ExportedNetwork(exported)(images)
        if self.detections is not None:
            return _compare_detections(torch.from_numpy(self.detections), answer)
        index, wanted = torch.from_numpy(self.index), torch.from_numpy(self.rows)
        if answer.shape[0] != len(wanted) or answer.shape[1] <= int(index.max()) or answer.shape[2] != wanted.shape[2]:
            raise InputError(f"it answers with {tuple(answer.shape)} numbers, which does not fit the network's rows")
        found = answer.take_along_dim(index[..., None], 1)
        if not found.isfinite().all():
            raise InputError("it answers with numbers that are not finite")
        boxes = (_corners(found) - _corners(wanted)).abs().max()
        scores = (_scores(found) - _scores(wanted)).abs().max()
        return Difference(index.numel(), float(boxes), float(scores))


@torch.inference_mode()
def make_golden(network: ExportedNetwork, plain: ExportedNetwork, images: Tensor) -> Golden:
    """What the network, as it is in PyTorch, answers.

    Args:
        network: What is exported.
        plain: The same in float32, without suppression and preprocessing.
        images: (B, C, H, W) uint8.
    """
    scaled = images.float() / 255
    rows = plain(scaled)
    count = min(_MOST_ROWS, rows.shape[1])
    index = _scores(rows).amax(-1).topk(count, dim=1).indices
    kept = rows.take_along_dim(index[..., None], 1)
    detections = None
    if network.suppression is not None:
        suppressing = ExportedNetwork(plain.detector, suppression=network.suppression, num_images=len(images))
        detections = suppressing(scaled).numpy()
    return Golden(images.numpy(), index.numpy(), kept.numpy(), detections)


def _corners(rows: Tensor) -> Tensor:
    center, half = rows[..., :2], rows[..., 2:4] / 2
    return torch.cat((center - half, center + half), -1)


def _scores(rows: Tensor) -> Tensor:
    return rows[..., 5:] * rows[..., 4:5]


def _compare_detections(wanted_N7: Tensor, answer: Tensor) -> Difference:
    """Each detection with the nearest of its image and class."""
    found = [
        torch.cat((torch.full_like(row[:, :1], image), _corners(row), _scores(row).amax(-1, True), labels), -1)
        for image, rows in enumerate(answer)
        for row in [rows[rows[:, 4] > 0]]
        for labels in [row[:, 5:].argmax(-1, keepdim=True).to(row.dtype)]
    ]
    found_N7 = torch.cat(found) if found else wanted_N7[:0]
    if len(found_N7) != len(wanted_N7):
        raise InputError(f"it finds {len(found_N7)} objects, the network {len(wanted_N7)}")
    box = score = 0.0
    for row in wanted_N7:
        alike = found_N7[(found_N7[:, 0] == row[0]) & (found_N7[:, 6] == row[6])]
        if not len(alike):
            raise InputError(f"it misses an object of class {int(row[6])} that the network finds")
        distance = (alike[:, 1:5] - row[1:5]).abs().amax(-1)
        nearest = int(distance.argmin())
        box, score = max(box, float(distance[nearest])), max(score, float((alike[nearest, 5] - row[5]).abs()))
    return Difference(len(wanted_N7), box, score)
