"""``yolo-lightning detect``: every option on real files, through the command line."""

from __future__ import annotations

import csv
import json
import os
import resource
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.inference.conftest import CLASS_NAMES, tiny_detector
from tests.inference.streams.fakes import motion_jpeg
from tests.runs import command, environment
from tests.test_operating_point import POINT
from yolo_lightning.cli import main
from yolo_lightning.inference import Predictor, load
from yolo_lightning.inference.writers.video import VideoWriter
from yolo_lightning.models import save_weights

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = "--image-size=64"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(tiny_detector(), path, CLASS_NAMES)
    return path


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """A folder: two pictures, one in a folder below, a broken one, and a video of seven frames."""
    folder = tmp_path_factory.mktemp("media")
    generator = np.random.default_rng(3)
    (folder / "below").mkdir()
    for name, size in {"a.png": (48, 64), "b.jpg": (320, 160), "below/a.png": (64, 64)}.items():
        cv2.imwrite(str(folder / name), generator.integers(0, 256, (*size, 3), np.uint8))
    (folder / "broken.jpg").write_bytes((folder / "b.jpg").read_bytes()[:200])
    with VideoWriter(folder / "clip.mp4", 10, (48, 64)) as video:
        for _ in range(7):
            video.write(cv2.resize(generator.integers(0, 256, (6, 8, 3), np.uint8), (64, 48)))
    return folder


