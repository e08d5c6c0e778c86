"""A difference is real where a better model is better on other images too."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.metrics.make import make_stored, perturbed
from yolo_lightning.errors import InputError
from yolo_lightning.metrics import evaluate
from yolo_lightning.metrics.comparison import compare_evaluations
from yolo_lightning.metrics.resampling import FIGURES
from yolo_lightning.metrics.training_noise import training_noise


@pytest.fixture(scope="module")
def model():
    return make_stored(120)


def test_a_model_and_itself(model):
    comparison = compare_evaluations([model], [model], num_resamples=100)
    assert [figure.name for figure in comparison.figures] == list(FIGURES)
    assert [figure.name for figure in comparison.classes] == list(model.class_names)
    for figure in comparison.figures + comparison.classes:
        assert (figure.difference, figure.low, figure.high, figure.p_value) == (0, 0, 0, 1)
        assert figure.verdict == "noise"


def test_scores_that_differ_a_little_are_noise(model):
    comparison = compare_evaluations([model], [perturbed(model, 0.02)], num_resamples=200)
    assert {figure.verdict for figure in comparison.figures} == {"noise"}
    assert any(figure.difference for figure in comparison.figures)


def test_a_model_that_misses_much_is_worse(model):
    worse = perturbed(model, 0.02, keep=0.6)
    comparison = compare_evaluations([model], [worse], num_resamples=200)
    first, second = evaluate(model.data), evaluate(worse.data)
    for figure in comparison.figures:
        assert figure.first == pytest.approx(first[figure.name])
        assert figure.second == pytest.approx(second[figure.name])
        assert figure.low < figure.difference < figure.high < 0
        assert figure.verdict == "real"
        assert figure.p_value == pytest.approx(2 / 201)
    mirrored = compare_evaluations([worse], [model], num_resamples=200)
    assert mirrored.figures[0].low == pytest.approx(-comparison.figures[0].high)


def test_pairing_tells_more_than_two_intervals(model):
    """The interval of the difference is narrower than those of the figures."""
    from yolo_lightning.metrics.intervals import precision_intervals

    comparison = compare_evaluations([model], [perturbed(model, 0.02)], num_resamples=200)
    alone = precision_intervals(model.data, num_resamples=200)["map"]
    paired = comparison.figures[0]
    assert paired.high - paired.low < 0.7 * (alone.high - alone.low)


def test_seeds_that_differ_much_widen_the_interval(model):
    """Twice the same two runs differ by nothing, but other runs of the same models would."""
    runs = [model, perturbed(model, 0.02, keep=0.6)]
    single = compare_evaluations([model], [model], num_resamples=200)
    several = compare_evaluations(runs, runs, num_resamples=200)
    assert several.num_seeds == (2, 2)
    figure = several.figures[0]
    values = [evaluate(run.data)["map"] for run in runs]
    assert figure.first == figure.second == pytest.approx(np.mean(values))
    assert single.figures[0].high == 0 < figure.high
    # Means of two runs of standard deviation s differ by s, the widening included.
    assert figure.high - figure.low > 2 * np.std(values, ddof=1)
    assert figure.verdict == "noise"


def test_no_labels():
    empty = make_stored(3, with_labels=False)
    comparison = compare_evaluations([empty], [empty], num_resamples=100)
    assert (comparison.figures, comparison.classes) == ((), ())


def test_other_directories_do_not_matter(model):
    moved = replace(model, images=tuple("C:\\data\\" + image.rsplit("/", 1)[-1] for image in model.images))
    assert compare_evaluations([model], [moved], num_resamples=100).figures


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class_names": ("cat", "dog", "cow")}, "the class names 'straße' and 'cow'"),
        ({"class_names": ("cat", "dog", "straße", "cow")}, "3 and 4 classes"),
        (
            {"images": ("other.png", *(f"images/{i}.png" for i in range(1, 120)))},
            "images are in one of them only, such",
        ),
        ({"image_ids": np.arange(120) + 5}, "other positions"),
        ({"target_labels": 0}, "the labels of"),
        ({"target_boxes": 3.0}, "the labels of"),
    ],
)
def test_other_data(model, change, message):
    name, value = next(iter(change.items()))
    if name.startswith("target"):
        array = getattr(model.data, name)
        change = {"data": replace(model.data, **{name: array * 0 + value})}
    with pytest.raises(InputError, match=message) as error:
        compare_evaluations([model], [replace(model, **change)])
    assert "yolo-lightning validate" in str(error.value)


def test_settings(model):
    with pytest.raises(ValueError, match="num_resamples"):
        compare_evaluations([model], [model], num_resamples=10)
    with pytest.raises(ValueError, match="each side"):
        compare_evaluations([], [model])


def test_chance_in_training_widens_the_interval(model):
    other = perturbed(model, 0.02, keep=0.9)
    alone = compare_evaluations([model], [other], num_resamples=200)
    noise = dict.fromkeys(FIGURES, 0.1)
    both = compare_evaluations([model], [other], training_noise=(noise, noise), num_resamples=200)
    one = compare_evaluations([model], [other], training_noise=(noise, None), num_resamples=200)
    for narrow, wider, widest in zip(*(c.figures + c.classes for c in (alone, one, both)), strict=True):
        assert narrow.difference == wider.difference == widest.difference
        widths = [figure.high - figure.low for figure in (narrow, wider, widest)]
        assert widths == sorted(widths)
        assert widths[0] < 0.9 * widths[2]
    assert {figure.verdict for figure in alone.figures} == {"real"}
    assert {figure.verdict for figure in both.figures} == {"noise"}
    assert both.training_noise == (noise, noise)


def test_several_runs_need_no_guess_of_chance(model):
    runs = [perturbed(model, 0.02), perturbed(model, 0.03)]
    noise = dict.fromkeys(FIGURES, 0.1)
    guessed = compare_evaluations(runs, runs, training_noise=(noise, noise), num_resamples=100)
    assert guessed == compare_evaluations(runs, runs, num_resamples=100)


def test_training_noise_is_what_is_left_of_a_trend():
    generator = np.random.default_rng(0)
    epochs = np.arange(400)
    values = 0.001 * epochs + 0.02 * generator.standard_normal(400)
    values[::7] = np.nan
    noise = training_noise({"rising": values, "straight": epochs / 400, "short": values[:5]})
    assert noise["rising"] == pytest.approx(0.02, rel=0.2)
    assert noise["straight"] == pytest.approx(0, abs=1e-12)
    assert "short" not in noise  # four values
