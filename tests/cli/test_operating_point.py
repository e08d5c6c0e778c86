"""Thresholds chosen by the command line: where they are written, and alike on two processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.runs import check_run, tiny_config, write_shapes
from yolo_lightning.cli import main
from yolo_lightning.data import SyntheticShapes
from yolo_lightning.operating_point import OperatingPoint, Target, WeightsFile

NAMES = list(SyntheticShapes.class_names)
TWO = ["--trainer.devices=2", "--trainer.strategy=ddp"]
CHOOSE = ["--operating_point.recall=0.3", "--operating_point.min_labels=3"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ``tiny.yaml``, ``best.ckpt`` and ``best.safetensors`` of a network that finds a little."""
    folder = tmp_path_factory.mktemp("trained")
    config = tiny_config(write_shapes(folder / "shapes", train=24, val=7), max_epochs=4)
    config["data"]["init_args"]["eval_batch_size"] = 2
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    check_run("fit", "--config=tiny.yaml", cwd=folder)
    for name in ("best.ckpt", "best.safetensors"):
        (folder / "runs" / "fit" / "checkpoints" / name).rename(folder / name)
    return folder


def options(trained: Path, *more: object) -> list[str]:
    return [f"--config={trained}/tiny.yaml", *map(str, more)]


@pytest.fixture
def best(trained: Path, tmp_path: Path) -> Path:
    """The checkpoint in a directory of its own."""
    weights = tmp_path / "weights" / "best.ckpt"
    weights.parent.mkdir()
    weights.write_bytes((trained / "best.ckpt").read_bytes())
    return weights


@pytest.mark.slow
def test_one_and_two_processes_choose_alike(trained: Path, best: Path, tmp_path: Path) -> None:
    chosen, printed = [], []
    for name, processes in (("one", []), ("two", TWO)):
        process = check_run(
            "validate", *options(trained, f"--ckpt_path={best}", f"--name={name}", *CHOOSE, *processes), cwd=tmp_path
        )
        beside = best.with_name("best.operating_point.json")
        assert beside.read_bytes() == (tmp_path / "runs" / name / "operating_point.json").read_bytes()
        chosen.append(beside.read_bytes())
        beside.unlink()
        output = process.stdout + process.stderr
        assert output.count("Operating point on val: recall of at least 0.3") == 1
        printed.append(output[output.index("Operating point on val") :].splitlines()[:8])
    assert chosen[0] == chosen[1]
    assert printed[0] == printed[1]


