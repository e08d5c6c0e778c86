"""Times a report of 5,000 images: making it, opening it and moving its slider: ``python benchmarks/report.py``."""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from yolo_lightning.metrics import EVALUATION_FILE, EvaluationData, StoredEvaluation
from yolo_lightning.tools.html_report import report

SIDE, NUM_CLASSES, LABELS_PER_IMAGE, DETECTIONS_PER_IMAGE, NUM_PICTURES = 640, 80, 7, 20, 50
_MOVE = """
const done = arguments[0], slider = document.getElementById("confidence"), times = [];
const move = (i) => {
  if (i === 10) return done(times);
  const start = performance.now();
  slider.value = 0.1 + 0.08 * i;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  requestAnimationFrame(() => setTimeout(() => { times.push(performance.now() - start); move(i + 1); }));
};
move(0);
"""


def write_run(folder: Path, num_images: int, rng: np.random.Generator) -> Path:
    """Labels, and detections near them, on pictures whose JPEGs are about as large as those of photographs."""
    for number in range(NUM_PICTURES):
        coarse = rng.integers(0, 255, (40, 40, 3), np.uint8)
        pixels = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).astype(np.float64)
        pixels += rng.normal(0, 5, pixels.shape)
        cv2.imwrite(str(folder / f"{number}.jpg"), np.clip(pixels, 0, 255).astype(np.uint8))
    corners = rng.uniform(0, 500, (num_images * LABELS_PER_IMAGE, 2))
    boxes = np.hstack((corners, corners + rng.uniform(8, 140, corners.shape)))
    labels = rng.integers(0, NUM_CLASSES, len(boxes))
    index = np.repeat(np.arange(num_images), LABELS_PER_IMAGE)
    found_index = np.repeat(np.arange(num_images), DETECTIONS_PER_IMAGE)
    source = found_index * LABELS_PER_IMAGE + rng.integers(0, LABELS_PER_IMAGE, len(found_index))
    found = boxes[source] + rng.normal(0, 5, (len(source), 4))
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    found_labels = np.where(rng.random(len(source)) < 0.7, labels[source], rng.integers(0, NUM_CLASSES, len(source)))
    scores = rng.beta(1, 2, (num_images, DETECTIONS_PER_IMAGE))
    scores = np.sort(scores, axis=1)[:, ::-1].reshape(-1)
    data = EvaluationData(
        NUM_CLASSES, num_images, found, scores, found_labels, found_index, boxes, labels, index,
        np.zeros(len(boxes), np.bool_), np.prod(boxes[:, 2:] - boxes[:, :2], axis=1),
    )  # fmt: skip
    images = tuple(str(folder / f"{index % NUM_PICTURES}.jpg") for index in range(num_images))
    names = tuple(f"class {label}" for label in range(NUM_CLASSES))
    sizes = np.full((num_images, 2), SIDE)
    StoredEvaluation(data, names, images, np.arange(num_images), sizes, "val").save(folder / EVALUATION_FILE)
    return folder


def measure_browser(page: Path) -> str:
    """Opens a page in Chromium without a window."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.binary_location = shutil.which("chromium") or ""
    driver = webdriver.Chrome(service=webdriver.ChromeService(shutil.which("chromedriver") or ""), options=options)
    try:
        driver.set_page_load_timeout(300)
        driver.get(page.as_uri())
        first = driver.execute_script("return performance.getEntriesByName('first-contentful-paint')[0]?.startTime")
        loaded = driver.execute_script("return performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
        lines = [f"first paint {(first or 0) / 1000:.2f} s, all read {loaded / 1000:.2f} s"]
        for view in ("images", "objects"):
            driver.find_element("id", f"view-{view}").click()
            times = driver.execute_async_script(_MOVE)
            lines.append(f"slider move, {view}: median {np.median(times):.0f} ms, longest {max(times):.0f} ms")
        memory = driver.execute_script("return performance.memory.usedJSHeapSize") / 1e6
        return "; ".join([*lines, f"JavaScript heap {memory:.0f} MB"])
    finally:
        driver.quit()


def main() -> None:
    """Prints seconds, sizes and milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num_images", type=int, default=5000)
    parser.add_argument("--most", type=int, nargs="+", default=[20_000, 100_000])
    parser.add_argument("--image_size", type=int, default=640)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = write_run(Path(folder), arguments.num_images, np.random.default_rng(0))
        for most in arguments.most:
            start = time.perf_counter()
            report(run, most=most, image_size=arguments.image_size)
            print(f"{most} detections at most: made in {time.perf_counter() - start:.1f} s")
            print(measure_browser(run / "report.html"))


if __name__ == "__main__":
    main()
