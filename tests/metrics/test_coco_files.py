"""Figures of COCO's files equal those that pycocotools reads from them."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.metrics.test_coco import SCALARS
from yolo_lightning.errors import InputError
from yolo_lightning.metrics import StoredEvaluation, evaluate, read_coco_evaluation


def make_files(folder: Path, seed: int = 0, num_images: int = 20) -> tuple[Path, Path]:
    """Random annotations with gaps in the ids, crowds and small areas, and detections near them in any order."""
    rng = np.random.default_rng(seed)
    images = [
        {"id": int(i), "file_name": f"{i:03}.jpg", "height": 480, "width": 640}
        for i in rng.permutation(40)[:num_images]
    ]
    categories = [{"id": number, "name": name} for number, name in ((7, "cat"), (3, "dog"), (90, "cow"))]
    annotations, detections = [], []
    for image in images:
        for _ in range(rng.integers(0, 6)):
            box = [float(v) for v in (*rng.uniform(0, 400, 2), *rng.uniform(5, 120, 2))]
            label = int(rng.choice([3, 7, 90]))
            area = float(box[2] * box[3] * rng.uniform(0.5, 1))
            entry = {"id": len(annotations) + 1, "image_id": image["id"], "category_id": label, "bbox": box}
            annotations.append({**entry, "area": area, "iscrowd": int(rng.random() < 0.1)})
            for _ in range(rng.integers(0, 3)):
                near = [value + float(rng.normal(0, 4)) for value in box]
                near[2:] = [max(side, 1.0) for side in near[2:]]
                score = float(np.round(rng.random(), 1))
                detections.append({"image_id": image["id"], "category_id": label, "bbox": near, "score": score})
    rng.shuffle(detections)  # type: ignore[arg-type]
    truth, found = folder / "truth.json", folder / "found.json"
    truth.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))
    found.write_text(json.dumps(detections))
    return found, truth


@pytest.mark.parametrize("seed", range(5))
def test_equals_pycocotools(seed: int, tmp_path: Path):
    found, truth = make_files(tmp_path, seed)
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO(str(truth))
        evaluation = COCOeval(reference, reference.loadRes(str(found)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ours = read_coco_evaluation(found, truth)
    figures = evaluate(ours.data)
    assert [figures[name] for name in SCALARS] == pytest.approx(evaluation.stats.tolist(), abs=1e-9)
    assert ours.class_names == ("dog", "cat", "cow")
    assert (ours.image_sizes == [480, 640]).all()
    # the file keeps every bit, although these boxes are no float32
    ours.save(tmp_path / "evaluation.npz")
    again = StoredEvaluation.load(tmp_path)
    np.testing.assert_array_equal(again.data.boxes, ours.data.boxes)


def test_nothing_found_and_nothing_to_find(tmp_path: Path):
    found, truth = make_files(tmp_path)
    found.write_text("[]")
    assert evaluate(read_coco_evaluation(found, truth).data)["map"] == 0
    truth.write_text(json.dumps({**json.loads(truth.read_text()), "annotations": []}))
    assert evaluate(read_coco_evaluation(found, truth).data)["map"] == -1


def change(**changes: Any) -> Any:
    return lambda row: {**row, **changes}


BROKEN = {
    "other images": (
        "found",
        change(image_id=999),
        r"found.json: .* have a image_id that .*truth.json does not list, such as 999",
    ),
    "other classes": ("found", change(category_id=5), r"have a category_id that .* does not list, such as 5"),
    "no score": (
        "found",
        lambda row: {k: v for k, v in row.items() if k != "score"},
        "entry 0 of the list has no score",
    ),
    "a text as score": ("found", change(score="high"), "entry 0 of the list has score 'high'"),
    "not a number": ("found", change(score=float("nan")), "has score nan"),
    "negative sides": ("found", change(bbox=[1, 2, -3, 4]), "has bbox"),
    "three numbers": ("annotations", change(bbox=[1, 2, 3]), "entry 0 of annotations has bbox"),
    "area": ("annotations", change(area="big"), "entry 0 of annotations has area 'big'"),
    "no id": ("images", lambda row: {"file_name": "a"}, "entry 0 of images has no id"),
    "the same id": ("images", change(id=1), "the id 1 is there more than once in images"),
    "no object": ("categories", lambda row: 3, "entry 0 of categories is no object"),
}


@pytest.mark.parametrize(("where", "replace", "message"), BROKEN.values(), ids=BROKEN)
def test_what_is_wrong_is_told(where: str, replace: Any, message: str, tmp_path: Path):
    found, truth = make_files(tmp_path)
    file = found if where == "found" else truth
    content = json.loads(file.read_text())
    if where == "found":
        content = [replace(row) for row in content]
    else:
        content[where] = [replace(row) for row in content[where]]
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        read_coco_evaluation(found, truth)


@pytest.mark.parametrize("text", ["", "{", "3", '{"images": []}', "[]", "null"])
def test_other_files(text: str, tmp_path: Path):
    found, truth = make_files(tmp_path)
    truth.write_text(text)
    with pytest.raises(InputError, match=r"truth\.json"):
        read_coco_evaluation(found, truth)
    _, truth = make_files(tmp_path)
    with pytest.raises(InputError, match="cannot be read"):
        read_coco_evaluation(tmp_path / "missing.json", truth)
