"""``yolo-lightning evaluate``, and what ``validate`` writes for it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.metrics.test_coco_files import make_files
from tests.runs import CLASS_NAMES, IMAGE_SIZE, figures, tiny_config, write_shapes
from yolo_lightning.cli import main
from yolo_lightning.metrics import StoredEvaluation

pytestmark = pytest.mark.usefixtures("one_thread")


def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    found, truth = make_files(tmp_path)
    assert main(["evaluate", str(found), f"--annotations={truth}", "--output=kept", "--save-json=numbers.json"]) == 0
    text = capsys.readouterr().out
    assert "AP    IoU .50-.95" in text
    assert "cow" in text
    numbers = json.loads(Path("numbers.json").read_text())
    assert 0 < numbers["map"] < 1
    assert f"{numbers['map']:.3f}" in text
    # the directory that it kept says the same, and is not written to again
    assert main(["evaluate", "kept", "--save-json=numbers.json"]) == 0
    assert json.loads(Path("numbers-2.json").read_text()) == numbers
    assert main(["evaluate", str(found), f"--annotations={truth}", "--output=kept"]) == 0
    assert Path("kept-2/evaluation.npz").is_file()


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    found, _ = make_files(tmp_path)
    assert main(["evaluate", str(found)]) == 1
    assert "give the annotations" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path)]) == 1
    assert "evaluation.npz does not exist" in capsys.readouterr().err


def test_validation_in_other_forms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The same detections in every form, and the same figures of COCO's files."""
    monkeypatch.chdir(tmp_path)
    for name in ("YOLO_LIGHTNING_RUN_DIRECTORY", "PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    data = write_shapes(tmp_path / "shapes")
    Path("tiny.yaml").write_text(json.dumps(tiny_config(data)))
    options = ["--evaluation_file.formats=[coco,csv,txt]", "--evaluation_file.txt_confidence=true"]
    assert main(["validate", "--config=tiny.yaml", *options]) == 0
    run = tmp_path / "runs/validate"
    stored = StoredEvaluation.load(run)
    records = json.loads((run / "predictions.json").read_text())
    with (run / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines = [line for path in (run / "labels").rglob("*.txt") for line in path.read_text().splitlines()]
    assert len(records) == len(rows) == len(lines) == len(stored.data.scores) > 0
    assert [float(row["confidence"]) for row in rows] == pytest.approx(stored.data.scores.tolist())
    label, *numbers = lines[0].split()
    assert int(label) in range(len(CLASS_NAMES))
    assert len(numbers) == 5
    # as a person would measure them with COCO's tools
    data_ = stored.data
    truth = {
        "images": [{"id": index, "file_name": f"{index:03}.png"} for index in range(data_.num_images)],
        "categories": [{"id": index, "name": name} for index, name in enumerate(CLASS_NAMES)],
        "annotations": [
            {"id": n, "image_id": image, "category_id": label, "bbox": [x1, y1, x2 - x1, y2 - y1]}
            for n, (image, label, (x1, y1, x2, y2)) in enumerate(
                zip(
                    data_.target_image_index.tolist(),
                    data_.target_labels.tolist(),
                    data_.target_boxes.tolist(),
                    strict=True,
                )
            )
        ],
    }
    Path("truth.json").write_text(json.dumps(truth))
    assert main(["evaluate", str(run / "predictions.json"), "--annotations=truth.json", "--save-json=again.json"]) == 0
    again, first = json.loads(Path("again.json").read_text()), figures(run)
    for name in ("map", "map_50", "mar_100", "yolov5_map_50"):
        assert again[name] == pytest.approx(first[f"val/{name}"], abs=2e-3)
    assert (stored.image_sizes == IMAGE_SIZE).all()


def test_an_unknown_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(json.dumps(tiny_config(write_shapes(tmp_path / "shapes"))))
    with pytest.raises(SystemExit):
        main(["validate", "--config=tiny.yaml", "--evaluation_file.formats=[xml]"])
    assert "xml" in capsys.readouterr().err
