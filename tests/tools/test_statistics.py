"""``yolo-lightning compare`` and ``explain``: what they print, what they write, and what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.metrics.make import make_stored, perturbed
from yolo_lightning.cli import main
from yolo_lightning.metrics import EVALUATION_FILE, StoredEvaluation, evaluate
from yolo_lightning.metrics.resampling import FIGURES


@pytest.fixture
def call(capsys, monkeypatch):
    """Runs a command; gives its exit status and what it printed."""
    monkeypatch.setenv("COLUMNS", "140")

    def run(*arguments):
        status = main([*map(str, arguments)])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run directories: a model, one with other scores, one that misses much, and one on other images."""
    root = tmp_path_factory.mktemp("runs")
    model = make_stored(80)
    models = {
        "good": model,
        "again": perturbed(model, 0.02),
        "bad": perturbed(model, 0.02, keep=0.5),
        "other": make_stored(70),
        "unlabelled": make_stored(5, with_labels=False),
    }
    for name, evaluation in models.items():
        (root / name).mkdir()
        evaluation.save(root / name / EVALUATION_FILE)
    return root


def rows(text):
    """Cells of the table rows, by their first cell."""
    return {cells[0]: cells[1:] for line in text.splitlines() if (cells := line.split())}


def test_compare_with_a_worse_model(call, runs, tmp_path):
    file = tmp_path / "difference.json"
    status, output, errors = call("compare", runs / "good", runs / "bad", "--resamples", "200", "--json", file)
    assert (status, errors) == (0, "")
    table = rows(output)
    content = json.loads(file.read_text())
    figure = next(row for row in content["figures"] if row["name"] == "yolov5_map_50")
    assert table["yolov5_map_50"][:3] == [f"{figure[key]:.3f}" for key in ("first", "second")] + [
        f"{figure['difference']:+.3f}"
    ]
    assert table["map"][-1] == "real"
    assert table["straße"][-1] == content["classes"][2]["verdict"]
    assert "training again with another seed" in output


def test_compare_with_itself_and_with_seeds(call, runs):
    status, output, _ = call("compare", runs / "good", runs / "good" / EVALUATION_FILE, "--resamples=100")
    assert status == 0
    assert rows(output)["fitness"][2:] == ["+0.000", "+0.000", "…", "+0.000", "1.000", "noise"]
    status, output, _ = call("compare", f"{runs / 'good'},{runs / 'again'}", runs / "bad", "--resamples=100")
    assert status == 0
    assert "first: 2 runs, drawn as well." in output
    assert "second: one run; what training again with another seed would change is not in the interval." in output


def test_compare_reads_chance_from_the_epochs_of_fit(call, runs, tmp_path):
    generator = np.random.default_rng(0)
    for name in ("good", "bad"):
        (tmp_path / name).mkdir()
        evaluation = replace(StoredEvaluation.load(runs / name), epoch=39)
        evaluation.save(tmp_path / name / EVALUATION_FILE)
        lines = ["step,epoch," + ",".join(f"val/{figure}" for figure in FIGURES)]
        for epoch in range(40):
            values = 0.5 + 0.25 * generator.standard_normal(len(FIGURES))
            lines.append(",".join(map(str, (epoch, epoch, *values))))
        (tmp_path / name / "metrics.csv").write_text("\n".join(lines) + "\n")
    status, output, _ = call("compare", tmp_path / "good", tmp_path / "bad", "--resamples=100")
    assert status == 0
    assert "that is in the interval" in output
    wide, narrow = (rows(out) for out in (output, call("compare", runs / "good", runs / "bad", "--resamples=100")[1]))
    assert wide["map"][:3] == narrow["map"][:3]
    assert (wide["map"][-1], narrow["map"][-1]) == ("noise", "real")


def test_the_seed_decides(call, runs):
    outputs = [
        call("compare", runs / "good", runs / "bad", "--resamples=100", f"--seed={seed}")[1] for seed in (0, 0, 1)
    ]
    assert outputs[0] == outputs[1] != outputs[2]


@pytest.mark.parametrize(
    ("second", "options", "message"),
    [
        ("other", [], "10 images are in one of them only, such as 70.png"),
        ("none", [], "none does not exist: "),
        ("good", ["--resamples=5"], "100 or more"),
        ("good", ["--json=/nowhere/at/all.json"], "/nowhere/at/all.json: cannot be written"),
    ],
)
def test_compare_refuses(call, runs, second, options, message):
    status, _, errors = call("compare", runs / "good", runs / second, "--resamples=100", *options)
    assert status == 1
    assert message in errors


def test_a_damaged_file(call, runs, tmp_path):
    whole = (runs / "good" / EVALUATION_FILE).read_bytes()
    (tmp_path / EVALUATION_FILE).write_bytes(whole[: len(whole) // 2])
    for arguments in (("compare", runs / "good", tmp_path), ("explain", tmp_path)):
        status, _, errors = call(*arguments)
        assert status == 1
        assert "damaged or no evaluation" in errors


def test_no_labels(call, runs):
    status, output, _ = call("compare", runs / "unlabelled", runs / "unlabelled", "--resamples=100")
    assert status == 0
    assert "nothing to compare" in output
    status, output, _ = call("explain", runs / "unlabelled", "--resamples=100")
    assert status == 0
    assert rows(output)["AP50"] == ["–"]


def test_explain(call, runs, tmp_path):
    file = tmp_path / "why.json"
    status, output, _ = call("explain", runs / "good", "--most=7", "--resamples=100", f"--json={file}")
    assert status == 0
    content, table = json.loads(file.read_text()), rows(output)
    result = evaluate(make_stored(80).data)
    assert content["coco"]["map_small"] == pytest.approx(result["map_small"], abs=1e-4)
    assert table["AP50"][0] == f"{content['coco']['map_50']:.4f}"
    assert table["fitness"][0] == f"{content['yolov5']['fitness']:.4f}"
    interval = content["intervals"]["fitness"]
    assert table["fitness"][1:] == [f"{interval['low']:.4f}", "…", f"{interval['high']:.4f}"]
    missed = content["errors"]["missed"]
    assert table["missed"] == [str(missed["number"]), f"{missed['cost']:.4f}"]
    assert content["errors"]["false_positive"]["number"] is None
    assert len(content["label_errors"]) == 7
    first = content["label_errors"][0]
    assert first["image"].startswith("images/")
    assert f"1: {first['image']}" in output
    scores = [issue["score"] for issue in content["label_errors"]]
    assert scores == sorted(scores, reverse=True)


def test_explain_prints_names_safely(call, runs, tmp_path):
    model = make_stored(10)
    replace(model, class_names=("a\x1b[31m", "b", "c"), images=("x\x1b]0;y\x07.png",) * 10).save(
        tmp_path / EVALUATION_FILE
    )
    status, output, _ = call("explain", tmp_path, "--resamples=100")
    assert status == 0
    assert "\x1b" not in output
    assert "\x07" not in output


def test_explain_refuses(call, runs):
    status, _, errors = call("explain", runs / "good", "--most=-1")
    assert status == 1
    assert "most is -1" in errors
