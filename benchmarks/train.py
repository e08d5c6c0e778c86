"""Images per second of training: a bare loop in float32, the same in bfloat16, and our whole ``fit``, in one run.

    python benchmarks/train.py [DATA]

DATA is a ``data.yaml``; without it, synthetic images are used. yolov5n, 320 px, batch 16. The bare loops train on fixed
tensors: model, loss, backward, SGD. ``fit`` loads cached images, augments them, logs and averages the weights; its
training batches after the first epoch count. Medians of five.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
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

SIZE, BATCH_SIZE, ROUNDS = 320, 16, 5


class BatchClock(Callback):
    """Measures the training batches of each epoch, from the end of its first one to the end of its last."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self._begin = 0.0
        self._images = 0

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Counts the images of a batch."""
        if batch_idx == 0:
            self._begin, self._images = time.perf_counter(), 0
        else:
            self._images += len(batch)
        if batch_idx + 1 == trainer.num_training_batches:
            self.rates.append(self._images / (time.perf_counter() - self._begin))


class BareLoop:
    """The least that training takes."""

    def __init__(self, batch: Batch, num_classes: int, fast: bool) -> None:
        self.detector = yolov5("n", num_classes=num_classes).train()
        self.batch = batch
        self.images = batch.images.float().div(255)
        self.fast = fast
        if fast:
            self.detector.to(memory_format=torch.channels_last)
            self.images = self.images.contiguous(memory_format=torch.channels_last)
        else:
            self.images = self.images.contiguous()
        self.loss = YOLOv5Loss(self.detector.head, image_size=SIZE)
        self.optimizer = SGD(parameter_groups(self.detector), lr=1e-4, momentum=0.9, nesterov=True)

    def images_per_second(self, num_batches: int = 6) -> float:
        """Trains on the batch again and again."""
        begin = time.perf_counter()
        for _ in range(num_batches):
            self.optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.fast):
                raw = self.detector(self.images)
            terms = self.loss(raw, self.batch)
            torch.stack(list(terms.values())).sum().mul(len(self.batch)).backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        return num_batches * len(self.batch) / (time.perf_counter() - begin)


def fit(data: Path | None, num_workers: int) -> list[float]:
    """Images per second of each epoch of our ``fit`` after the first."""
    seed_everything(0, verbose=False)
    module_data = _data(data, num_workers)
    clock = BatchClock()
    module = DetectionModule(module_data.class_names, detector=lambda num_classes: yolov5("n", num_classes))
    trainer = Trainer(
        accelerator="cpu",
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


def _data(path: Path | None, num_workers: int) -> DetectionDataModule:
    common: dict[str, Any] = {
        "image_size": SIZE,
        "batch_size": BATCH_SIZE,
        "num_workers": num_workers,
        "cache": "ram",
    }
    if path is not None:
        return DetectionDataModule(path=path, **common)
    return DetectionDataModule(dataset=SyntheticShapes, **common)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="data.yaml; synthetic images without it")
    parser.add_argument("--workers", type=int, default=1, help="loader processes of fit")
    args = parser.parse_args()

    data = _data(args.data, 0)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    num_classes = len(data.class_names or ())
    loops = {"float32": BareLoop(batch, num_classes, False), "bf16": BareLoop(batch, num_classes, True)}
    for loop in loops.values():
        loop.images_per_second(2)
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(ROUNDS):
        for name, loop in loops.items():
            rates[name].append(loop.images_per_second())
    float32, bf16 = (statistics.median(rates[name]) for name in ("float32", "bf16"))
    whole = statistics.median(fit(args.data, args.workers))

    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    native = [name for name in ("avx512_bf16", "amx_bf16") if capabilities.get(name)]
    print(f"{torch.get_num_threads()} threads; native bfloat16: {', '.join(native) or 'none'}")
    print(f"bare loop, float32                 {float32:7.1f} images/s")
    print(f"bare loop, bf16 + channels-last    {bf16:7.1f} images/s   {bf16 / float32:.2f} × float32")
    print(f"fit, bf16, cached images           {whole:7.1f} images/s   {whole / bf16:.2f} × its bare loop")


if __name__ == "__main__":
    main()
