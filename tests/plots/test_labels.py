"""Counts and histograms of labels, and their pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.plots.conftest import check_drawing, class_names, texts
from yolo_lightning.data import SyntheticShapes
from yolo_lightning.errors import InputError
from yolo_lightning.plots.label_statistics import LABELS_FILE, NUM_BINS, PAIRS, LabelStatistics
from yolo_lightning.plots.labels import draw_correlogram, draw_labels


class Boxes:
    """Images of 200 × 100 pixels with boxes given as shares x, y, width, height."""

    def __init__(self, names: tuple[str, ...], images: list[list[tuple[int, float, float, float, float]]]) -> None:
        self.class_names = names
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def image_size(self, index: int) -> tuple[int, int]:
        return 100, 200

    def annotations(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.array(self.images[index], dtype=np.float64).reshape(-1, 5)
        low, high = rows[:, 1:3] - rows[:, 3:] / 2, rows[:, 1:3] + rows[:, 3:] / 2
        boxes = np.concatenate([low, high], axis=1) * (200, 100, 200, 100)
        return boxes.astype(np.float32), rows[:, 0].astype(np.int64)


def make_statistics(num_classes: int, num_images: int = 50) -> LabelStatistics:
    rng = np.random.default_rng(0)
    images = [
        [
            (min(num_classes - 1, int(rng.geometric(0.05)) - 1), *rng.uniform(0.3, 0.6, 2), *rng.uniform(0.05, 0.4, 2))
            for _ in range(image % 5)
        ]
        for image in range(num_images)
    ]
    return LabelStatistics.collect(Boxes(class_names(num_classes), images))


def test_counts():
    statistics = LabelStatistics.collect(
        Boxes(("a", "b", "c"), [[(0, 0.5, 0.25, 1, 0.5), (2, 0.1, 0.9, 0.02, 0.2)], [], [(2, 0.1, 0.9, 0.02, 0.2)]])
    )
    assert statistics.counts.tolist() == [1, 0, 2]
    assert (statistics.num_images, statistics.num_background, statistics.num_boxes) == (3, 1, 3)
    bins = {"x": (32, 6), "y": (16, 57), "width": (63, 1), "height": (32, 12)}
    for (first, second), histogram in zip(PAIRS, statistics.histograms, strict=True):
        expected = np.zeros((NUM_BINS, NUM_BINS))
        expected[bins[first][0], bins[second][0]] = 1
        expected[bins[first][1], bins[second][1]] = 2
        np.testing.assert_array_equal(histogram, expected)


def test_a_data_set_in_several_parts_gives_the_same(monkeypatch: pytest.MonkeyPatch):
    data = SyntheticShapes(None, "train", num_train_images=7, image_size=64)
    whole = LabelStatistics.collect(data)
    monkeypatch.setattr("yolo_lightning.plots.label_statistics._AT_ONCE", 2)
    parts = LabelStatistics.collect(data)
    np.testing.assert_array_equal(whole.histograms, parts.histograms)
    np.testing.assert_array_equal(whole.counts, parts.counts)
    assert whole.counts.sum() == sum(len(data.annotations(index)[1]) for index in range(7)) > 0


@pytest.mark.parametrize("num_images", [0, 1, 20])
def test_round_trip(num_images: int, tmp_path: Path):
    statistics = make_statistics(7, num_images)
    statistics.save(tmp_path / LABELS_FILE)
    again = LabelStatistics.load(tmp_path)
    assert (again.class_names, again.num_images, again.num_background) == (
        statistics.class_names,
        num_images,
        statistics.num_background,
    )
    np.testing.assert_array_equal(again.counts, statistics.counts)
    np.testing.assert_array_equal(again.histograms, statistics.histograms)
    assert [path.name for path in tmp_path.iterdir()] == [LABELS_FILE]


def test_damaged_files(tmp_path: Path):
    file = tmp_path / LABELS_FILE
    with pytest.raises(InputError, match=r"labels\.npz does not exist"):
        LabelStatistics.load(tmp_path)
    make_statistics(3).save(file)
    whole = file.read_bytes()
    with np.load(file) as archive:
        arrays = dict(archive)
    for content in (b"", b"text", whole[:100], whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"labels\.npz is damaged"):
            LabelStatistics.load(file)
    for wrong in (
        {"counts": np.zeros(4)},
        {"histograms": np.zeros(3)},
        {"meta": np.zeros(3, np.uint8)},
        {"counts": np.array([{}] * 3)},
    ):
        np.savez(file, **{**arrays, **wrong})
        with pytest.raises(InputError, match=r"labels\.npz is damaged"):
            LabelStatistics.load(file)


@pytest.mark.parametrize("num_classes", [1, 5, 40])
def test_few_classes_have_a_bar_and_a_name_each(num_classes: int):
    statistics = make_statistics(num_classes)
    figure = draw_labels(statistics)
    bars, centres, sizes = figure.axes
    assert [bar.get_height() for bar in bars.patches] == statistics.counts.tolist()  # type: ignore[attr-defined]
    assert [label.get_text().strip() for label in bars.get_xticklabels()][:4] == ["straße", "猫", "$x$ a$", "_under"][
        :num_classes
    ]
    assert centres.get_ylim() == (1, 0)  # as in the image
    assert sizes.get_ylim() == (0, 1)
    np.testing.assert_array_equal(centres.images[0].get_array().filled(0), statistics.histograms[0].T)  # type: ignore[union-attr]
    check_drawing(figure)


@pytest.mark.parametrize("num_classes", [41, 80, 1000])
def test_many_classes_are_sorted_and_the_first_named(num_classes: int):
    statistics = make_statistics(num_classes)
    figure = draw_labels(statistics)
    (outline,) = figure.axes[0].patches
    values = outline.get_data().values  # type: ignore[attr-defined]
    assert values.tolist() == sorted(statistics.counts.tolist(), reverse=True)
    named = figure.axes[0].texts[0].get_text().splitlines()
    assert len(named) == 12
    first = int(statistics.counts.argmax())
    assert named[0].split() == ["1.", *class_names(num_classes)[first].split(), str(statistics.counts[first])]
    check_drawing(figure)


def test_a_wide_range_of_counts_has_plain_numbers_beside_it():
    statistics = replace(make_statistics(60), counts=np.array([90_000, *range(59)]))
    figure = draw_labels(statistics)
    check_drawing(figure)
    (bars, *_) = figure.axes
    assert bars.get_yscale() == "log"
    assert "10,000" in [label.get_text() for label in bars.get_yticklabels()]


def test_correlogram():
    statistics = make_statistics(5)
    figure = draw_correlogram(statistics)
    maps = [axes for axes in figure.axes if axes.images]
    assert len(maps) == len(PAIRS)
    for axes in maps:
        assert axes.images[0].get_array().sum() == statistics.num_boxes  # type: ignore[union-attr]
    outlines = [axes.patches[0] for axes in figure.axes if axes.patches]
    assert [outline.get_data().values.sum() for outline in outlines] == [statistics.num_boxes] * 4  # type: ignore[attr-defined]
    check_drawing(figure)


@pytest.mark.parametrize("draw", [draw_labels, draw_correlogram])
@pytest.mark.parametrize("num_images", [0, 1])
def test_no_labels(draw, num_images: int):
    figure = draw(make_statistics(3, num_images))
    assert "no labels" in texts(figure)
    check_drawing(figure)


@pytest.mark.parametrize("draw", [draw_labels, draw_correlogram])
def test_one_box(draw):
    check_drawing(draw(LabelStatistics.collect(Boxes(("a",), [[(0, 0.5, 0.5, 0.5, 0.5)]]))))
