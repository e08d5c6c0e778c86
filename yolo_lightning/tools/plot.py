"""``yolo-lightning plot``: the pictures of runs, drawn again or of several runs together."""

from __future__ import annotations

from pathlib import Path

__all__ = ["plot"]


def plot(runs: list[str], *, output: Path | None = None, csv: bool = False) -> int:
    """Draws the pictures of a run again, or compares runs.

    Of one run: losses and metrics, learning rates, curves of precision, recall and F1, confusion matrices, and the
    labels of the training data, from `metrics.csv`, `evaluation.npz` and `labels.npz` in the run directory. They
    replace those in its folder images. What is missing or damaged is told, and the rest is drawn.

    Of several runs: losses and metrics in one picture, and the mean curves of all runs, into a new directory.

    Examples: `yolo-lightning plot runs/fit`, `yolo-lightning plot runs/fit runs/fit-2 --csv`.

    Args:
        runs: Run directories.
        output: New directory for the pictures; DIR-2 and so on if it exists. By default the run's own folder images,
            and runs/plot for several runs.
        csv: Write the numbers beside the pictures, too: figures.json, and classes, curves and confusion matrix as CSV.

    Returns:
        0, or 1 if nothing could be drawn.

    Raises:
        InputError: If a run is no directory, or the output cannot be written.
    """
    # Imported here, so that --help comes at once.
    from yolo_lightning.errors import InputError
    from yolo_lightning.paths import new_directory
    from yolo_lightning.plots.export import export_comparison, export_run
    from yolo_lightning.plots.run import Run, compare_runs, draw_run
    from yolo_lightning.tools.report import print_line

    directories = [Path(run) for run in runs]
    for directory in directories:
        if not directory.is_dir():
            raise InputError(f"{directory} is no run directory: give one that `yolo-lightning fit` or `validate` made")
    read = [Run.read(directory, name) for directory, name in zip(directories, _names(directories), strict=True)]
    try:
        if len(read) == 1:
            folder = directories[0] / "images" if output is None else new_directory(output)
            drawn = draw_run(read[0], folder)
            numbers = export_run(read[0], folder) if csv else []
        else:
            folder = new_directory(output or Path("runs/plot"))
            drawn = compare_runs(read, folder)
            numbers = export_comparison(read, folder) if csv else []
    except OSError as error:
        raise InputError(f"the pictures cannot be written: {error}; choose another directory with --output") from error
    for text in (*drawn.notes, *drawn.failures):
        print_line(text)
    written = f"{len(drawn.files)} pictures" + (f" and {len(numbers)} files of numbers" if numbers else "")
    print_line(f"{written} in {folder}" if drawn.files or numbers else "nothing could be drawn")
    if not drawn.files and not numbers and folder.exists() and not any(folder.iterdir()):
        folder.rmdir()
    return 0 if drawn.files else 1


def _names(directories: list[Path]) -> list[str]:
    """The names of the directories, or their paths if names are equal."""
    names = [directory.resolve().name for directory in directories]
    if len(set(names)) < len(names):
        names = [str(directory) for directory in directories]
    if len(set(names)) < len(names):
        names = [f"{name} ({position})" for position, name in enumerate(names, 1)]
    return names
