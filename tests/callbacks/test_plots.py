"""A run leaves its plots, and hands them to its loggers."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch import Callback
from lightning.pytorch.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger

from tests.test_module import NAMES, make_data, make_module, make_trainer
from yolo_lightning.callbacks import EvaluationFile, Pictures, Plots
from yolo_lightning.callbacks.image_loggers import send_pictures
from yolo_lightning.plots.label_statistics import LabelStatistics
from yolo_lightning.plots.run import EVALUATION_PICTURES, PICTURES

pytestmark = pytest.mark.usefixtures("one_thread")


def run(command: str, tmp_path: Path, *callbacks: Callback, loggers: tuple[Any, ...] = (), **options: Any) -> Path:
    """A run with Lightning's own logger; its directory."""
    csv = CSVLogger(tmp_path, name="", version="run")
    trainer = make_trainer(*callbacks, logger=[csv, *loggers], **{"max_epochs": 2, "log_every_n_steps": 100, **options})
    getattr(trainer, command)(make_module(), datamodule=make_data(train=4, val=2))
    return tmp_path / "run"


def images(directory: Path) -> set[str]:
    return {path.name for path in (directory / "images").glob("*")}


class ImageLog(Logger):
    """A logger of images with Lightning's interface."""

    def __init__(self, fail: bool = False) -> None:
        super().__init__()
        self.fail = fail
        self.seen: dict[str, tuple[bytes, int | None]] = {}

    name = version = "log"  # type: ignore[assignment]

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        pass

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        if self.fail:
            raise ConnectionError("no network")
        self.seen[key] = (Path(images[0]).read_bytes(), step)


def test_fit(tmp_path: Path):
    log = ImageLog()
    directory = run("fit", tmp_path, EvaluationFile(), Pictures(), Plots(), loggers=(log,))
    others = {"train_batch0.jpg", "val_batch0.jpg"}
    assert images(directory) == {*PICTURES, *others}
    assert set(log.seen) == {f"images/{Path(name).stem}" for name in (*PICTURES, *others)}
    assert all(content.startswith((b"\x89PNG", b"\xff\xd8")) and step == 2 for content, step in log.seen.values())
    labels, data = LabelStatistics.load(directory), make_data(train=4).dataset("train")
    assert labels.class_names == NAMES
    assert labels.num_boxes == sum(len(data.annotations(index)[1]) for index in range(4))


@pytest.mark.parametrize("command", ["validate", "test"])
def test_an_evaluation_has_no_epochs(command: str, tmp_path: Path):
    directory = run(command, tmp_path, EvaluationFile(), Plots())
    assert images(directory) == set(EVALUATION_PICTURES)
    assert not (directory / "labels.npz").exists()


def test_without_an_evaluation_the_pictures_say_so(tmp_path: Path):
    directory = run("fit", tmp_path, Plots(), limit_val_batches=0)
    assert images(directory) == set(PICTURES)


@pytest.mark.parametrize("options", [{"enabled": False}, {}])
def test_none_where_none_is_wanted(options: dict[str, Any], tmp_path: Path):
    directory = run("fit", tmp_path, EvaluationFile(), Plots(**options), fast_dev_run=not options)
    assert not list(tmp_path.rglob("*.png"))
    assert not (directory / "labels.npz").exists()


class Stop(Callback):
    """Stops the training in its second epoch, as Ctrl-C or a fault does."""

    def __init__(self, error: type[BaseException], epoch: int = 1) -> None:
        self.error = error
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == self.epoch:
            raise self.error


@pytest.mark.parametrize(("error", "raised"), [(KeyboardInterrupt, SystemExit), (RuntimeError, RuntimeError)])
def test_a_run_that_is_stopped_has_plots_too(error: type[BaseException], raised: type[BaseException], tmp_path: Path):
    log = ImageLog()
    with pytest.raises(raised):
        run("fit", tmp_path, EvaluationFile(), Plots(), Stop(error), loggers=(log,), log_every_n_steps=1)
    assert images(tmp_path / "run") == set(PICTURES)
    assert len(log.seen) == len(PICTURES)


def test_a_run_that_is_stopped_before_it_began_has_none(tmp_path: Path):
    with pytest.raises(RuntimeError):
        run("fit", tmp_path, Plots(), Stop(RuntimeError, epoch=0))
    assert not list(tmp_path.rglob("*.png"))


def test_a_plot_that_fails_is_one_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no ink")

    for name in ("draw_results", "draw_rates", "draw_labels"):
        monkeypatch.setattr(f"yolo_lightning.plots.run.{name}", fail)
    monkeypatch.setattr(LabelStatistics, "save", fail)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        directory = run("fit", tmp_path, EvaluationFile(), Plots())
    messages = [str(warning.message) for warning in caught if "plots are not drawn" in str(warning.message)]
    assert len(messages) == 1
    assert "no ink" in messages[0]
    assert images(directory) >= set(EVALUATION_PICTURES)


def test_data_without_boxes_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = make_data(train=4, val=2)
    monkeypatch.setattr(data, "dataset", partial(object))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer = make_trainer(logger=CSVLogger(tmp_path, name="", version="run"))
        trainer.datamodule = data  # type: ignore[attr-defined]
        plots = Plots()
        plots.setup(trainer, None, "fit")
        monkeypatch.setattr(data, "dataset", lambda split: object())
        plots.on_fit_start(trainer, None)
        plots.teardown(trainer, None, "fit")
    assert not [str(warning.message) for warning in caught if "plots" in str(warning.message)]


def test_a_logger_that_fails_is_one_warning(tmp_path: Path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(b"picture")
    good = ImageLog()
    with pytest.warns(UserWarning, match="ImageLog does not get the pictures of the run: .*no network") as caught:
        send_pictures([ImageLog(fail=True), good], [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"], 7)
    assert len(caught) == 1
    assert good.seen == {"images/a": (b"picture", 7), "images/b": (b"picture", 7)}


def test_tensorboard(tmp_path: Path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path / "tensorboard")
    run("fit", tmp_path, EvaluationFile(), Pictures(), Plots(), loggers=(logger,))
    events = EventAccumulator(logger.log_dir, size_guidance={"images": 0}).Reload()
    expected = {f"images/{Path(name).stem}" for name in (*PICTURES, "train_batch0.jpg", "val_batch0.jpg")}
    assert set(events.Tags()["images"]) == expected
    (image,) = events.Images("images/results")
    assert image.encoded_image_string.startswith(b"\x89PNG")
    assert image.width > 600
    assert "val/map" in events.Tags()["scalars"]


def test_mlflow(tmp_path: Path):
    pytest.importorskip("mlflow")
    location = (tmp_path / "artifacts").as_uri()
    logger = MLFlowLogger(tracking_uri=f"sqlite:///{tmp_path}/runs.db", artifact_location=location)
    run("fit", tmp_path, EvaluationFile(), Plots(), loggers=(logger,))
    artifacts = logger.experiment.list_artifacts(str(logger.run_id), "images")
    assert {Path(artifact.path).name for artifact in artifacts} == set(PICTURES)
    history = logger.experiment.get_metric_history(str(logger.run_id), "val/map")
    assert len(history) == 2
    assert np.isfinite([point.value for point in history]).all()
