"""Precision, strategies and compilation, as far as a CPU goes."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.plugins.layer_sync import TorchSyncBatchNorm

from tests.models.test_detector import TinyBackbone
from tests.runs import assert_same_tensors, figures, load
from tests.test_module import make_data, make_module, make_trainer
from yolo_lightning.callbacks import EMA
from yolo_lightning.cli import main
from yolo_lightning.cli.devices import BFloat16Weights
from yolo_lightning.models import Detector, YOLOv5Head, detector_from_weights, yolov5
from yolo_lightning.optim import parameter_groups
from yolo_lightning.types import Batch


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (["--trainer.precision=16-mixed"], ["16-mixed needs a GPU", "bf16-mixed"]),
        (["--trainer.precision=16"], ["16 needs a GPU"]),
        (["--trainer.precision=16-true"], ["16-true is too coarse", "16-mixed"]),
        (["--trainer.sync_batchnorm=true", "--trainer.devices=2"], ["sync_batchnorm", "GPUs only"]),
        (["--trainer.sync_batchnorm=true", "--trainer.num_nodes=2"], ["sync_batchnorm", "GPUs only"]),
        (["--trainer.sync_batchnorm=true", "--trainer.strategy=ddp"], ["sync_batchnorm", "GPUs only"]),
        (["--trainer.strategy=fsdp"], ["shards the weights", "--trainer.strategy ddp"]),
        (["--trainer.strategy=fsdp_cpu_offload"], ["--trainer.strategy ddp"]),
        (["--trainer.strategy=deepspeed_stage_2"], ["--trainer.strategy ddp"]),
        (["--config=strategy.yaml"], ["--trainer.strategy ddp"]),
    ],
)
def test_refused(
    options: list[str], wanted: list[str], config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    strategy = {"class_path": "lightning.pytorch.strategies.ModelParallelStrategy"}
    (tmp_path / "strategy.yaml").write_text(yaml.safe_dump({"trainer": {"strategy": strategy}}))
    assert main(["fit", f"--config={config}", *options]) == 1
    message = capsys.readouterr().err
    assert [part for part in wanted if part not in message] == []
    assert "Traceback" not in message
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_bfloat16(precision: str, config: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder):
    assert main(["fit", f"--config={config}", f"--trainer.precision={precision}", "--name=fit"]) == 0
    run = tmp_path / "runs" / "fit"
    assert not [str(warning.message) for warning in recwarn if "pictures" in str(warning.message)]
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["precision"] == precision
    content = load(run / "checkpoints" / "last.ckpt")
    # the average is exact whatever the weights are
    assert {tensor.dtype for tensor in content["state_dict"].values()} == {torch.float32, torch.int64}
    assert content["state_dict"]["detector.head.anchors"].dtype == torch.float32
    assert all(bool(tensor.isfinite().all()) for tensor in content["state_dict"].values())
    trained = content["current_model_state"]["detector.backbone.stem.conv.weight"]
    assert trained.dtype == (torch.bfloat16 if precision == "bf16-true" else torch.float32)
    best = run / "checkpoints" / "best.ckpt"
    arguments = [f"--config={config}", f"--ckpt_path={best}", f"--trainer.precision={precision}"]
    assert main(["validate", *arguments, "--name=again"]) == 0
    measured = figures(tmp_path / "runs" / "again")
    assert measured.items() <= figures(run).items() or precision == "bf16-true"  # the average was validated in bfloat16


def test_boxes_stay_exact_in_bfloat16():
    """Sixteen bits have eight for the mantissa: 321.5 would become 322."""
    seen: list[Batch] = []

    class See(Callback):
        def on_train_batch_end(self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int):
            seen.append(batch)
            assert torch.get_default_dtype() == torch.float32

    trainer = make_trainer(See(), max_epochs=1, plugins=[BFloat16Weights()], limit_val_batches=0)
    trainer.fit(make_module(), datamodule=make_data())
    assert {batch.images.dtype for batch in seen} == {torch.bfloat16}
    assert {batch.boxes.dtype for batch in seen} == {torch.float32}
    boxes = torch.cat([batch.boxes for batch in seen])
    assert not torch.equal(boxes, boxes.bfloat16().float())


class Scaler(Callback):
    """What fp16's scaler did at each optimizer step."""

    def __init__(self) -> None:
        self.scales: list[float] = []
        self.weights: list[torch.Tensor] = []
        self.last_steps: list[int] = []
        self.gradients: list[bool] = []

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        if trainer.accumulate_grad_batches == 1:
            self.scales.append(trainer.precision_plugin.scaler.get_scale())
            self.weights.append(pl_module.detector.backbone.stem.conv.weight.detach().clone())
            self.last_steps.append(pl_module._last_step)
            self.gradients.append(any(parameter.grad is not None for parameter in pl_module.parameters()))


