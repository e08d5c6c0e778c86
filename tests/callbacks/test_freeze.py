"""What is frozen does not change by a bit; what is unfrozen learns, in one run or in two halves of it."""

from __future__ import annotations

import copy
import hashlib
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor
from torch.optim import SGD, Adam

from tests.models.test_detector import TinyBackbone
from tests.runs import assert_same_tensors, check_run, load, tiny_config, write_shapes
from yolo_lightning import DetectionDataModule, DetectionModule
from yolo_lightning.callbacks import EMA, Freeze
from yolo_lightning.callbacks.freeze import select_modules
from yolo_lightning.data import SyntheticShapes
from yolo_lightning.errors import InputError
from yolo_lightning.models import PAFPN, CSPDarknet, Detector, YOLOv5Head, yolov5
from yolo_lightning.optim import Warmup

TINY = partial(
    Detector,
    backbone=partial(CSPDarknet, depth_multiple=0.33, width_multiple=0.125),
    neck=partial(PAFPN, depth_multiple=0.33),
)
TWO = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]


def make_data() -> DetectionDataModule:
    dataset = partial(SyntheticShapes, num_train_images=8, num_val_images=2, image_size=64)
    return DetectionDataModule(dataset=dataset, image_size=64, batch_size=4, num_workers=0)


def make_module(**options: Any) -> DetectionModule:
    torch.manual_seed(0)
    optimizer = partial(SGD, lr=0.01, momentum=0.9, weight_decay=5e-4)
    defaults = {"detector": TINY, "nominal_batch_size": 4, "warmup": Warmup(epochs=0), "optimizer": optimizer}
    return DetectionModule(SyntheticShapes.class_names, **{**defaults, **options})


def make_trainer(*callbacks: Callback, **options: Any) -> Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    quiet |= {"enable_checkpointing": False, "use_distributed_sampler": False}
    return Trainer(accelerator="cpu", callbacks=list(callbacks), **{"max_epochs": 2, **quiet, **options})


def hashes(state: dict[str, Tensor]) -> dict[str, str]:
    return {name: hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest() for name, value in state.items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    one, other = hashes(before), hashes(after)
    assert list(one) == list(other)
    return {name for name in one if one[name] != other[name]}


class History(Callback):
    """The tensors of network and average after each epoch, and which parameters then have gradients."""

    def __init__(self, ema: EMA | None = None) -> None:
        self.ema = ema
        self.states: list[dict[str, Tensor]] = []
        self.averages: list[dict[str, Tensor]] = []
        self.training: list[set[str]] = []
        self.groups: list[dict[str, tuple[int, float, float]]] = []
        self.with_state: list[int] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        modules = pl_module.detector.named_modules()
        self.training.append({name for name, module in modules if module.training and name})

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.states.append(copy.deepcopy(pl_module.detector.state_dict()))
        if self.ema is not None:
            self.averages.append(copy.deepcopy(self.ema._averaged.module.detector.state_dict()))
        optimizer = trainer.optimizers[0]
        groups = optimizer.param_groups
        self.groups.append({g["name"]: (len(g["params"]), g["lr"], g["weight_decay"]) for g in groups})
        self.with_state.append(len(optimizer.state))


# -------------------------------------------------------------------------------------------------- which layers


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (0, []),
        ([], []),
        (1, ["backbone.stem"]),
        (3, ["backbone.stem", "backbone.stages.0.0", "backbone.stages.0.1"]),
        ([2], ["backbone.stages.0.1"]),
        ([9, 24], ["backbone.sppf", "head"]),
        # upsampling and concatenation have no tensors
        ([10, 11, 12, 13], ["neck.reduce.0", "neck.top_down.0"]),
        (["backbone", 10], ["backbone", "neck.reduce.0"]),
        (["neck.downsample", "backbone.stem.bn"], ["neck.downsample", "backbone.stem.bn"]),
    ],
)
def test_layers_are_counted_as_published_or_named(layers: Any, expected: list[str]):
    assert select_modules(yolov5("n", num_classes=3), layers) == expected


@pytest.mark.parametrize(("size", "number"), [("n", 10), ("n6", 12)])
def test_the_first_layers_are_the_backbone(size: str, number: int):
    detector = yolov5(size, num_classes=3)
    parameters = [p for name in select_modules(detector, number) for p in detector.get_submodule(name).parameters()]
    assert {id(p) for p in parameters} == {id(p) for p in detector.backbone.parameters()}


@pytest.mark.parametrize("layers", [26, [25], [-1], ["backbne"], ["stem"], ["backbone."], [""], [3, "detector"]])
def test_unknown_layers(layers: Any):
    with pytest.raises(InputError, match=r"freeze\.layers: .* numbers 0…24, names backbone, backbone\.stem, .*head\.m"):
        select_modules(yolov5("n", num_classes=3), layers)


