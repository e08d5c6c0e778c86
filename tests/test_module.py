"""The recipe: what Lightning makes of it is what a plain loop does."""

from __future__ import annotations

import copy
import math
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.optim import SGD, AdamW

from tests.runs import assert_same_tensors, load
from yolo_lightning import DetectionDataModule, DetectionModule
from yolo_lightning.callbacks import EMA
from yolo_lightning.data import SyntheticShapes
from yolo_lightning.errors import InputError
from yolo_lightning.losses import YOLOv5Loss
from yolo_lightning.models import PAFPN, CSPDarknet, Detector
from yolo_lightning.ops import NMS
from yolo_lightning.optim import CosineSchedule, LinearSchedule, Schedule, Warmup
from yolo_lightning.types import Batch, Detections

NAMES = SyntheticShapes.class_names
WARMUP = Warmup(epochs=1.5, min_batches=1)
TINY = partial(
    Detector,
    backbone=partial(CSPDarknet, depth_multiple=0.33, width_multiple=0.125),
    neck=partial(PAFPN, depth_multiple=0.33),
)


pytestmark = pytest.mark.usefixtures("one_thread")


def make_data(batch_size: int = 4, train: int = 14, val: int = 5, **options: Any) -> DetectionDataModule:
    dataset = partial(
        SyntheticShapes, num_train_images=train, num_val_images=val, **{"image_size": 64, **options.pop("shapes", {})}
    )
    return DetectionDataModule(
        dataset=dataset, image_size=64, batch_size=batch_size, eval_batch_size=2, num_workers=0, **options
    )


def make_module(**options: Any) -> DetectionModule:
    torch.manual_seed(0)
    return DetectionModule(NAMES, **{"detector": TINY, "nominal_batch_size": 12, "warmup": WARMUP, **options})


