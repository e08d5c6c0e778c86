"""Every file in configs/ but the sweep, which is for wandb: it parses, merges with others in any order, and trains."""

import csv
import json
from functools import cache
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from tests.runs import tiny_config
from yolo_lightning.cli import main, training
from yolo_lightning.models import build_detector

CONFIGS = ROOT / "configs"
FILES = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yaml") if path.name != "sweep.yaml")
RECIPES = [name for name in FILES if name.startswith("recipe/")]
MODELS = [name for name in FILES if name.startswith("model/")]


class _ParserReady(Exception):  # noqa: N818
    pass


@pytest.fixture(scope="module")
def parse():
    """Parses `fit` with the real parser, which takes long to build; gives the configuration as plain values."""

    def stop(cli, parser, args):
        raise _ParserReady(parser)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training.YOLOCLI, "parse_arguments", stop)
        with pytest.raises(_ParserReady) as ready:
            training.run(["fit"])
    parser = ready.value.args[0]

    @cache
    def run(*names, arguments=()):
        files = [argument for name in names for argument in ("--config", str(CONFIGS / name))]
        values = parser.parse_args(["fit", *files, *arguments]).fit.as_dict()
        return {key: value for key, value in values.items() if key != "config"}

    return run


def differences(first, second, prefix=""):
    """Keys at which nested dictionaries differ, with the value of the second."""
    found = {}
    for key in {**first, **second}:
        a, b = first.get(key), second.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found |= differences(a, b, f"{prefix}{key}.")
        elif a != b:
            found[f"{prefix}{key}"] = b
    return {name.replace("init_args.", ""): value for name, value in found.items()}


@pytest.mark.parametrize("name", FILES)
def test_parses(parse, name):
    # Two of them only name the defaults.
    assert differences(parse(), parse(name)) or name in {"recipe/scratch-low.yaml", "model/yolov5s.yaml"}


def test_unknown_keys_are_errors(parse, tmp_path):
    file = tmp_path / "bad.yaml"
    file.write_text("data: {init_args: {train_transform: {init_args: {mosiac: 0.5}}}}")
    with pytest.raises(SystemExit):
        parse(file)


