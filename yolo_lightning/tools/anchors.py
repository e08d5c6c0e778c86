"""``yolo-lightning anchors``: how well the published anchors suit a data set, and which would suit it better."""

from __future__ import annotations

from pathlib import Path

__all__ = ["anchors"]


def anchors(
    data: Path,
    *,
    image_size: int | tuple[int, int] = 640,
    num_levels: int = 3,
    num_anchors: int = 9,
    ratio_threshold: float = 4.0,
    generations: int = 1000,
    seed: int = 0,
) -> None:
    """Finds the anchors that suit a data set best.

    Reads the boxes of the split `train` of a YOLO-format data set. Prints YAML for `fit --config`: the fitted anchors,
    and as comments how well they and the published ones suit the boxes. Training itself does this check: see
    `auto_anchor` in `yolo-lightning fit --help`. The same data and seed give the same anchors.

    Args:
        data: The data.yaml, or a folder that contains one.
        image_size: Size of the images that the network sees in pixels, one number or [height, width].
        num_levels: Levels of the network: 3 (P5) or 4 (P6).
        num_anchors: Number of anchors, all levels together.
        ratio_threshold: Width and height of a box and an anchor that suits it differ by less than this factor. It is
            `model.loss.assigner.ratio_threshold` of training.
        generations: Rounds of the genetic search.
        seed: Seed of the search.

    Raises:
        DataError: If the yaml is missing, no valid description of a data set, or names no images with boxes.
        InputError: If a number is out of range, or there are fewer boxes than anchors.
    """
    # Imported here, so that --help comes at once.
    from yolo_lightning.data import YOLODataset
    from yolo_lightning.errors import InputError
    from yolo_lightning.models.head import ANCHORS_P5, ANCHORS_P6
    from yolo_lightning.ops.anchors import box_sizes, fit_anchors, jitter_sizes, measure_anchors
    from yolo_lightning.tools.report import print_line

    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if min(height, width, num_levels, num_anchors) < 1 or num_anchors % num_levels:
        raise InputError(
            f"image_size {image_size}, num_levels {num_levels} and num_anchors {num_anchors} must be positive, and the "
            "anchors as many for each level"
        )
    if min(generations, seed) < 0:
        raise InputError(f"generations {generations} and seed {seed} must not be negative")
    if not ratio_threshold > 1:
        raise InputError(f"ratio_threshold is {ratio_threshold}; a factor between box and anchor is above 1")
    dataset = YOLODataset(data, "train")
    sizes_wh = box_sizes(dataset, (height, width))
    jittered_wh = jitter_sizes(sizes_wh, seed)
    try:
        fitted = fit_anchors(sizes_wh, num_anchors, ratio_threshold, generations, seed)
    except ValueError as error:
        raise InputError(f"{data}: {error}") from error

    print_line(f"# {len(sizes_wh)} boxes of {len(dataset)} training images at {height} × {width} pixels")
    for name, published in {"P5": ANCHORS_P5, "P6": ANCHORS_P6}.items():
        if len(published) == num_levels:
            fit = measure_anchors(jittered_wh, published, ratio_threshold)
            print_line(f"# published anchors ({name}): {fit}")
    print_line(f"# these anchors: {measure_anchors(jittered_wh, fitted.anchors_wh, ratio_threshold)}")
    if fitted.remark:
        print_line(f"# {fitted.remark}")
    print_line(_yaml(fitted.anchors_wh.reshape(num_levels, -1).tolist()))


def _yaml(levels: list[list[float]]) -> str:
    """The anchors at their place in a configuration, a line for each level."""
    keys = ["model:", "init_args:", "detector:", "init_args:", "head:", "init_args:", "anchors:"]
    lines = ["  " * depth + key for depth, key in enumerate(keys)]
    return "\n".join([*lines, *("  " * len(keys) + f"- {level}" for level in levels)])
