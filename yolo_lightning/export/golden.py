"""An input and what the network answers, kept beside an exported file, and how far the file is from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from yolo_lightning.errors import InputError
from yolo_lightning.export.comparing import Difference, Tolerance, compare_detections, compare_rows, scores_of
from yolo_lightning.export.network import ExportedNetwork
from yolo_lightning.models import Detector
from yolo_lightning.paths import replacing
from yolo_lightning.runtimes import ExportedDetector

__all__ = ["Golden", "make_golden"]

_MOST_ROWS = 300


@dataclass(frozen=True, eq=False)
class Golden:
    """Images and the best rows that the network has for them, computed in float32.

    Args:
        images: (B, C, H, W) uint8.
        index: (B, n) which rows these are.
        rows: (B, n, 5 + C) float32, as :class:`~yolo_lightning.runtimes.contract.Output` describes them.
        detections: (n, 7) what suppression leaves of the network's, if the file suppresses; others may be as right.
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
    def compare(self, exported: Detector, tolerance: Tolerance) -> Difference:
        """Runs an exported file on the images.

        Args:
            exported: The file.
            tolerance: What counts as alike; the difference that is returned may be larger.

        Raises:
            InputError: If it has other rows, numbers that are not finite, or other detections than differences within
                the tolerance lead to.
        """
        images = torch.from_numpy(self.images).float() / 255
        if isinstance(exported, ExportedDetector):
            (answer,), suppression = exported(images), exported.contract.suppression
        else:  # a network, which answers with what is not decoded yet
            answer, suppression = ExportedNetwork(exported)(images), None
        index, wanted = torch.from_numpy(self.index), torch.from_numpy(self.rows)
        few = suppression is None and answer.shape[1] <= int(index.max())
        if few or answer.shape[0] != len(wanted) or answer.shape[2] != wanted.shape[2]:
            raise InputError(f"it answers with {tuple(answer.shape)} numbers, which does not fit the network's rows")
        if suppression is not None:
            return compare_detections(answer, wanted, suppression, tolerance)
        return compare_rows(answer.take_along_dim(index[..., None], 1), wanted)


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
    scores = scores_of(rows).amax(-1)
    count, detections = _MOST_ROWS, None
    if network.suppression is not None:
        # All that the suppression of a file may find.
        count = max(count, int((scores > 0.9 * network.suppression.confidence).sum(1).max()))
        suppressing = ExportedNetwork(plain.detector, suppression=network.suppression, num_images=len(images))
        detections = suppressing(scaled).numpy()
    index = scores.topk(min(count, rows.shape[1]), dim=1).indices
    kept = rows.take_along_dim(index[..., None], 1)
    return Golden(images.numpy(), index.numpy(), kept.numpy(), detections)