# Of the published hyperparameter files, and of ours by their full keys; all else is as by default.
EXPECTED = {
    "scratch-low": {},
    "scratch-med": {"lrf": 0.1, "obj": 0.7, "cls": 0.3, "scale": 0.9, "mixup": 0.1},
    "scratch-high": {"lrf": 0.1, "obj": 0.7, "cls": 0.3, "scale": 0.9, "mixup": 0.1, "copy_paste": 0.1},
    "no-augmentation": {
        **{"lrf": 0.1, "obj": 0.7, "cls": 0.3, "hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0},
        **{"translate": 0.0, "scale": 0.0, "fliplr": 0.0, "mosaic": 0.0},
    },
    "VOC": {
        **{"lr0": 0.00334, "lrf": 0.15135, "momentum": 0.74832, "weight_decay": 0.00025},
        **{"warmup_epochs": 3.3835, "warmup_momentum": 0.59462, "warmup_bias_lr": 0.18657},
        **{"box": 0.02, "cls": 0.21638, "cls_pw": 0.5, "obj": 0.51728, "obj_pw": 0.67198, "anchor_t": 3.3744},
        **{"hsv_h": 0.01041, "hsv_s": 0.54703, "hsv_v": 0.27739, "translate": 0.04591, "scale": 0.75544},
        **{"mosaic": 0.85834, "mixup": 0.04266},
    },
    "Objects365": {
        **{"lr0": 0.00258, "lrf": 0.17, "momentum": 0.779, "weight_decay": 0.00058},
        **{"warmup_epochs": 1.33, "warmup_momentum": 0.86, "warmup_bias_lr": 0.0711},
        **{"box": 0.0539, "cls": 0.299, "cls_pw": 0.825, "obj": 0.632, "anchor_t": 3.44},
        **{"hsv_h": 0.0188, "hsv_s": 0.704, "hsv_v": 0.36, "translate": 0.0902, "scale": 0.491},
    },
    "finetune": {
        **{"lr0": 0.0032, "lrf": 0.12, "momentum": 0.843, "weight_decay": 0.00036},
        **{"warmup_epochs": 2.0, "warmup_momentum": 0.5, "warmup_bias_lr": 0.05},
        **{"box": 0.0296, "cls": 0.243, "cls_pw": 0.631, "obj": 0.301, "obj_pw": 0.911, "anchor_t": 2.91},
        **{"hsv_h": 0.0138, "hsv_s": 0.664, "hsv_v": 0.464, "degrees": 0.373, "translate": 0.245, "scale": 0.898},
        **{"shear": 0.602, "flipud": 0.00856, "mixup": 0.243},
    },
    "feature-extraction": {
        **{"freeze.layers": ["backbone"], "freeze.unfreeze_epoch": 10, "freeze.unfreeze_lr_factor": 0.1},
    },
}
KEYS = {
    "lr0": "model.optimizer.lr",
    "momentum": "model.optimizer.momentum",
    "weight_decay": "model.optimizer.weight_decay",
    "lrf": "model.lr_scheduler.final_factor",
    "warmup_epochs": "model.warmup.epochs",
    "warmup_momentum": "model.warmup.momentum",
    "warmup_bias_lr": "model.warmup.bias_lr",
    "box": "model.loss.box.gain",
    "obj": "model.loss.objectness.gain",
    "obj_pw": "model.loss.objectness.criterion.pos_weight",
    "cls": "model.loss.classification.gain",
    "cls_pw": "model.loss.classification.criterion.pos_weight",
    "anchor_t": "model.loss.assigner.ratio_threshold",
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_are_the_published_ones(parse, name):
    expected = EXPECTED[name.removeprefix("recipe/").removesuffix(".yaml")]
    full = {key: key if "." in key else KEYS.get(key, f"data.train_transform.{key}") for key in expected}
    expected = {full[key]: value for key, value in expected.items()}
    assert differences(parse(), parse(name)) == expected


@pytest.mark.parametrize("recipe", RECIPES)
def test_fragments_merge_in_any_order(parse, recipe):
    own = differences(parse(), parse(recipe))
    model = differences(parse(), parse("model/yolov5m6.yaml"))
    data = {**differences(parse(), parse("data/example.yaml")), "data.batch_size": 7}
    files = ["model/yolov5m6.yaml", "data/example.yaml", recipe]
    for order in (files, files[::-1]):
        merged = parse(*order, arguments=("--data.batch_size", "7"))
        assert differences(parse(), merged) == {**own, **model, **data}


def test_the_command_line_wins_over_files(parse):
    files = ("data/example.yaml", "recipe/VOC.yaml")
    flags = ("--data.path", "mine.yaml", "--model.optimizer.lr", "0.5", "--model.loss.box.gain", "7")
    flags += ("--data.train_transform.mosaic", "0.25", "--model.lr_scheduler", "CosineSchedule")
    changed = differences(parse(*files), parse(*files, arguments=flags))
    assert changed == {
        "data.path": Path("mine.yaml"),
        "model.optimizer.lr": 0.5,
        "model.loss.box.gain": 7.0,
        "data.train_transform.mosaic": 0.25,
        "model.lr_scheduler.class_path": "yolo_lightning.optim.CosineSchedule",
    }


@pytest.mark.parametrize("name", MODELS)
def test_models_have_the_published_number_of_parameters(parse, golden, name):
    published = json.loads((golden / "models.json").read_text())[Path(name).stem]
    values = parse(name)
    with torch.device("meta"):  # shapes without memory
        detector = build_detector(values["model"]["init_args"]["detector"], num_classes=80)
    assert sum(parameter.numel() for parameter in detector.parameters()) == published["params"]
    assert detector.strides == tuple(published["stride"])
    data = values["data"]["init_args"]
    assert (data["image_size"], data["stride"]) == ((1280, 64) if "6" in name else (640, 32))


def test_all_ten_models_are_there(golden):
    assert {Path(name).stem for name in MODELS} == set(json.loads((golden / "models.json").read_text()))


@pytest.fixture
def fit(tmp_path, monkeypatch):
    """Runs `fit` in this process, on a few synthetic pictures of 64 pixels and an eighth of the width."""
    monkeypatch.chdir(tmp_path)

    def run(*names, trainer=None):
        values = tiny_config(None, **(trainer or {}))
        model = values["model"]["init_args"]
        del model["optimizer"], model["warmup"], model["nominal_batch_size"]
        model["detector"]["init_args"] = {"backbone": {"init_args": {"width_multiple": 0.125}}}
        values["data"]["init_args"]["dataset"] = {
            "class_path": "yolo_lightning.data.SyntheticShapes",
            "init_args": {"image_size": 64, "num_train_images": 6, "num_val_images": 3},
        }
        Path("tiny.json").write_text(json.dumps(values))
        files = [argument for name in names for argument in ("--config", str(CONFIGS / name))]
        assert main(["fit", *files, "--config", "tiny.json"]) == 0

    return run


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_train(fit, recipe):
    fit("model/yolov5n.yaml", recipe, trainer={"fast_dev_run": True})


@pytest.mark.slow
@pytest.mark.parametrize("model", [name for name in MODELS if not name.endswith("5n.yaml")])
@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes_train_every_model(fit, recipe, model):
    fit(model, recipe, trainer={"fast_dev_run": True})


def test_debug_fast_dev_run(fit):
    fit("debug/fast-dev-run.yaml")
    assert not Path("runs").exists()


def test_debug_profiler(fit):
    fit("model/yolov5n.yaml", "debug/profiler.yaml")
    assert "run_training_batch" in Path("runs/fit/fit-profile.txt").read_text()


@pytest.mark.slow
def test_debug_overfit_learns_by_heart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    files = [f"--config={CONFIGS / name}" for name in ("model/yolov5n.yaml", "debug/overfit.yaml")]
    assert main(["fit", *files, "--trainer.accelerator=cpu", "--data.num_workers=0"]) == 0
    with Path("runs/fit/metrics.csv").open(newline="") as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert len(losses) == 200
    assert losses[-1] < 0.2 * losses[0]
