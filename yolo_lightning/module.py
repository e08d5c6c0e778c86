"""The training recipe of YOLOv5 as a LightningModule: steps, optimizer, schedule; one path for validation and test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self, TypedDict

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, Optimizer

from yolo_lightning.errors import InputError
from yolo_lightning.losses import YOLOv5Loss
from yolo_lightning.metrics import DetectionMetrics, EvaluationData
from yolo_lightning.models import (
    Detector,
    Head,
    Inference,
    compile_detector,
    describe,
    detector_from_weights,
    load_weights,
)
from yolo_lightning.ops import NMS, to_original
from yolo_lightning.optim import LinearSchedule, Schedule, Warmup, parameter_groups, scale_weight_decay
from yolo_lightning.runtimes import ExportedDetector, is_exported, load_exported
from yolo_lightning.types import Batch, Detections

__all__ = ["DetectionModule", "EvaluationOutput"]

# "Do not step": far more batches than any epoch has. A power of two, so that multiplying the loss by it, which undoes
# Lightning's division, changes no bit.
_NEVER = 2**30


class EvaluationOutput(TypedDict):
    """What a validation or test step hands to callbacks.

    Attributes:
        detections: One for each image, in pixels of the batch's images.
    """

    detections: list[Detections]


class DetectionModule(LightningModule):
    """Trains and evaluates a detector with the recipe of YOLOv5.

    Validation and test on data of a single class (``data.single_class``) take all classes of the network as that one,
    as YOLOv5's ``val.py --single-cls`` does. Losses are not logged then: those of the classes would compare what the
    network was trained to tell apart with labels that do not. Nor are they of an exported network, which answers with
    boxes.

    Args:
        class_names: Names of the classes, in the order of the labels. The command line fills in the data's.
        detector: Makes the network for a number of classes.
        loss: Makes the loss for the network's head.
        postprocess: Turns the network's boxes into detections in validation, test and prediction.
        inference: How validation, test and prediction look at images and join the boxes of several networks:
            ``--model.inference.augmentation TestTimeAugmentation``, ``--model.inference.slices.size 640``,
            ``--model.inference.fusion WeightedBoxesFusion``.
        ensemble: Files of further networks that validate, test and predict together with this one: published YOLOv5
            ``.pt`` of any size, our checkpoints, or safetensors, all of the same classes.
        optimizer: Makes the optimizer for the three parameter groups (bias, weight, norm). Its weight decay is that of
            the nominal batch and is scaled to the batch in use.
        lr_scheduler: Learning rate over the epochs, after the warm-up.
        warmup: Growth of learning rate, momentum and accumulation over the first batches.
        nominal_batch_size: Gradients of smaller batches are accumulated to about this many images.
        weights: File to start from: a published YOLOv5 ``.pt``, one of our checkpoints, or safetensors. What fits by
            name and shape is transferred. To validate, test and predict it may be an exported file (``.onnx``,
            ``_openvino_model``, ``.torchscript``, ``.pt2``), which then takes the place of ``detector``.
        channels_last: Keep images and weights in the memory layout that convolutions run fastest in.
        compile: Compile the network with ``torch.compile`` when it first runs. Names of weights stay as they are; when
            the image size changes, it is compiled once more, for all sizes.

    Raises:
        ValueError: If there are no class names, or the weights do not fit.
    """

    def __init__(
        self,
        class_names: Sequence[str] | None = None,
        detector: Callable[[int], Detector] = Detector,
        loss: Callable[[Head], YOLOv5Loss] = YOLOv5Loss,
        postprocess: Callable[[], NMS] = NMS,
        inference: Callable[[Sequence[Detector], NMS], Inference] = Inference,
        ensemble: Sequence[str] = (),
        optimizer: Callable[[Iterable[Any]], Optimizer] = lambda p: SGD(
            p, lr=0.01, momentum=0.937, weight_decay=0.0005, nesterov=True
        ),
        lr_scheduler: Schedule = LinearSchedule(),
        warmup: Warmup = Warmup(),
        nominal_batch_size: int = 64,
        weights: str | None = None,
        channels_last: bool = True,
        compile: bool = False,  # noqa: A002
    ) -> None:
        super().__init__()
        if not class_names:
            raise ValueError("class_names is empty: give the names of the classes, in the order of the labels")
        if nominal_batch_size < 1:
            raise ValueError(f"nominal_batch_size must be positive, got {nominal_batch_size}")
        self.class_names = tuple(class_names)
        self.postprocess = postprocess()
        exported = weights is not None and is_exported(weights)
        self.detector = load_exported(str(weights)) if exported else detector(len(self.class_names))
        self.is_exported = isinstance(self.detector, ExportedDetector)
        if isinstance(self.detector, ExportedDetector):
            self._check_fits(self.detector)
        else:
            self.loss = loss(self.detector.head)
        self.metrics = DetectionMetrics(self.class_names)
        self.optimizer_factory = optimizer
        self.schedule = lr_scheduler
        self.warmup = warmup
        self.nominal_batch_size = nominal_batch_size
        self.channels_last = channels_last
        self._last_step = -1
        self._saved_max_epochs: int | None = None
        self._batch_losses: list[tuple[int, dict[str, Tensor]]] = []
        if weights is not None and not self.is_exported:
            rank_zero_info(str(load_weights(self.detector, weights)))
        if channels_last:
            self.detector.to(memory_format=torch.channels_last)
        if compile and not self.is_exported:
            compile_detector(self.detector)
        # In a tuple, so that they are no part of this module, nor of its checkpoints.
        self._others = tuple(self._load_other(path, compile) for path in ensemble)
        self.inference = inference([self.detector, *self._others], self.postprocess)

    def forward(self, images: Tensor) -> list[Detections]:
        """Detects in (B, 3, H, W) floating-point RGB images in 0…1; boxes in pixels of these images."""
        return self.inference(images)

    def _check_fits(self, detector: ExportedDetector) -> None:
        """Makes sure that an exported network can be evaluated here."""
        detector.check_postprocess(self.postprocess)
        names = detector.contract.class_names
        if len(names) != len(self.class_names):
            raise InputError(
                f"the exported network knows {len(names)} classes {_shorten(names)}, but the data has "
                f"{len(self.class_names)} {_shorten(self.class_names)}: use the data that it was trained on"
            )
        _warn_of_names(names, self.class_names, "data")

    def _load_other(self, path: str, compiled: bool) -> Detector:
        """A network of the ensemble."""
        detector, names = detector_from_weights(path)
        if names is not None and len(names) == len(self.class_names):
            _warn_of_names(self.class_names, names, path)
        if self.channels_last:
            detector.to(memory_format=torch.channels_last)
        if compiled:
            compile_detector(detector)
        return detector.eval().requires_grad_(False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Takes the ensemble to where this module goes."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        for detector in self._others:
            detector._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    # ---------------------------------------------------------------------------------------------- set-up

    def setup(self, stage: str) -> None:
        """Checks the data against the network and tells the loss the image size.

        Raises:
            InputError: If the data has another number of classes than the network, or sides that do not suit it, or an
                ensemble is to be trained, or a network of several classes on data of a single one.
        """
        if stage == "fit" and self._others:
            raise InputError(
                "model.ensemble is for validate, test and predict: networks are trained one by one. Leave it out, or "
                "start from one of the files with `--model.weights`"
            )
        data = getattr(self.trainer, "datamodule", None)
        names = getattr(data, "class_names", None)
        single_class = bool(getattr(data, "single_class", False)) and len(self.class_names) > 1
        self._set_single_class(tuple(names) if single_class and names is not None else None, stage)
        if names is not None and not self.inference.single_class:
            self._check_class_names(tuple(names))
        image_size = getattr(data, "image_size", None)
        if self.is_exported:
            self._check_exported(stage, data)
        elif image_size is not None:
            self.loss.image_size = image_size
        coarsest, stride = self.inference.stride, getattr(data, "stride", None)
        if stride is not None and stride % coarsest:
            raise InputError(
                f"the network needs images whose sides are multiples of {coarsest}, but data.stride is {stride}: "
                f"use --data.stride {coarsest}"
            )

    def _check_exported(self, stage: str, data: Any) -> None:
        """Makes sure that the images are those that an exported network takes."""
        assert isinstance(self.detector, ExportedDetector)
        if stage == "fit":
            raise InputError("an exported network cannot be trained: give the weights that it was exported from")
        fixed = self.detector.fixed_size
        if fixed is None or (size := getattr(data, "image_size", None)) is None:
            return
        if getattr(data, "rectangular", False) or _as_size(size) != fixed:
            raise InputError(
                f"the network is exported for images of {fixed[0]}×{fixed[1]} pixels alone: evaluate with "
                f"`--data.rectangular false --data.image_size [{fixed[0]},{fixed[1]}]`, or export it with --dynamic"
            )

    def _set_single_class(self, names: tuple[str, ...] | None, stage: str) -> None:
        """Takes all classes as the one of the data, or each as its own if that is None."""
        if names is not None and stage not in {"validate", "test"}:
            raise InputError(
                f"data.single_class takes all objects as one class, but the network has {len(self.class_names)} "
                f"{_shorten(self.class_names)}, which only validate and test take together: leave it out, or train a "
                "network of one class with `fit --data.single_class true --model.weights <checkpoint>`"
            )
        nms = self.postprocess
        if names is not None and isinstance(nms, NMS):
            for name, value in {"confidence_threshold": nms.confidence_threshold, "classes": nms.classes}.items():
                if isinstance(value, tuple):
                    raise InputError(
                        f"model.postprocess.{name} tells classes apart, which data.single_class takes as one: leave "
                        "one of the two out"
                    )
        self.inference.single_class = names is not None
        if self.metrics.class_names != (names or self.class_names):
            self.metrics = DetectionMetrics(names or self.class_names)

    def _check_class_names(self, names: tuple[str, ...]) -> None:
        if len(names) != len(self.class_names):
            raise InputError(
                f"the network has {len(self.class_names)} classes {_shorten(self.class_names)} but the data has "
                f"{len(names)} {_shorten(names)}; use the data the network was trained on, or train on this data "
                "with `fit --model.weights <checkpoint>`"
            )
        _warn_of_names(self.class_names, names, "data")

    def configure_optimizers(self) -> Optimizer:
        """Makes the optimizer; its weight decay is scaled to the images that a step sees."""
        optimizer = self.optimizer_factory(parameter_groups(self.detector))
        scale_weight_decay(optimizer, self.total_batch_size * self.accumulate / self.nominal_batch_size)
        return optimizer

    @property
    def total_batch_size(self) -> int:
        """Images in a batch of all processes together; the nominal one if the data does not say."""
        return int(getattr(getattr(self.trainer, "datamodule", None), "batch_size", self.nominal_batch_size))

    @property
    def accumulate(self) -> int:
        """Batches of an optimizer step after the warm-up."""
        return max(1, round(self.nominal_batch_size / self.total_batch_size))

    # ---------------------------------------------------------------------------------------------- training

    def on_train_start(self) -> None:
        """Refuses a run without an end, for which the schedule is not defined; says how a longer one goes on."""
        if not self.trainer.max_epochs or self.trainer.max_epochs < 1:
            raise InputError("trainer.max_epochs must be positive: the learning-rate schedule spans it")
        if self._saved_max_epochs not in (None, self.trainer.max_epochs):
            rank_zero_info(self._changed_schedule(self._saved_max_epochs, self.trainer.max_epochs))
        self._saved_max_epochs = None

    def _changed_schedule(self, before: int, now: int) -> str:
        """What a resumed run of another length says. The schedule is a function of epoch and length alone."""
        epoch = self.current_epoch
        old, new = (self.schedule.factor(min(epoch, length), length) for length in (before, now))
        return (
            f"trainer.max_epochs is {now} instead of {before}: from epoch {epoch} the learning rate follows the "
            f"schedule of {now} epochs, so that it goes on at {new:.3g} of the initial rate instead of {old:.3g}"
        )

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Sets rate, momentum and whether this batch ends in an optimizer step, from the batch counter."""
        batches_per_epoch = int(self.trainer.num_training_batches)
        first = self.current_epoch * batches_per_epoch
        counter = first + batch_idx
        factor = self.schedule.factor(self.current_epoch, self.trainer.max_epochs or 1)
        self.warmup.apply(self._optimizer, counter, batches_per_epoch, factor)
        target = self.nominal_batch_size / self.total_batch_size
        accumulate = self.warmup.accumulate(counter, batches_per_epoch, target)
        # An epoch's last batch always steps, so at its first batch nothing is left from the epoch before.
        steps = counter - max(self._last_step, first - 1) >= accumulate
        self.trainer.accumulate_grad_batches = 1 if steps else _NEVER

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Loss of a batch. Scaled by the images of all processes, since gradients are averaged over these."""
        terms = self.loss(self.detector(batch.images), batch)
        total = torch.stack(list(terms.values())).sum()
        logged = {f"train/loss_{name}": value.detach() for name, value in terms.items()}
        logged["train/loss"] = total.detach()
        self.log_dict(logged, on_step=False, on_epoch=True, batch_size=len(batch), sync_dist=True)
        scale = batch.num_samples * self.trainer.world_size * self.trainer.accumulate_grad_batches
        return {"loss": total * scale, "terms": torch.stack([value.detach() for value in terms.values()])}

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Does nothing: gradients accumulate until a step, which zeroes them."""

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        """Steps and starts the next accumulation; also when a scaler of fp16 skips the step, as YOLOv5 does."""
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        optimizer.zero_grad()
        self._last_step = epoch * int(self.trainer.num_training_batches) + batch_idx

    def on_train_epoch_end(self) -> None:
        """Logs the learning rates and the momentum at the end of the epoch."""
        for group in self._optimizer.param_groups:
            self.log(f"lr/{group.get('name', 'all')}", group["lr"])
        group = self._optimizer.param_groups[0]  # all have the same
        if momentum := group.get("momentum") or group.get("betas", (0.0,))[0]:
            self.log(f"momentum/{group.get('name', 'all')}", momentum)

    def on_train_end(self) -> None:
        """Leaves the trainer as it was."""
        self.trainer.accumulate_grad_batches = 1

    @property
    def _optimizer(self) -> Optimizer:
        return self.trainer.optimizers[0]

    # ---------------------------------------------------------------------------------------------- evaluation

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Scales images to 0…1 on the device, where it costs least."""
        if batch.images.dtype == torch.uint8:
            layout = torch.channels_last if self.channels_last else torch.contiguous_format
            batch.images = batch.images.to(self.dtype, memory_format=layout).div_(255)
        return batch

    def on_validation_epoch_start(self) -> None:
        """Shares the first process's buffers.

        DDP does so with the first batch, and would wait forever for a process that has none.
        """
        wrapper = self.trainer.strategy.model
        if isinstance(wrapper, DistributedDataParallel):
            for buffer in self.buffers():
                torch.distributed.broadcast(buffer, src=0)
            wrapper.require_forward_param_sync = False

    def validation_step(self, batch: Batch, batch_idx: int) -> EvaluationOutput:
        """Collects losses and detections of a batch."""
        return self._evaluation_step(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> EvaluationOutput:
        """Collects losses and detections of a batch."""
        return self._evaluation_step(batch)

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Detections]:
        """Detections of each image, in pixels of the original image."""
        return _in_originals(self(batch.images), batch)

    def on_validation_epoch_end(self) -> None:
        """Logs the figures of the validation."""
        self._log_evaluation("val")

    def on_test_epoch_end(self) -> None:
        """Logs the figures of the test."""
        self._log_evaluation("test")

    def _evaluation_step(self, batch: Batch) -> EvaluationOutput:
        trainer: Any = self.trainer  # whose profiler its type does not know
        with trainer.profiler.profile(f"[LightningModule]{type(self).__qualname__}.inference"):
            raw = self.detector(batch.images)
            detections = self.inference(batch.images, raw)
        if not (self.inference.single_class or self.is_exported):
            # The first image tells which batch this is, on any number of processes.
            self._batch_losses.append((batch.infos[0].index, self.loss(raw, batch)))
        targets = []
        for position, info in enumerate(batch.infos):
            own = batch.image_index == position
            targets.append({"boxes": to_original(batch.boxes[own], info), "labels": batch.labels[own]})
        originals = _in_originals(detections, batch)
        self.metrics.update(originals, targets, image_ids=[info.index for info in batch.infos])
        return {"detections": detections}

    def _log_evaluation(self, prefix: str) -> None:
        results = self.metrics.compute()
        self.evaluation = self.metrics.evaluated
        losses = self._mean_losses()
        self.metrics.reset()
        self._batch_losses.clear()
        scalars = {name: value for name, value in results.items() if isinstance(value, float)}
        self.log_dict({f"{prefix}/{name}": value for name, value in {**losses, **scalars}.items()})
        self.results = results

    results: dict[str, Any]
    """All figures of the last evaluation, those of single classes and the curves included."""
    evaluation: EvaluationData | None
    """The detections and labels of the last evaluation, of all processes."""

    def _mean_losses(self) -> dict[str, float]:
        """Mean over the batches, summed in one order whatever process had which batch."""
        rows = [(index, {name: float(value) for name, value in terms.items()}) for index, terms in self._batch_losses]
        if self.trainer.world_size > 1:
            gathered: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(gathered, rows)
            rows = [row for part in gathered for row in part]
        rows.sort(key=lambda row: row[0])
        if not rows:
            return {}
        means = {f"loss_{name}": sum(terms[name] for _, terms in rows) / len(rows) for name in rows[0][1]}
        return {"loss": sum(means.values()), **means}

    # ---------------------------------------------------------------------------------------------- checkpoints

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Stores what the network is, in plain values; how it was trained stays in the run's configuration."""
        checkpoint["hyper_parameters"] = {
            "_class_path": f"{type(self).__module__}.{type(self).__qualname__}",
            "class_names": list(self.class_names),
            "detector": describe(self.detector),
        }
        checkpoint["max_epochs"] = self.trainer.max_epochs

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Notes the length of the run that is resumed."""
        self._saved_max_epochs = checkpoint.get("max_epochs")


def _as_size(size: int | Sequence[int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    return height, width


def _in_originals(detections: Sequence[Detections], batch: Batch) -> list[Detections]:
    """Detections in pixels of the original images instead of the batch's."""
    return [
        Detections(to_original(found.boxes, info), found.scores, found.labels)
        for found, info in zip(detections, batch.infos, strict=True)
    ]


def _warn_of_names(names: Sequence[str], others: Sequence[str], whose: str) -> None:
    different = [f"{own!r} is {other!r}" for own, other in zip(names, others, strict=True) if own != other]
    if different:
        rank_zero_warn(f"names of network and {whose} differ: {', '.join(different[:5])} there; labels count by number")


def _shorten(names: Sequence[str], most: int = 5) -> str:
    return "[" + ", ".join(names[:most]) + (", …]" if len(names) > most else "]")
