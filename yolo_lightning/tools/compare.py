"""``yolo-lightning compare``: whether one model is better than another, or only looks so on these images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yolo_lightning.metrics.comparison import Comparison, Difference
    from yolo_lightning.metrics.stored import StoredEvaluation

__all__ = ["compare"]


def compare(first: str, second: str, *, resamples: int = 1000, seed: int = 0, json: Path | None = None) -> None:
    """Tells whether two models differ, by a paired bootstrap over the images.

    Reads what `fit`, `validate` or `test` detected on the same images with each model. The verdict is `real` where the
    95 % interval of the difference excludes 0, else `noise`: other images of the same kind, or another seed, could turn
    it round. What another seed would change is best told by several runs, as in `compare a1,a2,a3 b1,b2,b3`: runs of a
    side differ in the seed alone, and the difference is that of their means. For a single run of `fit` it is read from
    how much the figures scatter from epoch to epoch at its end; for one of `validate` or `test` it is left out.

    Args:
        first: Run directory, or evaluation.npz; several runs separated by commas.
        second: The same of the other model.
        resamples: Samples of the images, 100 or more.
        seed: Seed of their drawing.
        json: File to write the figures to.

    Raises:
        InputError: If there is no evaluation, it is damaged, or they are not of the same images, labels and classes.
    """
    # Imported here, so that --help comes at once.
    from dataclasses import asdict

    from yolo_lightning.errors import InputError
    from yolo_lightning.metrics.comparison import check_same_data, compare_evaluations
    from yolo_lightning.metrics.stored import StoredEvaluation
    from yolo_lightning.tools.report import print_line, print_table, text_table, write_json

    if resamples < 100 or seed < 0:
        raise InputError(f"resamples is {resamples}, 100 or more; seed is {seed}, 0 or more")
    paths = [_paths(first), _paths(second)]
    runs = [[StoredEvaluation.load(path) for path in side] for side in paths]
    check_same_data([run for side in runs for run in side], [str(path) for side in paths for path in side])
    noise = _training_noise(paths[0], runs[0]), _training_noise(paths[1], runs[1])
    comparison = compare_evaluations(*runs, training_noise=noise, num_resamples=resamples, seed=seed)
    if json is not None:
        write_json(json, {"first": first, "second": second, **asdict(comparison)})
    print_line(f"first: {first}\nsecond: {second}")
    if not comparison.figures:
        print_line(f"None of the {comparison.num_images} images has a label, so there is nothing to compare.")
        return
    columns = ("first", "second", "change", "95 % interval", "p", "verdict")
    print_table(text_table(("figure", *columns), _rows(comparison.figures)))
    print_table(text_table(("AP50 of class", *columns), _rows(comparison.classes)))
    print_line(_explanation(comparison))


def _paths(side: str) -> list[Path]:
    """A path that exists is one, even with a comma in its name."""
    parts = [side] if Path(side).exists() else [part.strip() for part in side.split(",")]
    return [Path(part) for part in parts if part] or [Path(side)]


def _training_noise(paths: Sequence[Path], runs: Sequence[StoredEvaluation]) -> dict[str, float] | None:
    """Of a single run of fit whose epochs are known."""
    from yolo_lightning.errors import InputError
    from yolo_lightning.metrics.resampling import FIGURES
    from yolo_lightning.metrics.training_noise import training_noise
    from yolo_lightning.plots.history import History

    if len(runs) != 1 or runs[0].epoch is None:
        return None
    try:
        columns = History.read(paths[0] if paths[0].is_dir() else paths[0].parent).columns
    except InputError:
        return None
    return training_noise({name: columns[f"val/{name}"] for name in FIGURES if f"val/{name}" in columns}) or None


def _rows(differences: Sequence[Difference]) -> list[list[str]]:
    return [
        [
            figure.name,
            f"{figure.first:.3f}",
            f"{figure.second:.3f}",
            f"{figure.difference:+.3f}",
            f"{figure.low:+.3f} … {figure.high:+.3f}",
            f"{figure.p_value:.3f}",
            figure.verdict,
        ]
        for figure in differences
    ]


def _chance(side: str, num_runs: int, noise: Mapping[str, float] | None) -> str:
    """How chance in training is taken into account."""
    if num_runs > 1:
        return f"{side}: {num_runs} runs, drawn as well."
    if noise is None:
        return f"{side}: one run; what training again with another seed would change is not in the interval."
    figure = "fitness" if "fitness" in noise else next(iter(noise))
    return (
        f"{side}: one run, whose {figure} scatters by {noise[figure]:.3f} from epoch to epoch at its end; that is in "
        "the interval."
    )


def _explanation(comparison: Comparison) -> str:
    lines = [
        f"Paired bootstrap of {comparison.num_images} images, {comparison.num_resamples} samples, seed "
        f"{comparison.seed}; the change is second − first.",
        "real: the 95 % interval excludes 0. noise: other images of the kind, or another seed, could turn it round.",
    ]
    sides = zip(("first", "second"), comparison.num_seeds, comparison.training_noise, strict=True)
    lines += [_chance(*side) for side in sides]
    if min(comparison.num_seeds) == 1:
        lines.append("Several runs of a side, separated by commas, tell more of what another seed would change.")
    if len(comparison.classes) > 1:
        lines.append("Of 20 classes without any difference, one looks real by chance.")
    return "\n".join(lines)
