"""What every data set and every sample transform looks like to the rest."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from yolo_lightning.data.problems import Problem
from yolo_lightning.types import ImageInfo, Sample, SampleKey

__all__ = ["DatasetIdentity", "DetectionDataset", "SampleTransform"]


class DatasetIdentity(NamedTuple):
    """Tells the images of a data set from those of another run.

    Attributes:
        name: What the data set is called; stays when its files change.
        state: Digest of the state of all images; equal ones mean equal pixels.
    """

    name: str
    state: str


class DetectionDataset(ABC):
    """Images and their boxes, by position. Subclass it to read a format of your own.

    Attributes:
        class_names: Names of the classes; a label is a position in it.
    """

    class_names: tuple[str, ...]

    @abstractmethod
    def __len__(self) -> int:
        """Number of images."""

    @abstractmethod
    def path(self, index: int) -> str:
        """File of an image, or a stable name for images that are no file."""

    @abstractmethod
    def image_size(self, index: int) -> tuple[int, int]:
        """Original size (height, width) in pixels after EXIF orientation; does not decode the image."""

    @abstractmethod
    def annotations(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """Boxes (n, 4) xyxy in pixels of the original image, and labels (n,); does not decode the image."""

    def outlines(self, index: int) -> list[npt.NDArray[np.float32]]:
        """Outline of each box of an image, (k, 2) points xy in pixels of the original image; does not decode the image.

        An object that is labelled by its box alone has an empty outline (0, 2). By default all have.
        """
        return [np.zeros((0, 2), np.float32) for _ in self.annotations(index)[1]]

    @abstractmethod
    def read_image(self, index: int, long_side: int | None = None) -> npt.NDArray[np.uint8]:
        """Decodes an image, RGB (H, W, 3). Several threads may do so at once, which fill the image cache.

        Args:
            index: Position of the image.
            long_side: If given, the decoder may return a smaller image of the same content, as long as its longer
                side is at least this many pixels. None asks for the original size.
        """

    def identity(self) -> DatasetIdentity | None:
        """What the images are told by in later runs, which may then use the same disk cache; None, if by nothing."""
        return None

    def without_labels(self) -> DetectionDataset:
        """The same images for prediction, where labels do not count; by default itself."""
        return self

    def left_out(self) -> Sequence[Problem]:
        """What is wrong with the files that are left out; by default none is."""
        return ()

    def __getitem__(self, index: int) -> Sample:
        """The image at its original size, with its labels."""
        boxes, labels = self.annotations(index)
        info = ImageInfo(self.path(index), index, self.image_size(index))
        return Sample(self.read_image(index), boxes.copy(), labels.copy(), info)


@runtime_checkable  # lets the command line check classes named in YAML
class SampleTransform(Protocol):
    """Makes the sample of a key, a pure function of (data set, key): no other state, no global random numbers."""

    def __call__(self, dataset: DetectionDataset, key: SampleKey) -> Sample:
        """The sample at ``key.index`` on a canvas of ``key.canvas`` pixels."""
