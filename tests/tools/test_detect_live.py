"""``yolo-lightning detect`` with a camera, a screen and a window, as a person at a desktop uses them."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import threading

import av
import cv2
import numpy as np
import pytest

from tests.displays import wait_for
from tests.inference.conftest import CLASS_NAMES, tiny_detector
from tests.inference.streams.fakes import FakeCamera, motion_jpeg, picture
from tests.runs import command, environment
from yolo_lightning.cli import main
from yolo_lightning.inference.window import Window
from yolo_lightning.inference.writers.video import VideoWriter
from yolo_lightning.models import save_weights

# Windows and processes of their own: slow, and never to be waited for without an end.
pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow, pytest.mark.timeout(180)]

OPTIONS = ("--image-size=64", "--device=cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of weights."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(tiny_detector(), path, CLASS_NAMES)
    return path


@pytest.fixture
def detect(weights, tmp_path, monkeypatch, capsys):
    """Runs the command; gives its status and what it wrote to the terminal."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        status = main(["detect", str(weights), *map(str, arguments), *OPTIONS])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return call


@pytest.fixture
def started(weights, tmp_path):
    """Starts the command as a process of its own, which ends with the test."""
    processes = []

    def start(*arguments, **options):
        words = command("detect", weights, *arguments, *OPTIONS)
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True} | options
        processes.append(subprocess.Popen(words, cwd=tmp_path, env=environment(), **output))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def num_frames(path):
    with av.open(path) as video:
        return sum(1 for _ in video.decode(video=0))


def press_ctrl_c():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def test_a_camera_until_ctrl_c(detect, monkeypatch, tmp_path):
    opened = []

    def open_device(index):
        opened.append(index)
        return FakeCamera(100, on_last=press_ctrl_c)

    monkeypatch.setattr(cv2, "VideoCapture", open_device)
    status, output = detect("3", "--save-json", "--stream-policy=all")
    assert status == 0, output
    assert opened[0] == 3
    entries = json.loads((tmp_path / "runs/detect/detections.json").read_text())
    assert {entry["source"] for entry in entries} == {"camera 3"}
    assert [entry["frame"] for entry in entries] == list(range(len(entries)))
    assert num_frames(tmp_path / "runs/detect/camera_3.mp4") == len(entries) >= 1


def test_no_camera(detect, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", lambda index: FakeCamera(None))
    status, output = detect("0")
    assert status == 1
    assert "there is no camera 0" in output
    assert "1 could not be read" in output


def test_the_screen_until_ctrl_c(started, display, tmp_path):
    pytest.importorskip("mss")
    process = started("screen", "1", "10", "20", "100", "50", "--save-json", "--verbose")
    for _ in range(3):  # a line for each frame
        assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "interrupted" in output
    entries = json.loads((tmp_path / "runs/detect/detections.json").read_text())
    assert {(entry["source"], entry["height"], entry["width"]) for entry in entries} == {
        ("screen 1 10 20 100 50", 50, 100)
    }
    assert num_frames(tmp_path / "runs/detect/screen_1.mp4") == len(entries) >= 3


def test_a_part_beyond_the_screen(detect, display, tmp_path):
    pytest.importorskip("mss")
    status, output = detect("screen", "0", "300", "0", "100", "50")
    assert status == 1
    assert "320 × 240" in output
    assert not (tmp_path / "runs").exists()


@pytest.fixture
def media(tmp_path):
    """Two pictures of one colour, and a video that takes a while."""
    pytest.importorskip("tkinter")
    for name, value in (("a.png", 50), ("b.png", 200)):
        cv2.imwrite(str(tmp_path / name), picture(value))
    with VideoWriter(tmp_path / "clip.mp4", 30, (48, 64)) as video:
        for _ in range(1500):
            video.write(picture(128))
    return tmp_path


def shows(display, value, size=(48, 64)):
    """Whether a picture of this colour is on the screen."""
    seen = np.abs(display.picture().astype(int) - value).max(2) <= 3
    return seen.sum() == size[0] * size[1]


def test_the_last_picture_stays_until_q(started, display, media):
    """Standard error is a terminal, as where a person types."""
    ours, theirs = pty.openpty()
    said = media / "said.txt"
    with said.open("w") as file:
        process = started("a.png", "b.png", "--view", "--confidence-threshold=1", stderr=theirs, stdout=file)
    os.close(theirs)
    assert wait_for(lambda: "press q in the window" in said.read_text(), 90), said.read_text()
    assert said.read_text().startswith("2 images or frames")
    assert {path.name for path in (media / "runs/detect").iterdir()} == {"a.png", "b.png"}, "complete by now"
    assert wait_for(lambda: shows(display, 200))
    assert process.poll() is None
    assert wait_for(lambda: display.press("q") or process.poll() is not None, 60)
    assert process.wait() == 0
    assert wait_for(lambda: not display.picture().any())
    os.close(ours)


def test_ctrl_c_while_the_last_picture_stays(started, display, media):
    ours, theirs = pty.openpty()
    said = media / "said.txt"
    with said.open("w") as file:
        process = started("a.png", "--view", stderr=theirs, stdout=file)
    os.close(theirs)
    assert wait_for(lambda: "press q in the window" in said.read_text(), 90), said.read_text()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    os.close(ours)


def test_without_a_terminal_the_window_closes_by_itself(detect, display, media, monkeypatch):
    shown = []
    monkeypatch.setattr(Window, "show", lambda self, picture: shown.append(picture.mean()) or True)
    status, output = detect("a.png", "b.png", "--view", "--confidence-threshold=1", "--batch-size=2")
    assert status == 0
    assert shown == [50, 200], "each picture of a batch"
    assert "press q" not in output


def test_q_ends_a_video(started, display, media):
    process = started("clip.mp4", "--view", "--save-json", "--confidence-threshold=1")
    assert wait_for(lambda: shows(display, 128))
    assert wait_for(lambda: display.press("q") or process.poll() is not None, 60)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    entries = json.loads((media / "runs/detect/detections.json").read_text())
    assert num_frames(media / "runs/detect/clip.mp4") == len(entries)
    assert 1 <= len(entries) < 1500


def test_closing_the_window_ends_streams_which_are_side_by_side(started, display, media):
    with motion_jpeg() as first, motion_jpeg() as second:
        for server, value in ((first, 60), (second, 180)):
            server.serve = lambda send, server=server, value=value: [
                send(picture(value)) for _ in iter(lambda: server.done.wait(0.05), True)
            ]
        process = started(first.url, second.url, "--view", "--save-json", "--confidence-threshold=1")
        assert wait_for(lambda: shows(display, 60) and shows(display, 180))
        display.close_window("yolo-lightning")
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "interrupted" not in output
    entries = json.loads((media / "runs/detect/detections.json").read_text())
    videos = list((media / "runs/detect").glob("*.mp4"))
    assert len(videos) == 2
    assert sum(map(num_frames, videos)) == len(entries)


def test_no_display_is_told_before_any_work(detect, media, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.setattr("yolo_lightning.inference.loading.load", None)
    status, output = detect("a.png", "--view")
    assert status == 1
    assert "no display to view on" in output
    assert not (media / "runs").exists()


def test_a_bad_source_leaves_no_window(detect, display, media):
    status, output = detect("missing.png", "--view")
    assert status == 1
    assert "missing.png" in output
    assert not display.picture().any()