@pytest.mark.parametrize("layers", [1, [3]])
def test_a_backbone_of_one_s_own_has_names_only(layers: Any):
    head = partial(YOLOv5Head, anchors=[[10, 10], [40, 40]])
    detector = Detector(5, backbone=TinyBackbone, head=head)
    assert select_modules(detector, ["backbone"]) == ["backbone"]
    with pytest.raises(InputError, match=r"names backbone, backbone\.convs"):
        select_modules(detector, layers)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": -1}, r"freeze\.layers"),
        ({"layers": 10, "unfreeze_epoch": 0}, r"freeze\.unfreeze_epoch"),
        ({"layers": 10, "unfreeze_lr_factor": 0.0}, r"freeze\.unfreeze_lr_factor"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Freeze(**arguments)


@pytest.mark.parametrize("unfreeze_epoch", [None, 1])
def test_nothing_left_to_train(unfreeze_epoch: int | None):
    with pytest.raises(InputError, match="leaves nothing to train"):
        make_trainer(Freeze(25, unfreeze_epoch)).fit(make_module(), datamodule=make_data())


def test_a_module_without_detector():
    with pytest.raises(InputError, match="has no `detector`"):
        Freeze(1).setup(make_trainer(), LightningModule(), "fit")


# -------------------------------------------------------------------------------------------------- frozen


@pytest.mark.parametrize("layers", [10, ["neck", "backbone.stages.2"], [0, 5, 17]])
@pytest.mark.parametrize("unfreeze_epoch", [None, 2], ids=["for good", "for now"])
def test_no_frozen_tensor_changes(layers: Any, unfreeze_epoch: int | None):
    """Parameters, statistics and counters, in the network and in its average; and all else learns."""
    module, ema = make_module(), EMA(decay=0.5, ramp=1)
    before, history = copy.deepcopy(module.detector.state_dict()), History(ema)
    prefixes = tuple(f"{name}." for name in select_modules(module.detector, layers))
    with torch.random.fork_rng():
        make_trainer(ema, Freeze(layers, unfreeze_epoch), history).fit(module, datamodule=make_data())
    learning = {name for name in before if not name.startswith(prefixes) and name != "head.anchors"}
    for state in (*history.states, *history.averages, module.detector.state_dict()):
        assert changed(before, state) == learning
    assert any("num_batches_tracked" in name for name in learning)
    roots = tuple(prefix.removesuffix(".") for prefix in prefixes)
    for training in history.training:
        assert not any(name.startswith(prefixes) or name in roots for name in training)
        assert {name for name, _ in module.detector.head.named_modules(prefix="head")} <= training
    # gradient and optimizer: nothing of it either
    num_learning = sum(name in learning for name, _ in module.detector.named_parameters())
    assert history.with_state == [num_learning] * 2


def test_frozen_for_good_is_not_in_the_optimizer():
    history = History()
    make_trainer(Freeze(10), history).fit(module := make_module(), datamodule=make_data())
    num_parameters = [len(list(module.detector.get_submodule(part).parameters())) for part in ("neck", "head")]
    assert list(history.groups[0]) == ["bias", "weight", "norm"]
    assert sum(count for count, _, _ in history.groups[0].values()) == sum(num_parameters)


def test_nothing_frozen_is_training_as_ever():
    one, other = make_module(), make_module()
    make_trainer(Freeze()).fit(one, datamodule=make_data())
    make_trainer().fit(other, datamodule=make_data())
    assert_same_tensors(one.state_dict(), other.state_dict())


def test_modes_that_something_else_switches():
    """A validation hook of a user's own puts everything into training mode, in the middle of an epoch too."""

    class Eager(DetectionModule):
        def on_validation_model_train(self) -> None:
            self.train()

    torch.manual_seed(0)
    module = Eager(SyntheticShapes.class_names, detector=TINY, nominal_batch_size=4)
    before, history = copy.deepcopy(module.detector.state_dict()), History()
    make_trainer(Freeze(["backbone"]), history, val_check_interval=1).fit(module, datamodule=make_data())
    assert not any(name.startswith("backbone.") for name in changed(before, history.states[-1]))


def test_batch_norm_that_is_exchanged_after_setup():
    """SyncBatchNorm, which trains on GPUs only, takes its place when DDP is set up."""
    module, freeze, trainer = make_module(), Freeze(["backbone.stem.bn", "neck"]), make_trainer()
    freeze.setup(trainer, module, "fit")
    torch.nn.SyncBatchNorm.convert_sync_batchnorm(module)
    freeze.on_train_batch_start(trainer, module, None, 0)
    norms = [module.detector.backbone.stem.bn, module.detector.neck.reduce[0].bn]
    for norm in norms:
        assert isinstance(norm, torch.nn.SyncBatchNorm)
        assert not norm.training
        assert not norm.weight.requires_grad
    freeze.teardown(trainer, module, "fit")
    assert all(norm.training and norm.weight.requires_grad for norm in norms)


@pytest.mark.parametrize("unfreeze_epoch", [None, 1, 5])
def test_the_module_is_left_as_it_was(unfreeze_epoch: int | None):
    """What the caller froze stays so; what the callback froze learns in the next fit."""
    module = make_module()
    module.detector.backbone.stem.bn.eval()
    module.detector.backbone.stem.requires_grad_(False)
    modes = {name: child.training for name, child in module.detector.named_modules()}
    stem = {name: value.clone() for name, value in module.detector.backbone.stem.state_dict().items()}
    make_trainer(Freeze(["backbone"], unfreeze_epoch)).fit(module, datamodule=make_data())
    trained = {name for name, parameter in module.detector.named_parameters() if parameter.requires_grad}
    assert {name for name, _ in module.detector.named_parameters()} - trained == {
        "backbone.stem.conv.weight", "backbone.stem.bn.weight", "backbone.stem.bn.bias",
    }  # fmt: skip
    assert {name: child.training for name, child in module.detector.named_modules()} == modes
    assert_same_tensors(stem, module.detector.backbone.stem.state_dict())


def test_an_interrupted_fit_leaves_the_module_as_it_was():
    class Stop(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            raise RuntimeError("stop")

    module = make_module()
    with pytest.raises(RuntimeError, match="stop"):
        make_trainer(Freeze(10), Stop()).fit(module, datamodule=make_data())
    assert all(parameter.requires_grad for parameter in module.detector.parameters())
    assert all(child.training for child in module.detector.backbone.modules())


def test_two_fits_are_feature_extraction_and_fine_tuning():
    module = make_module()
    first, second = History(), History()
    start = copy.deepcopy(module.detector.state_dict())
    make_trainer(Freeze(10), first).fit(module, datamodule=make_data())
    make_trainer(second).fit(module, datamodule=make_data())
    assert not any(name.startswith("backbone.") for name in changed(start, first.states[-1]))
    assert "backbone.stem.conv.weight" in changed(start, second.states[-1])
    assert "backbone.stem.bn.num_batches_tracked" in changed(start, second.states[-1])


# -------------------------------------------------------------------------------------------------- unfrozen


@pytest.mark.parametrize("optimizer", [partial(SGD, lr=0.01, momentum=0.9, weight_decay=5e-4), partial(Adam, lr=0.01)])
def test_unfrozen_layers_learn_at_their_own_rate(optimizer: Any):
    module, history = make_module(optimizer=optimizer), History()
    before = copy.deepcopy(module.detector.state_dict())
    freeze = Freeze(["backbone", "neck"], unfreeze_epoch=1, unfreeze_lr_factor=0.1)
    trainer = make_trainer(freeze, history, max_epochs=3)
    trainer.fit(module, datamodule=make_data())
    assert {name.split(".")[0] for name in changed(before, history.states[0])} == {"head"}
    everything = {name for name in before if name != "head.anchors"}
    assert changed(history.states[0], history.states[1]) == everything
    # the head has no norm, so that group is there for later only
    assert list(history.groups[0]) == ["bias", "weight", "bias_unfrozen", "weight_unfrozen", "norm_unfrozen"]
    for groups in history.groups:
        for kind in ("bias", "weight"):
            _, rate, decay = groups[f"{kind}_unfrozen"]
            assert rate == pytest.approx(0.1 * groups[kind][1])
            assert decay == groups[kind][2]
        assert groups["norm_unfrozen"][2] == 0
        assert sum(count for count, _, _ in groups.values()) == len(list(module.detector.parameters()))
    rates = [groups["weight_unfrozen"][1] for groups in history.groups]
    assert rates == pytest.approx([0.001 * factor for factor in (1, 0.67, 0.34)])
    assert float(trainer.callback_metrics["lr/weight_unfrozen"]) == pytest.approx(rates[-1])


def test_the_first_unfrozen_step_is_the_optimizer_s():
    """The step of the weights is -lr × factor × (gradient + decay × weight), as torch computes it."""

    class Note(Callback):
        def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
            weight = pl_module.detector.backbone.sppf.cv1.conv.weight
            self.weight, self.gradient = weight.detach().clone(), None if weight.grad is None else weight.grad.clone()

        def on_train_batch_end(
            self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
        ) -> None:
            if trainer.current_epoch == 0:
                assert self.gradient is None
            elif batch_idx == 0:
                group = next(g for g in trainer.optimizers[0].param_groups if g["name"] == "weight_unfrozen")
                expected = self.weight - 0.005 * 0.5 * (self.gradient + 0.1 * self.weight)
                assert group["weight_decay"] == pytest.approx(0.1)
                torch.testing.assert_close(pl_module.detector.backbone.sppf.cv1.conv.weight.detach(), expected)
                self.checked = True

    note = Note()
    module = make_module(optimizer=partial(SGD, lr=0.01, weight_decay=0.1))
    module.schedule = module.schedule.__class__(final_factor=0.0)
    make_trainer(Freeze(10, unfreeze_epoch=1, unfreeze_lr_factor=0.5), note).fit(module, datamodule=make_data())
    assert note.checked


def test_an_unfreeze_after_the_end_is_said():
    module = make_module()
    before = copy.deepcopy(module.detector.state_dict())
    with pytest.warns(UserWarning, match="unfreeze_epoch 2 is not among the 2 epochs"):
        make_trainer(Freeze(10, unfreeze_epoch=2)).fit(module, datamodule=make_data())
    assert not any(name.startswith("backbone.") for name in changed(before, module.detector.state_dict()))


class Keep(Callback):
    """Saves a checkpoint at the end of each epoch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        trainer.save_checkpoint(self.folder / f"{trainer.current_epoch}.ckpt")


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("optimizer", [partial(SGD, lr=0.01, momentum=0.9, weight_decay=5e-4), partial(Adam, lr=0.01)])
def test_a_resumed_run_is_the_uninterrupted_one(optimizer: Any, tmp_path: Path):
    """Resumed in the frozen epochs, right before the unfreeze, and after it: equal to the last bit."""

    def fit(folder: str, **options: Any) -> dict[str, Any]:
        (tmp_path / folder).mkdir()
        callbacks = EMA(decay=0.5, ramp=1), Freeze(10, 2, 0.3), Keep(tmp_path / folder)
        trainer = make_trainer(*callbacks, max_epochs=4)
        trainer.fit(make_module(optimizer=optimizer), datamodule=make_data(), **options)
        return load(tmp_path / folder / "3.ckpt")

    whole = fit("whole")
    stem = "detector.backbone.stem.conv.weight"
    states = [load(tmp_path / "whole" / f"{epoch}.ckpt")["current_model_state"][stem] for epoch in range(4)]
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[1], states[2])
    for epoch in range(3):
        resumed = fit(f"from {epoch}", ckpt_path=tmp_path / "whole" / f"{epoch}.ckpt", weights_only=True)
        for part in ("state_dict", "current_model_state"):
            assert_same_tensors(whole[part], resumed[part])
        one, other = whole["optimizer_states"][0], resumed["optimizer_states"][0]
        assert one["param_groups"] == other["param_groups"]
        assert one["state"].keys() == other["state"].keys()
        for index, values in one["state"].items():
            assert all(torch.equal(value, other["state"][index][name]) for name, value in values.items())


# -------------------------------------------------------------------------------------------------- two processes


DUMP = {"trainer": {"callbacks": [{"class_path": "tests.callbacks.dump.DumpEpochs"}]}}


@pytest.mark.slow
def test_two_processes_unfreeze_together(tmp_path: Path):
    """Gradients of what was frozen are averaged too, so the processes stay equal; and before, nothing moves.

    The strategy is told nothing of unused parameters: it would raise if it waited for a gradient that never comes.
    """
    data = write_shapes(tmp_path / "shapes", train=7, val=5)
    config = tiny_config(data, max_epochs=3)
    config["data"]["init_args"]["eval_batch_size"] = 2
    config["freeze"] = {"layers": ["backbone"], "unfreeze_epoch": 2}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "dump.yaml").write_text(yaml.safe_dump(DUMP))
    check_run("fit", "--config=tiny.yaml", "--config=dump.yaml", *TWO, cwd=tmp_path)
    ranks = [[load(tmp_path / f"rank{rank}-{epoch}.pt") for epoch in range(-1, 3)] for rank in range(2)]
    backbone = {name for name in ranks[0][0]["network"] if name.startswith("backbone.")}
    head = {name for name in ranks[0][0]["network"] if name.startswith("head.m.")}
    for start, first, second, third in ranks:
        for part in ("network", "average"):
            assert not backbone & (changed(start[part], first[part]) | changed(start[part], second[part]))
            assert head <= changed(start[part], first[part])
            assert backbone <= changed(second[part], third[part])
    # statistics are each process's own until they are averaged
    for one, other in zip(*ranks, strict=True):
        for part in ("network", "average"):
            different = changed(one[part], other[part])
            assert all("running" in name for name in different), different


def test_a_network_spread_over_devices_is_refused():
    """To run one takes a GPU; what matters is that it is parallel and no DDP."""
    trainer: Any = SimpleNamespace(strategy=FSDPStrategy(), optimizers=[], max_epochs=2)
    freeze, module = Freeze(10, unfreeze_epoch=1), make_module()
    freeze.setup(trainer, module, "fit")
    with pytest.raises(InputError, match="not with FSDPStrategy"):
        freeze.on_fit_start(trainer, module)
