"""The training of the command line from Python: a small detector on synthetic shapes.

python examples/python_api.py
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from yolo_lightning import DetectionDataModule, DetectionModule
from yolo_lightning.callbacks import EMA
from yolo_lightning.data import SyntheticShapes
from yolo_lightning.models import PAFPN, CSPDarknet, Detector

__all__ = ["train"]


def train(
    directory: Path, max_epochs: int = 20, num_images: int = 512, width_multiple: float = 0.25
) -> dict[str, float]:
    """Trains, then tests the best weights; their figures."""
    seed_everything(0)
    data = DetectionDataModule(dataset=partial(SyntheticShapes, num_train_images=num_images), image_size=160)
    backbone = partial(CSPDarknet, depth_multiple=0.33, width_multiple=width_multiple)
    detector = partial(Detector, backbone=backbone, neck=partial(PAFPN, depth_multiple=0.33))
    module = DetectionModule(data.class_names, detector=detector, nominal_batch_size=16)
    best = ModelCheckpoint(directory, filename="best", monitor="val/fitness", mode="max")
    trainer = Trainer(
        max_epochs=max_epochs,
        gradient_clip_val=10.0,
        use_distributed_sampler=False,  # the data module shares out the images itself
        callbacks=[EMA(), best],
        default_root_dir=directory,
    )
    trainer.fit(module, data)
    return dict(trainer.test(module, data, ckpt_path="best")[0])


if __name__ == "__main__":
    figures = train(Path("runs/python_api"))
    print(f"mAP50 {figures['test/yolov5_map_50']:.3f}, mAP50-95 {figures['test/yolov5_map']:.3f}")
