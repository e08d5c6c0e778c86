"""The pictures with boxes, as the client gets them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.weights_and_biases.evaluations import SIZE, make_evaluation
from yolo_lightning.metrics import StoredEvaluation
from yolo_lightning.weights_and_biases import BoundingBoxDebugger
from yolo_lightning.weights_and_biases.box_debugger import evenly_spaced

A, B = (8.0, 4.0, 40.0, 20.0), (60.0, 30.0, 90.0, 44.0)  # the second reaches beyond the image


class Pictures:
    """A data set of no files: each image is of one brightness, its id."""

    def read_image(self, index: int) -> npt.NDArray[np.uint8]:
        return np.full((*SIZE, 3), index, np.uint8)


def show(callback: BoundingBoxDebugger, evaluation: StoredEvaluation, epoch: int | None = 0) -> list[Any]:
    """What is logged, made at once."""
    made: list[Any] = []
    asked: list[str] = []

    def dataset(split: str) -> Pictures:
        asked.append(split)
        return Pictures()

    def log_media(key: str, make: Any, of: int | None) -> None:
        assert (key, of) == ("BoundingBoxDebugger", epoch)
        made.extend(make())

    trainer: Any = SimpleNamespace(datamodule=SimpleNamespace(dataset=dataset))
    logger: Any = SimpleNamespace(log_media=log_media)
    callback.show(trainer, logger, evaluation, epoch)
    assert set(asked) <= {evaluation.split}
    return made


def boxes_of(picture: Any, group: str) -> Any:
    return picture._boxes[group]._val


@pytest.mark.parametrize(
    ("length", "number", "positions"),
    [(0, 16, []), (1, 16, [0]), (3, 16, [0, 1, 2]), (101, 5, [0, 25, 50, 75, 100]), (5000, 2, [0, 4999])],
)
def test_positions_are_evenly_spaced(length: int, number: int, positions: list[int]):
    assert evenly_spaced(length, number).tolist() == positions


def test_a_picture_has_its_image_name_and_boxes():
    found = [(1, 2, 0.75, *A), (1, 0, 0.5, *B), (1, 1, 0.01, *A), (0, 1, 0.9, *A)]
    evaluation = make_evaluation(found, [(1, 1, *A), (2, 0, *A)], class_names=("cat é", '犬 "x"\n', "<b>"))
    pictures = show(BoundingBoxDebugger(), evaluation)
    assert [picture._caption for picture in pictures] == ["0.png", "1.png", "2.png"]
    # 80 × 40 pixels in a square of 80: 20 grey rows above and below
    assert {(picture._width, picture._height) for picture in pictures} == {(80, 80)}
    with Image.open(pictures[1]._path) as image:
        assert np.abs(np.asarray(image)[24:56].astype(int) - 11).max() <= 2
        assert np.abs(np.asarray(image)[:16].astype(int) - 114).max() <= 2
    assert boxes_of(pictures[1], "predictions") == [
        {
            "position": {"minX": 0.1, "minY": 0.3, "maxX": 0.5, "maxY": 0.5},
            "class_id": 2,
            "scores": {"conf": 0.75},
            "box_caption": "<b> 0.750",
        },
        {
            "position": {"minX": 0.75, "minY": 0.625, "maxX": 1.0, "maxY": 0.8},
            "class_id": 0,
            "scores": {"conf": 0.5},
            "box_caption": "cat é 0.500",
        },
    ]
    assert boxes_of(pictures[1], "ground_truth") == [
        {
            "position": {"minX": 0.1, "minY": 0.3, "maxX": 0.5, "maxY": 0.5},
            "class_id": 1,
            "box_caption": '犬 "x"\n',
        }
    ]
    assert pictures[1]._boxes["predictions"]._class_labels == {0: "cat é", 1: '犬 "x"\n', 2: "<b>"}
    assert (boxes_of(pictures[2], "predictions"), len(boxes_of(pictures[2], "ground_truth"))) == ([], 1)


def test_only_the_most_confident_of_many_boxes_are_shown():
    found = [(0, 0, 0.3 + 0.01 * number, *A) for number in range(20)]
    (picture,) = show(BoundingBoxDebugger(max_boxes=3, num_images=1), make_evaluation(found, []))
    scores = [box["scores"]["conf"] for box in boxes_of(picture, "predictions")]
    assert scores == pytest.approx([0.49, 0.48, 0.47])


def test_large_images_are_scaled_down():
    pictures = show(BoundingBoxDebugger(image_size=32), make_evaluation([(0, 0, 0.9, *A)], []))
    assert {(picture._width, picture._height) for picture in pictures} == {(32, 32)}
    (box,) = boxes_of(pictures[0], "predictions")
    assert box["position"] == {"minX": 0.1, "minY": 0.3, "maxX": 0.5, "maxY": 0.5}


def test_an_evaluation_of_no_image_shows_nothing():
    assert show(BoundingBoxDebugger(), make_evaluation([], [], num_images=0)) == []


def test_data_without_a_data_module_is_one_warning():
    callback, trainer, logger = BoundingBoxDebugger(), SimpleNamespace(datamodule=None), SimpleNamespace()
    with pytest.warns(UserWarning, match="there is no data module that has the images"):
        callback.show(trainer, logger, make_evaluation([], []), 0)  # type: ignore[arg-type]
    callback.show(trainer, logger, make_evaluation([], []), 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["num_images", "max_boxes", "image_size"])
def test_numbers_must_be_positive(name: str):
    with pytest.raises(ValueError, match=f"{name} of BoundingBoxDebugger must be at least 1, got 0"):
        BoundingBoxDebugger(**{name: 0})
