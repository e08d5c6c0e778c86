"""A data set of given arrays."""

import numpy as np

from yolo_lightning.data.base import DetectionDataset


class Pictures(DetectionDataset):
    """Images in memory with their boxes and, if given, outlines; labels count up over the whole set."""

    def __init__(self, images, boxes=None, outlines=None):
        self.images = images
        self.all_outlines = outlines
        self.boxes = boxes or [np.zeros((0, 4), np.float32)] * len(images)
        starts = np.cumsum([0, *[len(rows) for rows in self.boxes]])
        self.labels = [np.arange(start, start + len(rows)) for start, rows in zip(starts, self.boxes, strict=False)]
        self.class_names = tuple(f"class {number}" for number in range(max(1, starts[-1])))

    def __len__(self):
        return len(self.images)

    def path(self, index):
        return f"picture {index}"

    def image_size(self, index):
        return self.images[index].shape[:2]

    def annotations(self, index):
        return self.boxes[index], self.labels[index]

    def outlines(self, index):
        return super().outlines(index) if self.all_outlines is None else self.all_outlines[index]

    def read_image(self, index, long_side=None):
        return self.images[index]
