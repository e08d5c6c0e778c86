"""``yolo-lightning report``: a page that shows what a detector gets right and wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

__all__ = ["report"]


def report(
    run: Path,
    *,
    output: Path | None = None,
    images: Path | None = None,
    image_size: int = 640,
    confidence_threshold: float = 0.05,
    max_images: int | None = None,
    most: int = 100_000,
) -> None:
    """Makes one HTML file of what a detector gets right and wrong.

    Shows the figures of an evaluation, what each kind of error costs, a table of classes, and all images, detections
    and probable errors of labels, with sliders, filters and orders. The file holds everything, small copies of the
    pictures too: it opens in any browser without a network and can be passed on.

    Args:
        run: Directory of a run of `validate`, `test` or `fit`, or its evaluation.npz.
        output: File to write. Default: report.html in the directory, in the place of an older report. Any other file
            that exists stays, and the new one gets a number.
        images: Folder to look for the images in, if they are no longer where they were.
        image_size: Longest side of the pictures in the file, in pixels.
        confidence_threshold: Detections below are left out of the pictures; figures take all.
        max_images: Most images in the file; the worst are taken. Default: all.
        most: Most detections in the file; the most confident are taken.

    Raises:
        InputError: If there is no evaluation, a number is out of range, or the file cannot be written.
    """
    # Imported here, so that --help comes at once.
    import os
    from concurrent.futures import ThreadPoolExecutor

    from yolo_lightning.errors import InputError
    from yolo_lightning.metrics import StoredEvaluation
    from yolo_lightning.report import PictureFinder, encode_picture, select_content, write_page
    from yolo_lightning.tools.report import print_line

    if image_size < 16:
        raise InputError(f"image_size is {image_size}; pictures need at least 16 pixels")
    if not 0 <= confidence_threshold <= 1:
        raise InputError(f"confidence_threshold is {confidence_threshold}; a confidence is from 0 to 1")
    if (max_images is not None and max_images < 1) or most < 1:
        raise InputError(f"max_images {max_images} and most {most} must be at least 1")
    if images is not None and not images.is_dir():
        raise InputError(f"images: {images} is no folder")
    evaluation = StoredEvaluation.load(run)
    directory = run if run.is_dir() else run.parent
    content = select_content(
        evaluation,
        directory.resolve().name or "report",
        confidence_threshold=confidence_threshold,
        max_images=max_images,
        most=most,
    )
    finder = PictureFinder(images)

    def picture(index: int) -> bytes | str:
        found = finder.find(evaluation.images[index])
        if isinstance(found, str):
            return found
        height, width = evaluation.image_sizes[index].tolist()
        return encode_picture(found, (height, width), image_size)

    problems = []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:

        def pictures() -> Iterator[bytes | str]:
            for index, result in zip(content.images.tolist(), pool.map(picture, content.images.tolist()), strict=True):
                if isinstance(result, str):
                    problems.append(f"{evaluation.images[index]}: {result}")
                yield result

        written = write_page(output or directory / "report.html", content.json, pictures(), replace=output is None)
    for problem in problems[:5]:
        print_line(problem)
    if problems:
        print_line(f"{len(problems)} of {len(content.images)} images have no picture; their boxes are shown on grey")
    for note in content.notes:
        print_line(note)
    print_line(f"{written}: {written.stat().st_size / 1e6:.1f} MB")
