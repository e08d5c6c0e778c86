"""``yolo-lightning detect``: finds objects in pictures, videos and streams, and shows or saves what it found."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["detect"]


def detect(
    weights: str,
    sources: list[str],
    *,
    image_size: int | tuple[int, int] | None = None,
    confidence_threshold: float | None = None,
    iou_threshold: float | None = None,
    max_detections: int = 1000,
    classes: list[int | str] | None = None,
    class_agnostic: bool | None = None,
    operating_point: bool = False,
    operating_point_file: Path | None = None,
    augment: bool = False,
    fusion: Literal["nms", "weighted_boxes"] = "nms",
    slice_size: int | tuple[int, int] | None = None,
    slice_overlap: float = 0.2,
    device: str = "auto",
    precision: Literal["float32", "bfloat16", "float16"] = "float32",
    batch_size: int = 1,
    recursive: bool = False,
    video_stride: int = 1,
    stream_policy: Literal["latest", "all", "drop-oldest"] = "latest",
    runs: Path = Path("runs"),
    name: str = "detect",
    save: bool = True,
    save_txt: bool = False,
    save_confidence: bool = False,
    txt_form: Literal["xywh", "xyxy"] = "xywh",
    save_crops: bool = False,
    save_csv: bool = False,
    save_json: bool = False,
    save_coco: bool = False,
    save_features: bool = False,
    line_width: int | None = None,
    hide_labels: bool = False,
    hide_confidence: bool = False,
    view: bool = False,
    verbose: bool = False,
) -> int:
    """Finds objects in pictures, videos, cameras and streams.

    Examples: `yolo-lightning detect yolov5s.pt bus.jpg`, `detect best.ckpt pictures/ clip.mp4 --save-txt`,
    `detect best.ckpt 0 --view` (camera 0), `detect a.pt,b.pt pictures/` (an ensemble).

    Pictures and videos with the boxes drawn on them go to a new directory, runs/detect or runs/detect-2 and so on,
    under the names of the originals. A source that cannot be read does not stop the others; the exit status is then 1.
    Ctrl-C ends a stream and completes the files.

    Args:
        weights: A published YOLOv5 file (downloaded if it is a bare name such as yolov5s.pt), a checkpoint of this
            library, or safetensors. Several, separated by commas, are an ensemble.
        sources: Pictures, videos, folders, patterns such as 'pictures/*.jpg', a .txt file that lists paths, a .streams
            file that lists addresses, the number of a camera, `screen [number] [left top width height]`, http(s)
            addresses of pictures and videos, streams (http, https, rtsp, rtmp), pages of YouTube. Streams are read at
            the same time.
        image_size: Pixels that the longer side is scaled to, or [height, width] to fit into. By default 640, or what an
            exported file is for.
        confidence_threshold: Only detections above it count, 0…1. By default 0.25, or as the operating point has it.
        iou_threshold: Boxes of one class that overlap by more than this are one object, 0…1. By default 0.45, or as the
            operating point has it.
        max_detections: Most detections of an image.
        classes: Classes to report, by name or number: [person, 2].
        class_agnostic: Boxes suppress each other whatever their classes. By default no, or as the operating point has
            it.
        operating_point: Take the thresholds of the classes that `validate --operating_point…` chose and stored beside
            the weights.
        operating_point_file: Take them from this file, which it wrote.
        augment: Look at each image at three scales, once mirrored: slower, and finds a little more.
        fusion: How boxes of an ensemble become one: the best suppresses the others (nms), or they are averaged
            (weighted_boxes).
        slice_size: Look at large pictures in tiles of so many pixels, without shrinking them: for small objects.
        slice_overlap: Part of a tile that it shares with its neighbours, 0…1.
        device: auto, cpu, cuda, cuda:1, mps. auto takes the GPU if there is one.
        precision: What the network computes in. float16 needs a GPU.
        batch_size: Pictures or frames that go through the network together.
        recursive: Look for pictures and videos in folders of folders, too.
        video_stride: Use every n-th frame of videos and streams.
        stream_policy: Which frames of a stream to use if they come faster than the network is: only the latest; all,
            where the stream waits once 32 frames do; or drop-oldest, the newest 32.
        runs: Directory of the run directories.
        name: Name of the run directory.
        save: Save pictures and videos with what was found.
        save_txt: Save labels/<picture>.txt as data sets have them: class, centre, width and height as fractions.
        save_confidence: Put the confidence behind each line of these.
        txt_form: xyxy has corners instead of centre and size in these.
        save_crops: Save each object as crops/<class>/<picture>.jpg.
        save_csv: Save detections.csv, with a row for each object.
        save_json: Save detections.json, with an entry for each picture.
        save_coco: Save coco_detections.json, in the form of COCO's result files.
        save_features: Save features/<picture>/<layer>.png, the first 32 channels of what each layer makes of each
            picture, and all channels as .npy: some 50 MB for a picture and yolov5s.
        line_width: Of boxes, in pixels. By default it grows with the picture.
        hide_labels: Draw boxes without the names of the classes.
        hide_confidence: Draw names without the confidence.
        view: Show a window with what was found; q closes it, and ends the command. If all sources are pictures, the
            last one stays until then, when the command is run in a terminal.
        verbose: Print a line for each picture.

    Returns:
        0, or 1 if a source could not be read.

    Raises:
        InputError: If weights, a source, or an option is wrong.
    """
    # Imported here, so that --help comes at once.
    from yolo_lightning.errors import InputError
    from yolo_lightning.inference.loading import load
    from yolo_lightning.inference.sources import parse_sources
    from yolo_lightning.inference.window import check_display
    from yolo_lightning.models import Slices, WeightedBoxesFusion
    from yolo_lightning.tools.detection_run import DetectionRun, Outputs

    for option, value in {"batch_size": batch_size, "line_width": line_width}.items():
        if value is not None and value < 1:
            raise InputError(f"{option} is {value}; it must be at least 1")
    if view:
        check_display()
    opened = parse_sources(sources, recursive=recursive, video_stride=video_stride, policy=stream_policy)
    given = {
        "size": image_size,
        "confidence_threshold": confidence_threshold,
        "iou_threshold": iou_threshold,
        "class_agnostic": class_agnostic,
    }
    predictor = load(
        _files(weights),
        device=device,
        precision=precision,
        operating_point=operating_point_file or operating_point,
        **{name: value for name, value in given.items() if value is not None},  # type: ignore[arg-type]
        max_detections=max_detections,
        augment=augment,
        fusion=WeightedBoxesFusion() if fusion == "weighted_boxes" else None,
        slices=Slices(slice_size, slice_overlap) if slice_size else None,
    )
    predictor.classes = classes
    outputs = Outputs(
        runs=runs,
        name=name,
        save=save,
        txt=save_txt,
        txt_confidence=save_confidence,
        txt_form=txt_form,
        crops=save_crops,
        csv=save_csv,
        json=save_json,
        coco=save_coco,
        features=save_features,
        drawing={"labels": not hide_labels, "confidences": not hide_confidence, "line_width": line_width},
    )
    run = DetectionRun(predictor, outputs, batch_size=batch_size, view=view, verbose=verbose)
    return run(opened)


def _files(weights: str) -> list[str]:
    """The files of an ensemble; a comma may also be part of a name."""
    return [weights] if Path(weights).exists() else [part for part in weights.split(",") if part]