def test_validate_writes_to_the_run_and_beside_the_checkpoint(
    trained: Path, best: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = best.read_bytes()
    main(["validate", *options(trained, f"--ckpt_path={best}", *CHOOSE)])
    assert sorted(path.name for path in best.parent.iterdir()) == ["best.ckpt", "best.operating_point.json"]
    assert best.read_bytes() == before
    point = OperatingPoint.load(best.with_name("best.operating_point.json"))
    assert OperatingPoint.load(Path("runs/validate/operating_point.json")) == point
    assert point.target == Target("recall", 0.3)
    assert len(point.thresholds(NAMES)) == 5
    assert point.overall.num_detections > 0
    assert (point.evaluation.split, point.evaluation.num_images) == ("val", 7)
    assert point.evaluation.data == str(trained / "shapes" / "data.yaml")
    assert point.suppression is not None
    assert (point.suppression.iou_threshold, point.suppression.multi_label) == (0.6, True)
    assert point.weights == WeightsFile.of(best)
    assert point.doubt(best) is None
    output = capsys.readouterr()
    text = output.out + output.err
    table = text[text.index("Operating point on val") :]
    assert all(name in table for name in ("all", *NAMES))
    assert text.index("mAP50-95") < text.index("Operating point on val")
    # Figures are those of a validation without it.
    main(["validate", *options(trained, f"--ckpt_path={best}", "--name=plain")])
    assert Path("runs/plain/metrics.json").read_text() == Path("runs/validate/metrics.json").read_text()
    assert not Path("runs/plain/operating_point.json").exists()


def test_test_replaces_that_of_validation(trained: Path, best: Path) -> None:
    beside = best.with_name("best.operating_point.json")
    for command, split in (("validate", "val"), ("test", "test")):
        main([command, *options(trained, f"--ckpt_path={best}", "--operating_point.f_beta=1")])
        point = OperatingPoint.load(beside)
        assert (point.evaluation.split, point.target) == (split, Target("f_beta", 1.0))


def test_weights_instead_of_a_checkpoint(trained: Path, tmp_path: Path) -> None:
    weights = tmp_path / "shared.safetensors"
    weights.write_bytes((trained / "best.safetensors").read_bytes())
    main(["validate", *options(trained, f"--model.weights={weights}", *CHOOSE)])
    assert OperatingPoint.load(tmp_path / "shared.operating_point.json").weights == WeightsFile.of(weights)
    # The configuration of that run chooses for other weights, too, and stores the result beside these.
    other = tmp_path / "other.safetensors"
    other.write_bytes(weights.read_bytes())
    (tmp_path / "shared.operating_point.json").unlink()
    main(["validate", "--config=runs/validate/config.yaml", f"--model.weights={other}"])
    assert OperatingPoint.load(tmp_path / "other.operating_point.json").weights == WeightsFile.of(other)
    assert not (tmp_path / "shared.operating_point.json").exists()


def test_another_file_of_that_name_stays(trained: Path, best: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes = best.with_name("best.operating_point.json")
    notes.write_text("my notes")
    with pytest.warns(UserWarning, match=r"the operating point was not written to .*best.operating_point.json is no"):
        main(["validate", *options(trained, f"--ckpt_path={best}", *CHOOSE)])
    assert notes.read_text() == "my notes"
    assert OperatingPoint.load(Path("runs/validate/operating_point.json")).weights == WeightsFile.of(best)


def test_a_directory_that_cannot_be_written(trained: Path, best: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = Path.write_text

    def refuse(self: Path, *arguments: str, **more: str) -> int:
        if self.parent == best.parent:
            raise PermissionError(13, "Permission denied", str(self))
        return write(self, *arguments, **more)

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.warns(UserWarning, match=r"was not written to .*Permission denied"):
        main(["validate", *options(trained, f"--ckpt_path={best}", *CHOOSE)])
    assert [path.name for path in best.parent.iterdir()] == ["best.ckpt"]
    assert json.loads(Path("runs/validate/operating_point.json").read_text())["version"] == 1


def test_thresholds_below_the_lowest_score_are_warned_of(trained: Path, best: Path) -> None:
    floor = "--model.postprocess.confidence_threshold=0.02"
    with pytest.warns(UserWarning, match=r"below 0.02 are left out.*--model.postprocess.confidence_threshold=0.001"):
        main(["validate", *options(trained, f"--ckpt_path={best}", floor, "--operating_point.recall=0.01")])


def test_nothing_found_is_said_after_the_figures_are_written(
    trained: Path, best: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = "--model.postprocess.confidence_threshold=1.0"
    with pytest.warns(UserWarning, match="below 1 are left out"):
        assert main(["validate", *options(trained, f"--ckpt_path={best}", nothing, *CHOOSE)]) != 0
    output = capsys.readouterr()
    assert "no operating point: none of the" in output.err
    assert "Traceback" not in output.out + output.err
    assert Path("runs/validate/metrics.json").exists()
    assert not best.with_name("best.operating_point.json").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["precision=0.9", "recall=0.9"], "operating_point has precision and recall: a threshold is chosen for one"),
        (["precision=1.5"], "precision is 1.5; it must be above 0 and at most 1"),
        (["conservative=true"], "conservative needs operating_point.precision or operating_point.recall"),
        (["f_beta=1", "conservative=true"], "conservative is for a wanted precision or recall"),
        (["recall=0.5", "iou_threshold=0"], "iou_threshold is 0.0; it must be above 0"),
        (["recall=0.5", "num_resamples=1"], "num_resamples is 1; it must be at least 100"),
    ],
)
def test_bad_settings_are_refused_before_anything_runs(
    arguments: list[str], message: str, trained: Path, best: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"--operating_point.{item}" for item in arguments]
    assert main(["validate", *options(trained, f"--ckpt_path={best}", *given)]) != 0
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_fit_says_that_it_does_not_choose(trained: Path, tmp_path: Path) -> None:
    process = check_run("fit", *options(trained, "--trainer.max_epochs=1", *CHOOSE), cwd=tmp_path)
    assert "only validate and test choose an operating point: run validate" in process.stdout + process.stderr
    assert not list(tmp_path.rglob("*operating_point.json"))
