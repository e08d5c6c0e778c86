"""Which evaluations are shown."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch import Trainer

from tests.weights_and_biases.evaluations import make_evaluation
from yolo_lightning.metrics import StoredEvaluation
from yolo_lightning.types import ImageInfo
from yolo_lightning.weights_and_biases.evaluation_callback import EvaluationCallback
from yolo_lightning.weights_and_biases.logger import RunWandbLogger

BATCH: Any = SimpleNamespace(infos=[ImageInfo(f"{index}.png", index, (40, 80)) for index in (2, 0, 1)])
METRICS = SimpleNamespace(class_names=("cat", "dog", "cow"))
MODULE = SimpleNamespace(evaluation=make_evaluation([], []).data, metrics=METRICS)


class OpenLogger(RunWandbLogger):
    """One that sends."""

    uploader: Any = object()


class Shown(EvaluationCallback):
    """Keeps what is shown."""

    def __init__(self, interval: int | None = None) -> None:
        super().__init__(interval)
        self.epochs: list[int | None] = []
        self.evaluations: list[StoredEvaluation] = []

    def show(self, trainer: Trainer, logger: RunWandbLogger, evaluation: StoredEvaluation, epoch: int | None) -> None:
        self.epochs.append(epoch)
        self.evaluations.append(evaluation)


def trainer(command: str = "fit", epoch: int = 0, max_epochs: int = 1, **values: Any) -> Any:
    return SimpleNamespace(
        sanity_checking=False,
        state=SimpleNamespace(fn=command),
        current_epoch=epoch,
        max_epochs=max_epochs,
        world_size=1,
        loggers=[OpenLogger()],
        **values,
    )


def validate(callback: EvaluationCallback, state: Any) -> None:
    callback.on_validation_start(state, MODULE)
    callback.on_validation_batch_end(state, MODULE, None, BATCH, 0)
    callback.on_validation_end(state, MODULE)


@pytest.mark.parametrize(
    ("interval", "max_epochs", "epochs"),
    [
        (None, 10, list(range(10))),
        (None, 25, [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 24]),
        (4, 10, [3, 7, 9]),
        (1, 3, [0, 1, 2]),
        (100, 3, [2]),
    ],
)
def test_every_so_many_epochs_and_the_last_one(interval: int | None, max_epochs: int, epochs: list[int]):
    callback = Shown(interval)
    for epoch in range(max_epochs):
        validate(callback, trainer(epoch=epoch, max_epochs=max_epochs))
    callback.on_train_end(trainer(epoch=max_epochs, max_epochs=max_epochs), MODULE)
    assert callback.epochs == epochs


def test_a_run_that_ends_early_shows_its_last_evaluation():
    callback = Shown(4)
    for epoch in range(6):
        validate(callback, trainer(epoch=epoch, max_epochs=100))
    callback.on_train_end(trainer(epoch=6, max_epochs=100), MODULE)
    assert callback.epochs == [3, 5]
    assert callback.evaluations[-1].images == ("0.png", "1.png", "2.png")


def test_validate_and_test_show_theirs_once():
    callback = Shown(5)
    validate(callback, trainer("validate"))
    state = trainer("test")
    callback.on_test_batch_end(state, MODULE, None, BATCH, 0)
    callback.on_test_end(state, MODULE)
    assert callback.epochs == [None, None]
    assert [evaluation.split for evaluation in callback.evaluations] == ["val", "test"]
    assert callback.evaluations[0].image_ids.tolist() == [0, 1, 2]
    assert callback.evaluations[0].image_sizes.tolist() == [[40, 80]] * 3


def test_nothing_is_shown_of_a_sanity_check_or_without_a_run():
    callback = Shown()
    state = trainer()
    state.sanity_checking = True
    validate(callback, state)
    state = trainer()
    state.loggers = []
    validate(callback, state)
    assert callback.epochs == []


def test_an_interval_must_be_positive():
    with pytest.raises(ValueError, match="the interval of Shown must be at least 1 epoch, got 0"):
        Shown(0)