@pytest.fixture
def detect(weights, tmp_path, monkeypatch, capsys):
    """Runs the command; gives its status, what it wrote to the terminal, and the run directory."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments, weights=weights):
        before = set(tmp_path.glob("runs/*"))
        status = main(["detect", str(weights), *map(str, arguments), SIZE, "--device=cpu"])
        made = set(tmp_path.glob("runs/*")) - before
        captured = capsys.readouterr()
        return status, captured.out + captured.err, made.pop() if made else None

    return call


def names(directory: Path, pattern: str = "*") -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob(pattern) if path.is_file())


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(path) as video:
        return [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]


def test_names_that_are_no_text(detect, media, tmp_path):
    """Bytes that are no UTF-8, control codes, markup: the tables and the terminal take them all."""
    folder = tmp_path / "odd"
    folder.mkdir()
    names = [b"bad\xff.png", b"esc\x1b[31m.png", b"[red]x[red].png", "größe.png".encode()]
    for name in names:
        (folder / os.fsdecode(name)).write_bytes((media / "a.png").read_bytes())
    (folder / "\x1b[31mbroken.png").write_bytes(b"")
    status, output, directory = detect(folder, "--save-csv", "--save-json", "--save-txt", "--verbose")
    assert status == 1
    assert "\x1b[31m" not in output
    assert "\\x1b[31mbroken.png" in output
    entries = json.loads((directory / "detections.json").read_text())
    assert {os.fsencode(entry["image"]) for entry in entries} >= {b"bad\xff.png", "größe.png".encode()}
    assert len(entries) == len(names)
    assert len(names_of_pictures := list(directory.glob("*.png"))) == len(names), names_of_pictures


def test_many_videos_are_completed_one_by_one(detect, media, tmp_path):
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number}.mp4").write_bytes((media / "clip.mp4").read_bytes())
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 24, limits[1]))
    try:
        status, output, directory = detect(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert status == 0, output
    assert [len(frames_of(directory / f"{number}.mp4")) for number in range(12)] == [7] * 12


def test_pictures(detect, media):
    status, output, directory = detect(media / "a.png", media / "b.jpg")
    assert status == 0
    assert names(directory) == ["a.png", "b.jpg"]
    assert "2 images or frames" in output
    assert "results in runs/detect" in output
    drawn, original = cv2.imread(str(directory / "a.png")), cv2.imread(str(media / "a.png"))
    assert drawn.shape == original.shape
    assert (drawn != original).any()


def test_a_folder_with_a_broken_picture(detect, media):
    status, output, directory = detect(media)
    assert status == 1, "a picture could not be read"
    assert names(directory) == ["a.png", "b.jpg", "clip.mp4"]
    assert "failed: " in output
    assert "broken.jpg" in output
    assert "1 could not be read" in output
    assert len(frames_of(directory / "clip.mp4")) == 7


def test_folders_below_and_equal_names(detect, media):
    status, _, directory = detect(media, "--recursive")
    assert status == 1
    assert len(names(directory, "*.png")) == 2, "two pictures of one name"


def test_a_run_directory_is_never_used_twice(detect, media):
    directories = [detect(media / "a.png", "--name=mine")[2].name for _ in range(2)]
    assert directories == ["mine", "mine-2"]


def test_labels(detect, media, weights):
    _, _, directory = detect(media / "a.png", "--save-txt", "--no-save" if False else "--save=false")
    expected = load(weights, device="cpu", size=64)(media / "a.png").xywhn[0].numpy()
    rows = np.loadtxt(directory / "labels" / "a.txt", ndmin=2)
    np.testing.assert_allclose(rows, expected[:, [5, 0, 1, 2, 3]], atol=1e-5)
    assert names(directory) == ["labels/a.txt"]
    _, _, directory = detect(media / "a.png", "--save-txt", "--save-confidence", "--txt-form=xyxy", "--save=false")
    corners = load(weights, device="cpu", size=64)(media / "a.png").xyxyn[0].numpy()
    np.testing.assert_allclose(
        np.loadtxt(directory / "labels" / "a.txt", ndmin=2), corners[:, [5, 0, 1, 2, 3, 4]], atol=1e-5
    )


def test_tables(detect, media, weights):
    options = ("--save-csv", "--save-json", "--save-coco", "--save=false")
    _, _, directory = detect(media / "a.png", media / "clip.mp4", *options)
    table = load(weights, device="cpu", size=64)(media / "a.png").xyxy[0]
    with (directory / "detections.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    first = [row for row in rows if row["image"] == "a.png"]
    assert [row["name"] for row in first] == [CLASS_NAMES[int(label)] for label in table[:, 5]]
    np.testing.assert_allclose([float(row["xmin"]) for row in first], table[:, 0], atol=0.01)
    assert {row["frame"] for row in rows if row["image"] == "clip.mp4"} == {str(number) for number in range(7)}
    entries = json.loads((directory / "detections.json").read_text())
    assert [(entry["image"], entry["frame"]) for entry in entries] == [
        ("a.png", None),
        *(("clip.mp4", number) for number in range(7)),
    ]
    assert len(entries[0]["detections"]) == len(table)
    assert entries[-1]["time"] == pytest.approx(0.6)
    records = json.loads((directory / "coco_detections.json").read_text())
    assert len(records) == len(rows)
    assert records[0]["image_id"] == "a"
    assert {record["category_id"] for record in records} <= {0, 1, 2}


def test_nothing_is_found(detect, media):
    options = ("--save-csv", "--save-json", "--save-coco", "--save-txt", "--save-crops")
    status, output, directory = detect(media / "a.png", "--confidence-threshold=1", *options)
    assert status == 0
    assert "0 detections" in output
    assert (directory / "detections.csv").read_text().count("\n") == 1
    assert json.loads((directory / "coco_detections.json").read_text()) == []
    assert json.loads((directory / "detections.json").read_text())[0]["detections"] == []
    assert names(directory / "labels") == []
    assert np.array_equal(cv2.imread(str(directory / "a.png")), cv2.imread(str(media / "a.png")))


def test_crops(detect, media, weights):
    _, _, directory = detect(media / "a.png", "--save-crops", "--save=false")
    table = load(weights, device="cpu", size=64)(media / "a.png").xyxy[0]
    assert len(names(directory / "crops", "*.jpg")) == len(table)
    assert {path.split("/")[0] for path in names(directory / "crops")} <= set(CLASS_NAMES)


def test_feature_maps(detect, media):
    scores = []
    for option in ("--save-features=false", "--save-features"):
        options = (option, "--batch-size=3", "--save-json", "--save=false")
        status, _, directory = detect(media / "a.png", media / "clip.mp4", *options)
        assert status == 0
        scores.append((directory / "detections.json").read_text())
    assert scores[0] == scores[1], "the same results"
    pictures = ["a", *(f"clip_{number}" for number in range(7))]
    layers = [*range(11), 13, 14, 17, 18, 20, 21, 23]
    found = names(directory / "features", "*.npy")
    assert {(path.split("/")[0], int(path.split("/")[1][:2])) for path in found} == {
        (picture, layer) for picture in pictures for layer in layers
    }
    assert [path.replace(".png", ".npy") for path in names(directory / "features", "*.png")] == found
    assert np.load(directory / "features/clip_6/23_C3.npy").shape[1:] == (2, 2)


def test_feature_maps_alone(detect, media):
    _, output, directory = detect(media / "a.png", "--save-features", "--save=false")
    assert "results in runs/detect" in output
    assert [path.name for path in directory.iterdir()] == ["features"]


def test_nothing_to_save_makes_no_directory(detect, media):
    status, output, directory = detect(media / "a.png", "--save=false", "--verbose")
    assert (status, directory) == (0, None)
    assert "a.png 48x64" in output


DETECTION_OPTIONS = {
    "--confidence-threshold=0.6": {"confidence_threshold": 0.6},
    "--iou-threshold=0.1": {"iou_threshold": 0.1},
    "--max-detections=2": {"max_detections": 2},
    "--classes=[square,2]": {"classes": ["square", 2]},
    "--class-agnostic": {"class_agnostic": True},
    "--augment": {"augment": True},
    "--image-size=[32,96]": {"size": (32, 96)},
}


@pytest.mark.parametrize("option", DETECTION_OPTIONS)
def test_options_of_detection(option, detect, media, weights):
    _, _, directory = detect(media / "a.png", "--save-json", "--save=false", SIZE, option)
    if "image-size" in option:
        arguments = ["detect", str(weights), str(media / "a.png"), "--save-json", "--save=false", option]
        assert main([*arguments, "--device=cpu"]) == 0
        directory = directory.with_name("detect-2")
    (entry,) = json.loads((directory / "detections.json").read_text())
    settings = {"size": 64, **DETECTION_OPTIONS[option]}
    (table,) = load(weights, device="cpu")(media / "a.png", **settings).xyxy
    assert [found["confidence"] for found in entry["detections"]] == [round(s, 5) for s in table[:, 4].tolist()]
    assert len(table) > 0
    plain = load(weights, device="cpu", size=64)(media / "a.png").xyxy[0]
    assert table.shape != plain.shape or not table.equal(plain), "the option does something"


def test_precision_batches_and_slices(detect, media):
    for option in ("--precision=bfloat16", "--batch-size=4", "--slice-size=32"):
        status, output, _ = detect(media / "a.png", media / "clip.mp4", option)
        assert status == 0, output
        assert "8 images or frames" in output


def test_batches_change_nothing(detect, media):
    found = []
    for size in (1, 3):
        _, _, directory = detect(media / "clip.mp4", f"--batch-size={size}", "--save-json", "--save=false")
        entries = json.loads((directory / "detections.json").read_text())
        found.append([[each["confidence"] for each in entry["detections"]] for entry in entries])
    first, second = found
    assert [len(each) for each in first] == [len(each) for each in second]
    np.testing.assert_allclose(np.concatenate(first), np.concatenate(second), atol=1e-3)


def test_ensembles(detect, media, weights, tmp_path):
    other = tmp_path / "other.safetensors"
    save_weights(tiny_detector(seed=1), other, CLASS_NAMES)
    both = f"{weights},{other}"
    results = []
    for fusion in ("nms", "weighted_boxes"):
        _, _, directory = detect(media / "a.png", f"--fusion={fusion}", "--save-json", "--save=false", weights=both)
        results.append(json.loads((directory / "detections.json").read_text())[0]["detections"])
    ensemble = load([weights, other], device="cpu", size=64)
    assert [each["confidence"] for each in results[0]] == [
        round(score, 5) for score in ensemble(media / "a.png").xyxy[0][:, 4].tolist()
    ]
    assert results[0] != results[1]


def test_video_keeps_rate_size_and_number_of_frames(detect, media):
    status, _, directory = detect(media / "clip.mp4")
    assert status == 0
    with av.open(directory / "clip.mp4") as video:
        stream = video.streams.video[0]
        assert (stream.height, stream.width, float(stream.average_rate)) == (48, 64, 10.0)
    assert len(frames_of(directory / "clip.mp4")) == 7


def test_video_stride(detect, media):
    _, _, directory = detect(media / "clip.mp4", "--video-stride=3", "--save-json")
    entries = json.loads((directory / "detections.json").read_text())
    assert [entry["frame"] for entry in entries] == [0, 3, 6]
    assert len(frames_of(directory / "clip.mp4")) == 3


def test_drawing_options(detect, media):
    pictures = []
    for option in ("--line-width=1", "--line-width=6", "--hide-labels", "--hide-confidence", "--save"):
        _, _, directory = detect(media / "b.jpg", option)
        pictures.append((directory / "b.jpg").read_bytes())
    assert len(set(pictures)) >= 4


def test_patterns_lists_and_addresses(detect, media, tmp_path):
    (tmp_path / "list.txt").write_text(f"{media}/a.png\n{media}/missing.png\n{media}/b.jpg\n")
    status, output, directory = detect("list.txt")
    assert status == 1
    assert names(directory) == ["a.png", "b.jpg"]
    assert "missing.png" in output
    _, _, directory = detect(f"{media}/*.png")
    assert names(directory) == ["a.png"]
    _, _, directory = detect((media / "a.png").as_uri())
    assert names(directory) == ["a.png"]


def test_operating_point(detect, media, tmp_path):
    thresholds = (0.3, 0.9, 1.0)
    classes = [
        replace(POINT.classes[0], name=name, threshold=threshold, threshold_interval=None)
        for name, threshold in zip(CLASS_NAMES, thresholds, strict=True)
    ]
    path = tmp_path / "point.json"
    replace(POINT, classes=tuple(classes), weights=None).save(path)
    _, _, directory = detect(media / "a.png", f"--operating-point-file={path}", "--save-json", "--save=false")
    (entry,) = json.loads((directory / "detections.json").read_text())
    assert entry["detections"]
    for found in entry["detections"]:
        assert found["confidence"] > thresholds[found["class"]]


BAD = {
    "no source": ([], "sources"),
    "missing source": (["missing.jpg"], "missing.jpg"),
    "folder without images": (["empty"], "empty"),
    "scheme": (["ftp://example.org/a.jpg"], "ftp"),
    "class": (["a.png", "--classes=[dog]"], "dog"),
    "threshold": (["a.png", "--iou-threshold=3"], "between 0 and 1"),
    "batch": (["a.png", "--batch-size=0"], "batch_size"),
    "stride": (["a.png", "--video-stride=0"], "stride"),
    "slices": (["a.png", "--slice-size=50"], "stride"),
    "device": (["a.png", "--device=cuda:7"], "cuda:7"),
    "features augmented": (["a.png", "--save-features", "--augment"], "without augment"),
    "features of slices": (["a.png", "--save-features", "--slice-size=32"], "without slices"),
    "option": (["a.png", "--foo=1"], "foo"),
    "line": (["a.png", "--line-width=-3"], "line_width"),
    "name": (["a.png", "--name=../up"], "name"),
    "view": (["a.png", "--view"], "display"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case, weights, media, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.png").write_bytes((media / "a.png").read_bytes())
    arguments, message = BAD[case]
    given = ["--device=cpu"] if case != "device" else []
    try:
        status = main(["detect", str(weights), *arguments, *given])
    except SystemExit as error:
        status = error.code
    captured = capsys.readouterr()
    assert status in (1, 2)
    assert message in captured.err + captured.out
    assert "Traceback" not in captured.err
    assert not list(tmp_path.glob("runs/*/*"))


def test_bad_weights(detect, media, tmp_path):
    for given, message in (("missing.pt", "missing.pt"), (str(media / "a.png"), "cannot read weights")):
        status, output, _ = detect(media / "a.png", weights=given)
        assert status == 1
        assert message in output


@pytest.mark.parametrize("augment", [False, True])
def test_official_detections(augment, shared, golden, tmp_path, monkeypatch):
    """What YOLOv5 itself finds, from files to the file of results."""
    monkeypatch.chdir(tmp_path)
    folders = [shared / "data" / "images", shared / "data" / "coco-mini" / "images" / "val"]
    options = ["--device=cpu", "--save=false", "--save-json", f"--augment={augment}"]
    assert main(["detect", str(shared / "weights" / "yolov5n.pt"), *map(str, folders), *options]) == 0
    expected = json.loads((golden / "official_yolov5n_detections.json").read_text())
    entries = json.loads((tmp_path / "runs" / "detect" / "detections.json").read_text())
    assert {entry["image"] for entry in entries} == set(expected)
    for entry in entries:
        wanted = np.array(expected[entry["image"]]["detect_tta" if augment else "detect"]).reshape(-1, 6)
        found = entry["detections"]
        boxes = np.array([list(each["box"].values()) for each in found]).reshape(-1, 4)
        np.testing.assert_allclose(boxes, wanted[:, :4], atol=0.05, err_msg=entry["image"])
        np.testing.assert_allclose([each["confidence"] for each in found], wanted[:, 4], atol=5e-4)
        assert [each["class"] for each in found] == wanted[:, 5].tolist(), entry["image"]


@pytest.mark.parametrize(
    "policy", ["latest", *(pytest.param(p, marks=pytest.mark.slow) for p in ("all", "drop-oldest"))]
)
def test_a_stream_until_it_is_interrupted(policy, weights, tmp_path):
    """A process of its own, stopped as a person stops it: the video is whole, and the status is that of success."""
    with motion_jpeg() as server:
        server.serve = server.steady
        arguments = [
            "detect",
            weights,
            server.url,
            SIZE,
            "--device=cpu",
            "--save-json",
            "--verbose",
            f"--stream-policy={policy}",
        ]
        process = subprocess.Popen(
            command(*arguments),
            cwd=tmp_path,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(5):  # a line for each frame
            assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "interrupted" in output
    directory = tmp_path / "runs" / "detect"
    entries = json.loads((directory / "detections.json").read_text())
    (video,) = directory.glob("*.mp4")
    assert len(frames_of(video)) == len(entries) >= 4
    assert "Traceback" not in output


def test_help_comes_at_once_and_names_all():
    began = time.perf_counter()
    process = subprocess.run(command("detect", "--help"), capture_output=True, text=True, env=environment(), check=True)
    assert time.perf_counter() - began < 30
    for word in ("weights", "sources", "--save_txt", "--classes", "--operating_point", "rtsp"):
        assert word in process.stdout
    assert "torch" not in process.stderr


def test_predictor_is_what_detect_uses(weights):
    assert isinstance(load(weights, device="cpu"), Predictor)
