"""What lies in ``checkpoints/``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from safetensors import safe_open

from tests.runs import assert_same_tensors, load
from tests.test_module import NAMES, make_data, make_module, make_trainer
from yolo_lightning.callbacks import EMA, RunCheckpoint
from yolo_lightning.models import detector_from_weights

pytestmark = pytest.mark.usefixtures("one_thread")


class Scores(Callback):
    """Gives epochs their fitness, and fails in one if asked to."""

    def __init__(self, *scores: float, fail_in_epoch: int | None = None) -> None:
        self.scores = scores
        self.fail_in_epoch = fail_in_epoch

    def on_validation_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.callback_metrics["val/fitness"] = torch.tensor(self.scores[trainer.current_epoch])

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        if trainer.current_epoch == self.fail_in_epoch:
            raise RuntimeError("out of memory")


def fit(folder: Path, scores: Scores, resume: Path | None = None, max_epochs: int = 3, **options: Any) -> RunCheckpoint:
    options = {"monitor": "val/fitness", "mode": "max", "filename": "best", "enable_version_counter": False, **options}
    checkpoint = RunCheckpoint(dirpath=folder, **options)
    trainer = make_trainer(scores, EMA(decay=0.5, ramp=1), checkpoint, max_epochs=max_epochs, num_sanity_val_steps=0)
    trainer.fit(make_module(), datamodule=make_data(), ckpt_path=resume)
    return checkpoint


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())


def assert_shares(weights: Path, checkpoint: Path) -> None:
    """The file holds the checkpoint's average in half precision, and makes its network."""
    detector, class_names = detector_from_weights(weights)
    assert class_names == tuple(NAMES)
    state = {name.removeprefix("detector."): tensor for name, tensor in load(checkpoint)["state_dict"].items()}
    expected = {
        name: tensor.half().float() if tensor.is_floating_point() and name != "head.anchors" else tensor
        for name, tensor in state.items()
        if name in detector.state_dict()
    }
    assert_same_tensors(dict(detector.state_dict()), expected)


def test_weights_to_share(tmp_path: Path):
    fit(tmp_path, Scores(0.1, 0.3, 0.2))
    assert names(tmp_path) == ["best.ckpt", "best.safetensors", "last.ckpt", "last.safetensors"]
    for name, epoch, fitness in (("best", 1, 0.3), ("last", 2, 0.2)):
        assert_shares(tmp_path / f"{name}.safetensors", tmp_path / f"{name}.ckpt")
        metadata = metadata_of(tmp_path / f"{name}.safetensors")
        assert load(tmp_path / f"{name}.ckpt")["epoch"] == int(metadata["epoch"]) == epoch
        assert float(metadata["fitness"]) == pytest.approx(fitness)
        assert json.loads(metadata["class_names"]) == list(NAMES)


def test_a_run_that_fails_leaves_both(tmp_path: Path):
    with pytest.raises(RuntimeError, match="out of memory"):
        fit(tmp_path, Scores(0.1, 0.05, 0.2, fail_in_epoch=2))
    assert names(tmp_path) == ["best.ckpt", "best.safetensors", "last.ckpt", "last.safetensors"]
    assert [metadata_of(tmp_path / f"{name}.safetensors")["epoch"] for name in ("best", "last")] == ["0", "1"]
    assert_shares(tmp_path / "last.safetensors", tmp_path / "last.ckpt")


def test_a_run_that_fails_at_once_leaves_nothing(tmp_path: Path):
    with pytest.raises(RuntimeError, match="out of memory"):
        fit(tmp_path, Scores(fail_in_epoch=0))
    assert names(tmp_path) == []


def test_a_resumed_run_has_the_best_of_the_first(tmp_path: Path):
    first, second = tmp_path / "first", tmp_path / "second"
    fit(first, Scores(0.3, 0.2), max_epochs=2)
    fit(second, Scores(0.0, 0.0, 0.1), resume=first / "last.ckpt")
    assert names(second) == names(first)
    assert [metadata_of(second / f"{name}.safetensors")["epoch"] for name in ("best", "last")] == ["0", "2"]
    assert_shares(second / "best.safetensors", first / "best.ckpt")
    assert metadata_of(second / "best.safetensors") == metadata_of(first / "best.safetensors")
    third = tmp_path / "third"
    fit(third, Scores(0.0, 0.0, 0.4), resume=first / "last.ckpt")
    assert [metadata_of(third / f"{name}.safetensors")["epoch"] for name in ("best", "last")] == ["2", "2"]


@pytest.mark.parametrize(("period", "kept"), [(None, []), (1, [0, 1, 2, 3, 4]), (2, [0, 2, 4]), (9, [0])])
def test_period(period: int | None, kept: list[int], tmp_path: Path):
    scores = Scores(0.1, 0.2, 0.3, 0.2, 0.1)
    fit(tmp_path, scores, max_epochs=5, save_period=period, save_safetensors=False)
    assert names(tmp_path) == sorted(["best.ckpt", "last.ckpt", *(f"epoch{epoch}.ckpt" for epoch in kept)])
    for epoch in kept:
        assert load(tmp_path / f"epoch{epoch}.ckpt")["epoch"] == epoch


def test_a_checkpoint_of_the_period_is_whole(tmp_path: Path):
    fit(tmp_path / "whole", Scores(0.1, 0.2, 0.3), save_period=1)
    fit(tmp_path / "resumed", Scores(0.1, 0.2, 0.3), resume=tmp_path / "whole" / "epoch1.ckpt")
    whole, resumed = (load(tmp_path / name / "last.ckpt") for name in ("whole", "resumed"))
    assert_same_tensors(whole["state_dict"], resumed["state_dict"])


def test_wrong_period():
    with pytest.raises(ValueError, match=r"checkpoint\.save_period must be at least 1 epoch, got 0"):
        RunCheckpoint(save_period=0)


def test_training_draws_the_same_random_numbers(tmp_path: Path):
    """Writing weights makes a network, whose first weights are random."""
    states = []
    for shared in (True, False):
        torch.manual_seed(5)
        fit(tmp_path / str(shared), Scores(0.1, 0.2, 0.3), save_safetensors=shared)
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_weights_that_cannot_be_written_do_not_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("yolo_lightning.callbacks.checkpoint.save_weights", fail)
    with pytest.warns(UserWarning, match=r"best\.safetensors was not written: no space left"):
        fit(tmp_path, Scores(0.1, 0.2, 0.3))
    assert names(tmp_path) == ["best.ckpt", "last.ckpt"]
