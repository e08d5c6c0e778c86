"""The file holds what the figures were read from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger

from tests.test_module import NAMES, make_data, make_module, make_trainer
from yolo_lightning.callbacks import EvaluationFile
from yolo_lightning.metrics import EVALUATION_FILE, StoredEvaluation, evaluate

pytestmark = pytest.mark.usefixtures("one_thread")


def logger(tmp_path: Path) -> CSVLogger:
    return CSVLogger(tmp_path, name="", version="run")


@pytest.mark.parametrize("command", ["validate", "test", "fit"])
def test_the_file_gives_the_figures(command: str, tmp_path: Path):
    module, trainer = make_module(), make_trainer(EvaluationFile(), logger=logger(tmp_path), max_epochs=1)
    getattr(trainer, command)(module, datamodule=make_data())
    stored = StoredEvaluation.load(tmp_path / "run")
    assert stored.class_names == NAMES
    assert stored.split == ("test" if command == "test" else "val")
    assert stored.epoch == (0 if command == "fit" else None)
    assert stored.image_ids.tolist() == list(range(stored.data.num_images))
    assert (stored.image_sizes == 64).all()
    results: dict[str, Any] = module.results
    assert {key: value for key, value in evaluate(stored.data).items() if isinstance(value, float)} == {
        key: value for key, value in results.items() if isinstance(value, float)
    }


def test_during_fit_it_is_that_of_the_best_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    figures = [0.1, 0.3, 0.2]
    metrics = property(lambda self: {"val/fitness": torch.tensor(figures[min(self.current_epoch, 2)])})
    monkeypatch.setattr(Trainer, "callback_metrics", metrics)
    make_trainer(EvaluationFile(), logger=logger(tmp_path)).fit(make_module(), datamodule=make_data())
    assert StoredEvaluation.load(tmp_path / "run").epoch == 1


@pytest.mark.parametrize("options", [{"enabled": False}, {}])
def test_none_is_written_where_none_is_wanted(options: dict[str, Any], tmp_path: Path):
    trainer = make_trainer(EvaluationFile(**options), logger=logger(tmp_path), fast_dev_run=not options)
    trainer.validate(make_module(), datamodule=make_data())
    assert not list(tmp_path.rglob(EVALUATION_FILE))


def test_a_file_that_cannot_be_written_is_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(self: StoredEvaluation, path: Path) -> None:
        raise OSError("no space")

    monkeypatch.setattr(StoredEvaluation, "save", refuse)
    trainer = make_trainer(EvaluationFile(), logger=logger(tmp_path), max_epochs=1)
    with pytest.warns(UserWarning, match=r"evaluation.npz is not written: .*no space"):
        trainer.validate(make_module(), datamodule=make_data())