def make_trainer(*callbacks: Callback, **options: Any) -> Trainer:
    defaults = {
        "accelerator": "cpu",
        "max_epochs": 3,
        "gradient_clip_val": 10.0,
        "use_distributed_sampler": False,
        "logger": False,
        "enable_checkpointing": any(isinstance(callback, ModelCheckpoint) for callback in callbacks),
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(callbacks=list(callbacks), **{**defaults, **options})


class Record(Callback):
    """What the optimizer is set to at each batch, and the weights, before the average takes their place."""

    def __init__(self) -> None:
        self.settings: list[list[tuple[float, float]]] = []
        self.num_steps: list[int] = []
        self.rates: list[dict[str, float]] = []
        self.weights: dict[str, Tensor] = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        groups = trainer.optimizers[0].param_groups
        self.settings.append([(group["lr"], group.get("momentum", 0.0)) for group in groups])
        self.num_steps.append(trainer.global_step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.weights = copy.deepcopy(pl_module.detector.state_dict())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.rates.append({name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith("lr/")})


class PlainLoop:
    """The recipe written down once more, without Lightning: SGD with YOLOv5's defaults."""

    def __init__(self, detector: Detector, batch_size: int, nominal_batch_size: int, schedule: Schedule) -> None:
        self.detector = detector.to(memory_format=torch.channels_last)
        self.loss = YOLOv5Loss(detector.head, image_size=64)
        self.target = nominal_batch_size / batch_size
        self.schedule = schedule
        norms = [m.weight for m in detector.modules() if isinstance(m, nn.BatchNorm2d)]
        biases = [p for name, p in detector.named_parameters() if name.endswith("bias")]
        known = {id(p) for p in (*norms, *biases)}
        weights = [p for p in detector.parameters() if id(p) not in known]
        decay = 0.0005 * batch_size * max(1, round(self.target)) / nominal_batch_size
        groups = [{"params": biases}, {"params": weights, "weight_decay": decay}, {"params": norms}]
        self.optimizer = SGD(groups, lr=0.01, momentum=0.937, nesterov=True)
        self.parameters = [*biases, *weights, *norms]
        self.average = copy.deepcopy(detector.state_dict())
        self.settings: list[list[tuple[float, float]]] = []
        self.num_steps: list[int] = []

    def fit(self, data: DetectionDataModule, num_epochs: int) -> None:
        data.setup("fit")
        loader = data.train_dataloader()
        self.detector.train()
        for epoch in range(num_epochs):
            loader.batch_sampler.set_epoch(epoch)
            last_step = epoch * len(loader) - 1
            for position, batch in enumerate(loader):
                counter = epoch * len(loader) + position
                accumulate = self.set_rates(counter, len(loader), self.schedule.factor(epoch, num_epochs))
                self.backward(batch)
                if counter - last_step >= accumulate or position == len(loader) - 1:
                    self.step()
                    last_step = counter
                self.num_steps.append(self.num_steps_taken)

    num_steps_taken = 0

    def set_rates(self, counter: int, batches_per_epoch: int, factor: float) -> int:
        warmup_batches = max(round(1.5 * batches_per_epoch), 1)
        progress = min(counter / warmup_batches, 1.0)
        for position, group in enumerate(self.optimizer.param_groups):
            start = 0.1 if position == 0 else 0.0
            group["lr"] = start + (0.01 * factor - start) * progress if progress < 1 else 0.01 * factor
            group["momentum"] = 0.8 + (0.937 - 0.8) * progress if progress < 1 else 0.937
        self.settings.append([(group["lr"], group["momentum"]) for group in self.optimizer.param_groups])
        return max(1, round(1 + (self.target - 1) * progress))

    def backward(self, batch: Batch) -> None:
        images = batch.images.contiguous(memory_format=torch.channels_last).float() / 255
        terms = self.loss(self.detector(images), batch)
        (sum(terms.values()) * len(batch.images)).backward()

    def step(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.parameters, 10.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.num_steps_taken += 1
        decay = 0.9999 * (1 - math.exp(-self.num_steps_taken / 2000))
        for name, value in self.detector.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)


@pytest.mark.parametrize(
    ("batch_size", "nominal_batch_size", "schedule", "num_steps"),
    [
        # Batches of an epoch: 4, 4, 4, 2. Accumulation grows over 6 batches from 1 to 3.
        (4, 12, LinearSchedule(), 7),
        # More than an epoch has: only its last batch steps, when the warm-up is over.
        (4, 64, CosineSchedule(0.2), 4),
        # No accumulation, and the only batch of an epoch is the last.
        (14, 14, LinearSchedule(), 3),
    ],
)
def test_fit_is_a_plain_loop(batch_size: int, nominal_batch_size: int, schedule: Schedule, num_steps: int):
    """Equal to the last bit: rates, momentum, steps, clipped gradients, accumulation, weights and their average."""
    module = make_module(nominal_batch_size=nominal_batch_size, lr_scheduler=schedule)
    loop = PlainLoop(copy.deepcopy(module.detector), batch_size, nominal_batch_size, schedule)
    loop.fit(make_data(batch_size), 3)

    record = Record()
    trainer = make_trainer(EMA(), record)
    trainer.fit(module, datamodule=make_data(batch_size))

    assert torch.tensor(record.settings).allclose(torch.tensor(loop.settings), rtol=1e-12)
    assert record.num_steps == loop.num_steps
    assert_same_tensors(record.weights, loop.detector.state_dict())
    assert_same_tensors(module.detector.state_dict(), loop.average)
    assert trainer.global_step == num_steps
    assert trainer.accumulate_grad_batches == 1


def test_an_epoch_ends_in_a_step_and_leaves_nothing_to_the_next():
    record = Record()
    make_trainer(record, max_epochs=4).fit(make_module(nominal_batch_size=12), datamodule=make_data(4))
    steps = [after - before for before, after in pairwise([0, *record.num_steps])]
    epochs = [steps[begin : begin + 4] for begin in range(0, 16, 4)]
    assert all(epoch[-1] == 1 for epoch in epochs)
    assert epochs[2:] == [[0, 0, 1, 1]] * 2


def test_learning_rates_are_logged():
    record = Record()
    make_trainer(record).fit(make_module(), datamodule=make_data())
    (rates,) = record.rates
    assert list(rates) == ["lr/bias", "lr/weight", "lr/norm"]
    assert list(rates.values()) == pytest.approx([lr for lr, _ in record.settings[-1]], rel=1e-6)


def test_a_schedule_needs_an_end():
    with pytest.raises(ValueError, match="max_epochs must be positive"):
        make_trainer(max_epochs=-1, max_steps=1).fit(make_module(), datamodule=make_data())


# -------------------------------------------------------------------------------------------------- evaluation


def test_validation_loss_is_the_mean_over_batches():
    module, data = make_module(), make_data()
    (measured,) = make_trainer().validate(module, datamodule=data, verbose=False)
    module.eval()
    losses = []
    for batch in data.val_dataloader():
        images = batch.images.contiguous(memory_format=torch.channels_last).float() / 255
        with torch.inference_mode():
            losses.append(module.loss(module.detector(images), batch))
    assert [len(batch) for batch in data.val_dataloader()] == [2, 2, 1]
    for name in ("box", "objectness", "classification"):
        mean = sum(float(loss[name]) for loss in losses) / 3
        assert measured[f"val/loss_{name}"] == pytest.approx(mean, rel=1e-6)
    parts = sum(measured[f"val/loss_{name}"] for name in ("box", "objectness", "classification"))
    assert measured["val/loss"] == pytest.approx(parts, rel=1e-6)


def test_validation_and_test_log_the_same_figures():
    module, data, trainer = (
        make_module(postprocess=partial(NMS, confidence_threshold=1e-5)),
        make_data(),
        make_trainer(),
    )
    data._datasets["test"] = data.dataset("val")
    (validated,) = trainer.validate(module, datamodule=data, verbose=False)
    (tested,) = trainer.test(module, datamodule=data, verbose=False)
    assert {name.removeprefix("test/"): value for name, value in tested.items()} == {
        name.removeprefix("val/"): value for name, value in validated.items()
    }
    wanted = {"loss", "map", "map_50", "yolov5_map", "yolov5_map_50", "precision", "recall", "fitness"}
    assert {f"val/{name}" for name in wanted} <= set(validated)
    # the parts that are no scalars are kept for tables and plots
    assert module.results["confusion_matrix"].shape == (len(NAMES) + 1, len(NAMES) + 1)


@pytest.mark.parametrize("command", ["validate", "test"])
def test_classes_are_taken_together(command: str):
    module = make_module(postprocess=partial(NMS, confidence_threshold=1e-5))
    evaluate = getattr(make_trainer(), command)
    (plain,) = evaluate(module, datamodule=make_data(), verbose=False)
    (measured,) = evaluate(module, datamodule=make_data(single_class=True), verbose=False)
    assert set(plain) - set(measured) == {name for name in plain if "loss" in name}
    data = make_data(single_class=True)
    data.setup("test")
    assert module.evaluation is not None
    assert module.evaluation.num_classes == 1
    batches = list(data.test_dataloader() if command == "test" else data.val_dataloader())
    assert len(module.evaluation.target_labels) == sum(len(batch.labels) for batch in batches)
    # what suppression over all classes leaves, whatever it is
    agnostic = NMS(confidence_threshold=1e-5, class_agnostic=True)
    with torch.inference_mode():
        images = [batch.images.contiguous(memory_format=torch.channels_last).float() / 255 for batch in batches]
        found = [each for batch in images for each in agnostic(*module.eval().detector.decode(module.detector(batch)))]
    order = [info.index for batch in batches for info in batch.infos]
    scores = [found[order.index(image)].scores for image in range(len(order))]
    assert module.evaluation.scores.tolist() == pytest.approx(torch.cat(scores).tolist(), rel=1e-5)
    # and it is forgotten afterwards
    (again,) = evaluate(module, datamodule=make_data(), verbose=False)
    assert again == plain
    assert module.class_names == NAMES


@pytest.mark.parametrize("command", ["fit", "predict"])
def test_classes_are_not_taken_together_elsewhere(command: str):
    with pytest.raises(InputError, match=r"single_class takes all .* 5 \[circle.*only validate and test"):
        getattr(make_trainer(), command)(make_module(), datamodule=make_data(single_class=True))


@pytest.mark.parametrize("option", [{"confidence_threshold": [0.1] * 5}, {"classes": [1]}])
def test_classes_cannot_be_told_apart_and_taken_together(option: dict[str, Any]):
    module = make_module(postprocess=partial(NMS, **option))
    with pytest.raises(InputError, match=f"postprocess.{next(iter(option))} tells classes apart"):
        make_trainer().validate(module, datamodule=make_data(single_class=True), verbose=False)


def test_predictions_are_in_original_pixels():
    module, data = (
        make_module(postprocess=partial(NMS, confidence_threshold=1e-6, max_detections=5)),
        make_data(shapes={"image_size": (96, 160)}),
    )
    predictions = make_trainer().predict(module, datamodule=data)
    module.eval()
    assert predictions is not None
    for batch, found in zip(data.val_dataloader(), predictions, strict=True):
        with torch.inference_mode():
            canvas = module(batch.images.contiguous(memory_format=torch.channels_last).float() / 255)
        for on_canvas, on_image, info in zip(canvas, found, batch.infos, strict=True):
            assert isinstance(on_image, Detections)
            # 160 pixels of the picture are 64 of the canvas, whose sides rectangular batches have enlarged
            height, width = batch.size
            shift = torch.tensor([width / 2, height / 2, width / 2, height / 2])
            centre = torch.tensor([80.0, 48.0, 80.0, 48.0])
            boxes = (on_canvas.boxes - shift) * 2.5 + centre
            limits = torch.tensor([160.0, 96.0, 160.0, 96.0])
            assert torch.allclose(on_image.boxes, boxes.clamp(torch.zeros(4), limits), atol=0.7)
            assert torch.equal(on_image.scores, on_canvas.scores)
            assert len(on_image) > 0
            assert info.original_size == (96, 160)


# -------------------------------------------------------------------------------------------------- class names


@pytest.mark.parametrize("names", [None, [], ()])
def test_no_class_names(names: Any):
    with pytest.raises(ValueError, match="class_names is empty"):
        DetectionModule(names, detector=TINY)


@pytest.mark.parametrize("run", ["fit", "validate"])
def test_another_number_of_classes(run: str):
    module = DetectionModule(["cat", "dog"], detector=TINY)
    with pytest.raises(
        ValueError, match=r"network has 2 classes \[cat, dog\] but the data has 5 \[circle.*--model.weights"
    ):
        getattr(make_trainer(), run)(module, datamodule=make_data())


def test_other_class_names_are_warned_of():
    module = DetectionModule(["circle", "square", "triangle", "star", "plus"], detector=TINY)
    with pytest.warns(UserWarning, match="names of network and data differ: 'plus' is 'cross'"):
        make_trainer().validate(module, datamodule=make_data(), verbose=False)


# -------------------------------------------------------------------------------------------------- variants


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("channels_last", [True, False])
def test_precision_and_memory_layout(precision: Any, channels_last: bool):
    module = make_module(channels_last=channels_last, postprocess=partial(NMS, confidence_threshold=1e-6))
    seen: list[Batch] = []
    trainer = make_trainer(EMA(), max_epochs=1, precision=precision, limit_train_batches=2)
    original = module.training_step

    def spy(batch: Batch, batch_idx: int) -> Any:
        seen.append(batch)
        return original(batch, batch_idx)

    module.training_step = spy  # type: ignore[method-assign]
    trainer.fit(module, datamodule=make_data())
    wanted = torch.bfloat16 if precision == "bf16-true" else torch.float32
    assert {batch.images.dtype for batch in seen} == {wanted}
    assert all(batch.images.is_contiguous(memory_format=torch.channels_last) is channels_last for batch in seen)
    assert 0 <= min(float(batch.images.min()) for batch in seen) < max(float(batch.images.max()) for batch in seen) <= 1
    kernel = module.detector.backbone.stages[0][0].conv.weight
    assert kernel.dtype == wanted
    assert kernel.is_contiguous(memory_format=torch.channels_last) is channels_last
    assert all(math.isfinite(float(value)) for value in trainer.callback_metrics.values())
    assert all(bool(parameter.isfinite().all()) for parameter in module.parameters())


def test_images_without_labels():
    module = make_module()
    before = copy.deepcopy(module.detector.state_dict())
    trainer = make_trainer(max_epochs=1)
    trainer.fit(module, datamodule=make_data(shapes={"num_objects": (0, 0)}))
    assert trainer.callback_metrics["train/loss_box"] == 0
    assert trainer.callback_metrics["train/loss_classification"] == 0
    assert 0 < trainer.callback_metrics["train/loss_objectness"] < math.inf
    assert trainer.callback_metrics["val/fitness"] == 0
    assert not torch.equal(
        module.detector.state_dict()["backbone.stem.conv.weight"], before["backbone.stem.conv.weight"]
    )


def test_any_optimizer():
    """AdamW has no momentum to warm up; its betas stay, and its decay is scaled as SGD's."""
    optimizer = partial(AdamW, lr=1e-3, weight_decay=0.02)
    trainer = make_trainer()
    trainer.fit(make_module(optimizer=optimizer), datamodule=make_data())
    groups = {group["name"]: group for group in trainer.optimizers[0].param_groups}
    assert {name: group["weight_decay"] for name, group in groups.items()} == {"bias": 0, "weight": 0.02, "norm": 0}
    assert all(group["betas"] == (0.9, 0.999) for group in groups.values())


@pytest.mark.parametrize(("batch_size", "factor"), [(4, 1.0), (5, 10 / 12), (14, 14 / 12)])
def test_weight_decay_is_that_of_the_images_of_a_step(batch_size: int, factor: float):
    trainer = make_trainer(max_epochs=1, limit_train_batches=1, limit_val_batches=0)
    trainer.fit(make_module(), datamodule=make_data(batch_size))
    decays = [group["weight_decay"] for group in trainer.optimizers[0].param_groups]
    assert decays == pytest.approx([0, 0.0005 * factor, 0])


# -------------------------------------------------------------------------------------------------- checkpoints


def _is_plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, str | int | float | bool)


def test_a_checkpoint_says_what_the_network_is(tmp_path: Path):
    record = Record()
    checkpoint = ModelCheckpoint(tmp_path, monitor="val/loss", filename="best", save_last=True)
    module = make_module()
    make_trainer(EMA(decay=0.5, ramp=1), record, checkpoint, max_epochs=2).fit(module, datamodule=make_data())
    content = load(tmp_path / "last.ckpt")
    settings = content["hyper_parameters"]
    assert _is_plain(settings)
    assert set(settings) == {"_class_path", "class_names", "detector"}
    assert settings["_class_path"] == "yolo_lightning.module.DetectionModule"
    assert settings["class_names"] == list(NAMES)
    # the average is the checkpoint's weights, those that are trained lie beside it
    own = {f"detector.{name}": value for name, value in module.detector.state_dict().items()}
    assert_same_tensors(content["state_dict"], own)
    trained = {f"detector.{name}": value for name, value in record.weights.items()}
    assert_same_tensors(content["current_model_state"], trained)
    assert not torch.equal(
        content["state_dict"]["detector.backbone.stem.conv.weight"], trained["detector.backbone.stem.conv.weight"]
    )
    assert (tmp_path / "best.ckpt").is_file()
