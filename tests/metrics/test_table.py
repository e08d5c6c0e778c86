"""The table by class stays readable."""

from __future__ import annotations

import pytest
import torch
from rich.cells import cell_len

from yolo_lightning.metrics import DetectionMetrics, per_class_table, table_text


def text_for(class_names, labels, width=100):
    metric = DetectionMetrics(class_names)
    boxes = torch.tensor([[10.0 * i, 0.0, 10.0 * i + 9, 9.0] for i in range(len(labels))]).reshape(-1, 4)
    target = {"boxes": boxes, "labels": torch.tensor(labels, dtype=torch.int64)}
    metric.update([target | {"scores": torch.full((len(labels),), 0.9)}], [target])
    return table_text(per_class_table(metric.compute(), class_names), width)


@pytest.mark.parametrize(
    ("class_names", "labels", "rows"),
    [
        (["cat"], [], [["all", "1", "0", "0.000", "0.000", "0.000", "0.000"]]),
        (["cat"], [0, 0], [["all", "1", "2", "1.000", "1.000", "0.995", "0.995"], ["cat", "1", "2"]]),
        (["cat", "dog", "cow"], [2, 0, 2], [["all", "1", "3"], ["cat", "1", "1"], ["cow", "1", "2"]]),
        (["[bold]", "two\nlines"], [0, 1], [["all"], ["[bold]"], ["two", "lines"]]),
    ],
)
def test_rows(class_names, labels, rows):
    lines = text_for(class_names, labels).splitlines()
    assert lines[0].split() == ["class", "images", "instances", "P", "R", "mAP50", "mAP50-95"]
    body = [line.split() for line in lines[2 : 2 + len(rows)]]
    assert [line[: len(row)] for line, row in zip(body, rows, strict=True)] == rows


def test_classes_without_labels_are_counted_instead_of_shown():
    lines = text_for([f"class {i}" for i in range(1000)], [7]).splitlines()
    assert "999 of 1000 classes have no labels" in lines[-1]
    assert len(lines) == 5


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", ["x" * 300, "猫" * 80, "a long name " * 20])
def test_long_names_are_cut_and_numbers_stay(name, width):
    lines = text_for([name, "short"], [0, 1], width).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert "…" in lines[3]
    assert all(line.endswith("0.995") for line in lines[2:])


def test_a_thousand_classes_each_get_a_row():
    lines = text_for([f"class {i}" for i in range(1000)], list(range(1000))).splitlines()
    assert len(lines) == 1003
