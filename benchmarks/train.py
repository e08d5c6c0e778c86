"""Images per second of training: a bare loop in float32, the same in bfloat16, and our whole ``fit``, in one run.

    python benchmarks/train.py [DATA] [--device cuda --model s --image-size 640 --batch-size 64 --workers 12]

DATA is a ``data.yaml``; without it, synthetic images are used. By default yolov5n, 320 px, batch 16, on the CPU. The
bare loops train on fixed tensors: model, loss, backward, SGD. ``fit`` loads cached images, augments them, logs and
averages the weights; its training batches after the first epoch count. Medians of five.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer, seed_everything
from torch.optim import SGD

from yolo_lightning.callbacks import EMA
from yolo_lightning.data import DetectionDataModule, SyntheticShapes
from yolo_lightning.losses import YOLOv5Loss
from yolo_lightning.models import yolov5
from yolo_lightning.module import DetectionModule
from yolo_lightning.optim import parameter_groups
from yolo_lightning.types import Batch

__all__ = ["main"]

ROUNDS = 5


@dataclass(frozen=True)
class Setting:
    """What is trained, and on what."""

    data: Path | None
    device: str
    model: str
    image_size: int
    batch_size: int
    workers: int


class BatchClock(Callback):
    """Measures the training batches of each epoch, from the end of its first one to the end of its last."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self._begin = 0.0
        self._images = 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Counts the images of a batch."""
        if batch_idx == 0 or batch_idx + 1 == trainer.num_training_batches:
            _finish(trainer.strategy.root_device)
        if batch_idx == 0:
            self._begin, self._images = time.perf_counter(), 0
        else:
            self._images += len(batch)
        if batch_idx + 1 == trainer.num_training_batches:
            self.rates.append(self._images / (time.perf_counter() - self._begin))


class BareLoop:
    """The least that training takes."""

    def __init__(self, setting: Setting, batch: Batch, num_classes: int, fast: bool) -> None:
        self.device = torch.device(setting.device)
        self.detector = yolov5(setting.model, num_classes=num_classes).to(self.device).train()
        self.batch = batch.to(self.device)
        self.images = self.batch.images.float().div(255)
        self.fast = fast
        if fast:
            self.detector.to(memory_format=torch.channels_last)
            self.images = self.images.contiguous(memory_format=torch.channels_last)
        else:
            self.images = self.images.contiguous()
        self.loss = YOLOv5Loss(self.detector.head, image_size=setting.image_size).to(self.device)
        self.optimizer = SGD(parameter_groups(self.detector), lr=1e-4, momentum=0.9, nesterov=True)

    def images_per_second(self, num_batches: int = 6) -> float:
        """Trains on the batch again and again."""
        _finish(self.device)
        begin = time.perf_counter()
        for _ in range(num_batches):
            self.optimizer.zero_grad()
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.fast):
                raw = self.detector(self.images)
            terms = self.loss(raw, self.batch)
            torch.stack(list(terms.values())).sum().mul(len(self.batch)).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        _finish(self.device)
        return num_batches * len(self.batch) / (time.perf_counter() - begin)


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def fit(setting: Setting) -> list[float]:
    """Images per second of each epoch of our ``fit`` after the first."""
    seed_everything(0, verbose=False)
    module_data = _data(setting, setting.workers)
    clock = BatchClock()
    module = DetectionModule(module_data.class_names, detector=lambda num_classes: yolov5(setting.model, num_classes))
    trainer = Trainer(
        accelerator=setting.device,
        devices=1,
        precision="bf16-mixed",
        max_epochs=ROUNDS + 1,
        callbacks=[EMA(), clock],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        gradient_clip_val=10.0,
        use_distributed_sampler=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        default_root_dir=tempfile.gettempdir(),
    )
    trainer.fit(module, datamodule=module_data)
    return clock.rates[1:]


def _data(setting: Setting, num_workers: int) -> DetectionDataModule:
    common: dict[str, Any] = {
        "image_size": setting.image_size,
        "batch_size": setting.batch_size,
        "num_workers": num_workers,
        "cache": "ram",
    }
    if setting.data is not None:
        return DetectionDataModule(path=setting.data, **common)
    shapes = partial(SyntheticShapes, num_train_images=16 * setting.batch_size)
    return DetectionDataModule(dataset=shapes, **common)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="data.yaml; synthetic images without it")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--model", default="n", help="size of the network: n, s, m, l, x")
    parser.add_argument("--image-size", type=int, default=320, help="pixels")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--workers", type=int, default=1, help="loader processes of fit")
    setting = Setting(**vars(parser.parse_args()))

    data = _data(setting, 0)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    num_classes = len(data.class_names or ())
    loops = {name: BareLoop(setting, batch, num_classes, name == "bf16") for name in ("float32", "bf16")}
    for loop in loops.values():
        loop.images_per_second(2)
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(ROUNDS):
        for name, loop in loops.items():
            rates[name].append(loop.images_per_second())
    float32, bf16 = (statistics.median(rates[name]) for name in ("float32", "bf16"))
    whole = statistics.median(fit(setting))

    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    native = [name for name in ("avx512_bf16", "amx_bf16") if capabilities.get(name)]
    where = f"{torch.get_num_threads()} threads; native bfloat16: {', '.join(native) or 'none'}"
    if setting.device == "cuda":
        where = f"{torch.cuda.get_device_name()}, {setting.workers} workers"
    print(f"yolov5{setting.model}, {setting.image_size} px, batch {setting.batch_size}: {where}")
    print(f"bare loop, float32                 {float32:7.1f} images/s")
    print(f"bare loop, bf16 + channels-last    {bf16:7.1f} images/s   {bf16 / float32:.2f} × float32")
    print(f"fit, bf16, cached images           {whole:7.1f} images/s   {whole / bf16:.2f} × its bare loop")


if __name__ == "__main__":
    main()