def test_a_step_that_the_scaler_skips(one_thread: None):
    """The gradient goes, the count of batches goes on, and training finds its scale."""
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**60, backoff_factor=2.0**-20, growth_interval=1000)
    record = Scaler()
    trainer = make_trainer(
        EMA(decay=0.5, ramp=1), record, max_epochs=3, plugins=[MixedPrecision("16-mixed", "cpu", scaler)]
    )
    module = make_module(nominal_batch_size=8)
    start = module.detector.backbone.stem.conv.weight.detach().clone()
    trainer.fit(module, datamodule=make_data())
    skipped = [index for index, scale in enumerate(record.scales) if scale < ([2.0**60, *record.scales])[index]]
    assert skipped == list(range(len(skipped)))
    assert 0 < len(skipped) < len(record.scales) - 2
    for index, weights in enumerate(record.weights):
        before = record.weights[index - 1] if index else start
        assert torch.equal(weights, before) == (index in skipped), index
    assert record.last_steps == sorted(set(record.last_steps))
    assert not any(record.gradients)
    assert all(bool(tensor.isfinite().all()) for tensor in module.state_dict().values())


# -------------------------------------------------------------------------------------------------- batch norm


def converted() -> Detector:
    torch.manual_seed(0)
    detector = torch.nn.SyncBatchNorm.convert_sync_batchnorm(yolov5("n", 2))
    assert isinstance(detector, Detector)
    return detector


def test_synchronised_layers_are_batch_norms():
    torch.manual_seed(0)
    plain, detector = yolov5("n", 2), converted()
    assert list(detector.state_dict()) == list(plain.state_dict())
    sizes = [{group["name"]: len(group["params"]) for group in parameter_groups(each)} for each in (plain, detector)]
    assert sizes[0] == sizes[1]
    fused = detector.fuse()
    assert not [name for name in fused.state_dict() if ".bn." in name]
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        for found, expected in zip(fused(images), detector.eval()(images), strict=True):
            assert torch.allclose(found, expected, atol=1e-5)


def test_layers_that_lightning_leaves_behind():
    """After training, the module holds neither the old class nor the synchronised one."""
    detector = TorchSyncBatchNorm().revert(converted())
    assert isinstance(detector, Detector)
    assert {group["name"]: len(group["params"]) for group in parameter_groups(detector)} == {
        group["name"]: len(group["params"]) for group in parameter_groups(yolov5("n", 2))
    }
    assert not [name for name in detector.fuse().state_dict() if ".bn." in name]


class Synchronise(Callback):
    """Converts the layers where Lightning's strategy does: after callbacks and module are set up."""

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        torch.nn.SyncBatchNorm.convert_sync_batchnorm(pl_module)


def test_training_of_synchronised_layers(tmp_path: Path, one_thread: None):
    """In one process there is nothing to synchronise: the run is the same, to the names in its checkpoint."""
    for name, callbacks in (("plain", []), ("sync", [Synchronise()])):
        module = make_module()
        trainer = make_trainer(*callbacks, EMA(decay=0.5, ramp=1), ModelCheckpoint(tmp_path, name), max_epochs=2)
        trainer.fit(module, datamodule=make_data())
        assert (name == "sync") == any(isinstance(layer, torch.nn.SyncBatchNorm) for layer in module.modules())
    plain, sync = (load(tmp_path / f"{name}.ckpt") for name in ("plain", "sync"))
    assert_same_tensors(plain["state_dict"], sync["state_dict"])
    assert_same_tensors(plain["current_model_state"], sync["current_model_state"])


# -------------------------------------------------------------------------------------------------- compilation


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compilation without the C++ compiler: the graphs are traced, then run as they are."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))


@pytest.mark.slow
def test_compiled_run(config: Path, tmp_path: Path, traced: None):
    """Its checkpoints are those of any run, and what it measured is what a run without compilation measures."""
    assert main(["fit", f"--config={config}", "--model.compile=true"]) == 0
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    best = tmp_path / "runs" / "fit" / "checkpoints" / "best.ckpt"
    assert not [name for name in load(best)["state_dict"] if "_orig_mod" in name]
    detector, _ = detector_from_weights(best.with_suffix(".safetensors"))
    assert {f"detector.{name}" for name in detector.state_dict()} <= set(load(best)["state_dict"])
    assert main(["validate", f"--config={config}", f"--ckpt_path={best}"]) == 0
    measured, expected = figures(tmp_path / "runs" / "validate"), figures(tmp_path / "runs" / "fit")
    assert {name: expected[name] for name in measured} == pytest.approx(measured, rel=1e-5)


@pytest.mark.slow
def test_sizes_share_a_compilation(traced: None):
    """The first size is traced for itself, the second for all."""
    detector = make_module(compile=True).detector.eval()
    plain = make_module().detector.eval()
    with torch.no_grad():
        for side in (64, 96, 128, 160, 192, 224):
            images = torch.rand(2, 3, side, side + 32)
            for found, expected in zip(detector(images), plain(images), strict=True):
                assert torch.allclose(found, expected, atol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None and shutil.which("clang++") is None, reason="needs a C++ compiler")
def test_compiled_code_learns_the_same(one_thread: None):
    """A network of a few layers, as compilation takes long."""
    torch._dynamo.reset()
    head = partial(YOLOv5Head, anchors=[[10, 13, 16, 30], [33, 23, 30, 61]])
    small = partial(Detector, backbone=partial(TinyBackbone, 8), head=head)
    states = []
    for compiled in (True, False):
        module = make_module(detector=small, compile=compiled)
        trainer = make_trainer(EMA(decay=0.5, ramp=1), max_epochs=1, limit_val_batches=0)
        trainer.fit(module, datamodule=make_data(train=8))  # batches of one size, for one compilation
        states.append(module.state_dict())
    first, second = states
    assert list(first) == list(second)
    assert all(torch.allclose(first[name], second[name], atol=1e-4) for name in first)
