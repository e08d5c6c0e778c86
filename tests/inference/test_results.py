"""Results say and save the same detections in every form."""

from __future__ import annotations

import base64
import io
import json
import sys
import types

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageShow

from yolo_lightning.coco import COCO_NAMES
from yolo_lightning.errors import InputError
from yolo_lightning.inference.frames import Frame
from yolo_lightning.inference.results import Results
from yolo_lightning.ops import cxcywh_to_xyxy
from yolo_lightning.types import Detections

NAMES = ("person", "bus", "traffic light")
BOXES = [[10.0, 20.0, 110.0, 70.0], [0.0, 0.0, 30.5, 40.25]]
SPEED = {"preprocess": 1.0, "inference": 20.0, "postprocess": 2.0}


def frame(height=100, width=200, name="bus.jpg", number=None, value=90):
    return Frame(np.full((height, width, 3), value, np.uint8), f"folder/{name}", name, number)


def found(boxes=BOXES, scores=None, labels=None):
    count = len(boxes)
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor([0.9 - 0.4 * i for i in range(count)] if scores is None else scores, dtype=torch.float32),
        torch.tensor([i % len(NAMES) for i in range(count)] if labels is None else labels, dtype=torch.int64),
    )


@pytest.fixture
def results():
    """Two images of different size, the second without detections."""
    return Results([frame(), frame(50, 40, "zidane.png")], [found(), found([])], NAMES, SPEED, [(64, 96), (96, 96)])


EMPTY = Results([], [], NAMES, SPEED)


# ---- a sequence


def test_is_a_sequence_of_images(results):
    assert len(results) == 2
    assert [each.files for each in results] == [["bus.jpg"], ["zidane.png"]]
    assert results[-1].files == ["zidane.png"]
    assert results[0].input_sizes == ((64, 96),)
    assert results[1:].files == results[1].files
    assert len(results[2:]) == 0
    assert [each.files for each in results.tolist()] == [each.files for each in results]
    with pytest.raises(IndexError):
        results[2]


def test_results_are_joined(results):
    other = Results([frame(name="third.jpg")], [found()], NAMES, {"inference": 50.0})
    joined = results + other
    assert joined.files == ["bus.jpg", "zidane.png", "third.jpg"]
    assert joined.speed == {"preprocess": 1.0, "inference": 30.0, "postprocess": 2.0}
    assert joined.input_sizes == ()
    assert (results + results).input_sizes == results.input_sizes * 2
    assert (EMPTY + EMPTY).speed is None
    with pytest.raises(ValueError, match="different classes"):
        results + Results([], [], ["other"])
    with pytest.raises(TypeError):
        results + 1


@pytest.mark.parametrize(
    ("detections", "input_size", "message"),
    [([], None, "2 images, 0 detections"), ([found()] * 2, [(1, 2)], "1 input sizes"), ([found()] * 3, None, "3 det")],
)
def test_numbers_must_agree(detections, input_size, message):
    with pytest.raises(ValueError, match=message):
        Results([frame(), frame()], detections, NAMES, input_size=input_size)


def test_one_input_size_is_that_of_all_images():
    assert Results([frame(), frame()], [found()] * 2, NAMES, input_size=(64, 96)).input_sizes == ((64, 96),) * 2
    assert Results([frame()] * 2, [found()] * 2, NAMES, input_size=[(1, 2), (3, 4)]).input_sizes == ((1, 2), (3, 4))


# ---- values


def test_forms_of_boxes(results):
    expected = {
        "xyxy": [10, 20, 110, 70],
        "xywh": [60, 45, 100, 50],
        "xyxyn": [0.05, 0.2, 0.55, 0.7],
        "xywhn": [0.3, 0.45, 0.5, 0.5],
    }
    for form, box in expected.items():
        tables = getattr(results, form)
        assert [table.shape for table in tables] == [(2, 6), (0, 6)]
        assert all(table.dtype == torch.float32 for table in tables)
        torch.testing.assert_close(tables[0][0], torch.tensor([*box, 0.9, 0.0], dtype=torch.float32))
    np.testing.assert_array_equal(results.numpy()[0], results.xyxy[0].numpy())
    assert results.names[1] == "bus"
    assert results.images[0].shape == (100, 200, 3)


@settings(deadline=None, max_examples=50)
@given(
    boxes=arrays.arrays(np.float32, st.tuples(st.integers(0, 5), st.just(4)), elements=st.floats(0, 4000, width=32)),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
)
def test_forms_of_boxes_lead_back_to_corners(boxes, height, width):
    boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)
    results = Results([frame(height, width)], [found(boxes.tolist())], NAMES)
    scale = torch.tensor([width, height, width, height])
    corners = torch.from_numpy(boxes)
    tolerance = {"rtol": 1e-5, "atol": 2e-3}
    torch.testing.assert_close(cxcywh_to_xyxy(results.xywhn[0][:, :4]) * scale, corners, **tolerance)
    torch.testing.assert_close(cxcywh_to_xyxy(results.xywh[0][:, :4]), corners, **tolerance)
    torch.testing.assert_close(results.xyxyn[0][:, :4] * scale, corners, **tolerance)
    torch.testing.assert_close(results.xyxy[0][:, :4], corners, rtol=0, atol=0)


def test_moves_to_a_device(results):
    moved = results.to("meta")
    assert {table.device.type for table in moved.xyxy} == {"meta"}
    assert results.xyxy[0].device.type == "cpu"
    back = results.to("cpu").cpu()
    torch.testing.assert_close(back.xyxy[0], results.xyxy[0])
    assert str(back) == str(results)


# ---- words


def test_says_what_was_found(results, capsys):
    lines = [
        "image 1/2: bus.jpg 100x200 1 person, 1 bus",
        "image 2/2: zidane.png 50x40 (no detections)",
        "speed per image: 1.0 ms preprocess, 20.0 ms inference, 2.0 ms postprocess at 2 sizes",
    ]
    assert str(results).splitlines() == lines
    results.print()
    assert capsys.readouterr().out.splitlines() == lines
    assert repr(results) == "Results(2 images, 2 detections)"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([], "(no detections)"),
        ([0], "1 person"),
        ([1, 0, 0, 0, 0], "4 persons, 1 bus"),
        ([2, 2, 7], "2 traffic lights, 1 7"),
        ([-1], "1 -1"),
    ],
)
def test_counts_by_class(labels, expected):
    result = Results([frame()], [found([[0, 0, 5, 5]] * len(labels), labels=labels)], NAMES)
    assert str(result) == f"image 1/1: bus.jpg 100x200 {expected}"


def test_one_size_is_named():
    assert str(Results([frame()], [found()], NAMES, {"inference": 3.0}, (64, 96))).endswith("3.0 ms inference at 64x96")


# ---- empty and odd


def test_no_images(tmp_path):
    assert str(EMPTY) == str(Results([], [], NAMES)) == "no images"
    assert EMPTY.xyxy == EMPTY.render() == EMPTY.crop() == EMPTY.to_coco() == EMPTY.to_base64() == EMPTY.tolist() == []
    assert json.loads(EMPTY.to_json()) == []
    assert EMPTY._repr_jpeg_() is None
    assert EMPTY.save(tmp_path / "out") == []
    EMPTY.show()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 2), (2, 700), (6000, 8000)])
def test_pictures_of_any_size(height, width, tmp_path):
    boxes = [[0, 0, width, height], [width * 0.2, height * 0.2, width * 0.5, height * 0.6], [-5, -5, width + 5, 0.2]]
    result = Results([frame(height, width, "ünï 猫.png")], [found(boxes)], ["猫", "собака", "a"])
    assert result.render()[0].shape == (height, width, 3)
    assert all(crop["image"].size for crop in result.crop())
    (path,) = result.save(tmp_path / "out")
    with Image.open(path) as image:
        assert image.size == (width, height)
    with Image.open(io.BytesIO(result._repr_jpeg_())) as image:
        assert max(image.size) <= 1280


@pytest.mark.parametrize("label", [-1, 3, 80])
def test_a_class_without_a_name_goes_by_its_number(label, tmp_path):
    pytest.importorskip("pandas")
    result = Results([frame()], [found(BOXES[:1], labels=[label])], NAMES)
    assert result.pandas().xyxy[0]["name"].tolist() == [str(label)]
    assert json.loads(result.to_json())[0][0]["name"] == str(label)
    assert result.crop(save=True, directory=tmp_path / "out")[0]["label"] == f"{label} 0.90"
    assert (tmp_path / "out" / "crops" / str(label) / "bus.jpg").is_file()
    assert result.to_coco()[0]["category_id"] == label
    assert result.render()[0].any()


# ---- pictures


def test_renders(results):
    drawn, empty = results.render()
    assert (drawn != results.images[0]).any()
    np.testing.assert_array_equal(empty, results.images[1])
    plain = results.render(labels=False)[0]
    without_scores = results.render(confidences=False)[0]
    changed = [(picture != 90).any(axis=-1).sum() for picture in (plain, without_scores, drawn)]
    assert changed == sorted(set(changed))
    thick = results.render(labels=False, line_width=6)[0]
    assert (thick != 90).sum() > 2 * (plain != 90).sum()


def test_saves_beside_older_pictures(results, tmp_path):
    first = results.save(tmp_path / "detect")
    second = results.save(tmp_path / "detect", labels=False)
    assert first == [tmp_path / "detect" / "bus.jpg", tmp_path / "detect" / "zidane.png"]
    assert second == [tmp_path / "detect-2" / "bus.jpg", tmp_path / "detect-2" / "zidane.png"]
    with Image.open(first[0]) as image, Image.open(first[1]) as other:
        assert (image.format, other.format) == ("JPEG", "PNG")
        difference = np.abs(np.asarray(image).astype(int) - results.render()[0]).mean()
        assert difference < 3
        np.testing.assert_array_equal(np.asarray(other), results.images[1])


def test_default_directory(results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [str(path) for path in results[0].save()] == ["runs/detect/bus.jpg"]
    results[0].crop(save=True)
    assert (tmp_path / "runs/detect-2/crops/person/bus.jpg").is_file()


@pytest.mark.parametrize(
    ("names", "numbers", "expected"),
    [
        (["a.jpg", "a.jpg", "a.jpg"], [None] * 3, ["a.jpg", "a-2.jpg", "a-3.jpg"]),
        (["clip.mp4", "clip.mp4"], [0, 12], ["clip_0.jpg", "clip_12.jpg"]),
        (["camera 0", "10.0.0.1"], [3, None], ["camera 0_3.jpg", "10.0.0.1.jpg"]),
        (["../../etc/x.png", "..", "CON.jpg"], [None] * 3, [".._.._etc_x.png", "_.jpg", "_CON.jpg"]),
        (["photo.HEIC", "scan.TIF", "page.webp", "b.bmp"], [None] * 4, ["photo.jpg", "scan.tif", "page.webp", "b.bmp"]),
    ],
)
def test_names_of_files(names, numbers, expected, tmp_path):
    frames = [frame(20, 30, name, number) for name, number in zip(names, numbers, strict=True)]
    paths = Results(frames, [found([])] * len(frames), NAMES).save(tmp_path / "out")
    assert [path.name for path in paths] == expected
    for path in paths:
        assert path.parent == tmp_path / "out"
        with Image.open(path) as image:
            assert image.size == (30, 20)


def test_a_place_that_cannot_be_written_is_said(results, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="cannot be saved"):
        results.save(tmp_path / "file" / "detect")
    with pytest.raises(InputError, match="cannot be saved"):
        results.crop(save=True, directory=tmp_path / "file" / "detect")
    assert (tmp_path / "file").read_text() == "mine"


def test_crops(results):
    crops = results.crop()
    assert [crop["label"] for crop in crops] == ["person 0.90", "bus 0.50"]
    assert [crop["class"] for crop in crops] == [0, 1]
    assert crops[0]["confidence"] == pytest.approx(0.9)
    assert crops[0]["box"].tolist() == BOXES[0]
    # Sides × 1.02 + 10: x 60 ± 56, y 45 ± 30.5.
    assert crops[0]["image"].shape == (75 - 14, 116 - 4, 3)
    assert crops[1]["image"].shape == (45, 35, 3)
    crops[0]["image"][:] = 0
    assert (results.images[0] == 90).all()


def test_crops_hold_the_pixels_of_the_box():
    image = np.random.default_rng(0).integers(0, 255, (100, 200, 3), dtype=np.uint8)
    result = Results([Frame(image, "a", "a.jpg")], [found([[50, 30, 150, 80]])], NAMES)
    np.testing.assert_array_equal(result.crop()[0]["image"], image[24:85, 44:156])


def test_crops_are_saved_by_class(tmp_path):
    names = ["a/b", "..", "con", "A_B", ""]
    frames, boxes = [frame(name="x.png"), frame(name="x.png")], [[0, 0, 50, 50]] * 6
    result = Results(frames, [found(boxes, labels=[0, 1, 2, 3, 4, 0]), found(boxes[:1], labels=[0])], names)
    crops = result.crop(save=True, directory=tmp_path / "out")
    saved = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.*") if path.is_file())
    folders = {"a_b": ["x-2.jpg", "x-3.jpg", "x.jpg"], "A_B-2": ["x.jpg"], "_": ["x.jpg"], "_-2": ["x.jpg"]}
    folders["_con"] = ["x.jpg"]
    assert saved == sorted(f"out/crops/{folder}/{name}" for folder, files in folders.items() for name in files)
    with Image.open(tmp_path / "out/crops/a_b/x.jpg") as image:
        assert image.format == "JPEG"
        assert np.abs(np.asarray(image).astype(int) - crops[0]["image"]).max() <= 2


def test_base64_is_a_picture(results):
    for text, drawn in zip(results.to_base64(labels=False), results.render(labels=False), strict=True):
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as image:
            assert image.format == "JPEG"
            assert np.abs(np.asarray(image).astype(int) - drawn).mean() < 3


# ---- on the screen


@pytest.fixture
def viewer(monkeypatch):
    """A viewer that remembers what it was shown."""
    shown = []

    class Viewer(ImageShow.Viewer):
        def show(self, image, **options):
            shown.append((np.asarray(image), options["title"]))
            return 1

    monkeypatch.setattr(ImageShow, "_viewers", [Viewer()])
    monkeypatch.setenv("DISPLAY", ":99")
    return shown


def test_shows_in_the_viewer_of_the_system(results, viewer):
    results.show(labels=False)
    assert [title for _, title in viewer] == ["bus.jpg", "zidane.png"]
    for (picture, _), drawn in zip(viewer, results.render(labels=False), strict=True):
        np.testing.assert_array_equal(picture, drawn)


def test_no_display_is_said(results, viewer, monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(InputError, match=r"no display .* use save"):
        results.show()
    assert viewer == []


def test_no_viewer_is_said(results, viewer, monkeypatch):
    monkeypatch.setattr(ImageShow, "_viewers", [])
    with pytest.raises(InputError, match="no program to view"):
        results.show()


def test_shows_below_the_cell_of_a_notebook(results, viewer, monkeypatch):
    shown = []
    ipython, display = types.ModuleType("IPython"), types.ModuleType("IPython.display")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())
    display.display = shown.append
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    monkeypatch.delenv("DISPLAY")
    results.show()
    assert [image.size for image in shown] == [(200, 100), (40, 50)]
    assert viewer == []


def test_notebooks_show_a_grid_of_several(results):
    sizes = []
    for shown in (results[0], results, Results([frame(900, 1600)] * 30, [found()] * 30, NAMES)):
        with Image.open(io.BytesIO(shown._repr_jpeg_())) as image:
            assert image.format == "JPEG"
            sizes.append(image.size)
    assert sizes[0] == (200, 100)
    assert sizes[1] == (404, 100)
    assert max(sizes[2]) <= 1284


# ---- other forms


def test_tables_of_pandas(results):
    pandas = pytest.importorskip("pandas")
    tables = results.pandas()
    assert list(tables.xyxy[0].columns) == ["xmin", "ymin", "xmax", "ymax", "confidence", "class", "name"]
    assert list(tables.xywhn[1].columns) == ["xcenter", "ycenter", "width", "height", "confidence", "class", "name"]
    assert [len(table) for table in tables.xywh] == [2, 0]
    assert tables.xyxy[0]["name"].tolist() == ["person", "bus"]
    assert pandas.api.types.is_integer_dtype(tables.xyxy[0]["class"])
    assert pandas.api.types.is_integer_dtype(tables.xyxy[1]["class"])
    for form in ("xyxy", "xywh", "xyxyn", "xywhn"):
        values = getattr(tables, form)[0].iloc[:, :6].to_numpy(dtype=np.float32)
        np.testing.assert_array_equal(values, getattr(results, form)[0].numpy())
    records = json.loads(tables.xyxy[0].to_json(orient="records"))
    assert records[0]["name"] == "person"


def test_json(results):
    first = {"name": "person", "class": 0, "confidence": 0.9, "box": {"x1": 10.0, "y1": 20.0, "x2": 110.0, "y2": 70.0}}
    images = json.loads(results.to_json())
    assert images[0][0] == first
    assert [len(image) for image in images] == [2, 0]
    assert json.loads(results.to_json(indent=2)) == images
    assert "猫" in Results([frame()], [found()], ["猫", "犬"]).to_json()


def test_coco(results):
    rows = results.to_coco()
    assert rows[0] == {"image_id": "bus", "category_id": 0, "bbox": [10.0, 20.0, 100.0, 50.0], "score": 0.9}
    assert len(rows) == 2
    assert [row["image_id"] for row in results.to_coco([7, 8])] == [7, 7]
    assert [row["category_id"] for row in results.to_coco(category_ids=[5, 9])] == [5, 9]
    json.dumps(rows)


@pytest.mark.parametrize(
    ("name", "number", "expected"),
    [
        ("000000000139.jpg", None, 139),
        ("0.png", None, 0),
        ("1.jpg", None, 1),
        ("01.jpg", None, "01"),
        ("00.jpg", None, "00"),
        ("123456789012.jpg", None, 123456789012),
        ("12.mp4", 3, "12_3"),
        ("²³.jpg", None, "²³"),
        ("a1.jpg", None, "a1"),
    ],
)
def test_coco_image_ids(name, number, expected):
    rows = Results([frame(name=name, number=number)], [found()], NAMES).to_coco()
    assert {row["image_id"] for row in rows} == {expected}


def test_the_classes_of_coco_have_its_numbers():
    detections = [found(labels=[0, 79])]
    for names, expected in ((COCO_NAMES, [1, 90]), ([str(i) for i in range(80)], [0, 79])):
        rows = Results([frame()], detections, names).to_coco()
        assert [row["category_id"] for row in rows] == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_ids": [1]}, "1 image ids for 2 images"),
        ({"category_ids": [1]}, "class 1 has no category id: 1 are given"),
    ],
)
def test_wrong_coco(options, message, results):
    with pytest.raises(ValueError, match=message):
        results.to_coco(**options)


def test_coco_is_read_by_pycocotools(results, tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    ground_truth = coco.COCO()
    images = [{"id": 1, "height": 100, "width": 200}, {"id": 2, "height": 50, "width": 40}]
    categories = [{"id": i, "name": name} for i, name in enumerate(NAMES)]
    ground_truth.dataset = {"images": images, "annotations": [], "categories": categories}
    ground_truth.createIndex()
    loaded = ground_truth.loadRes(results.to_coco([1, 2]))
    assert [row["area"] for row in loaded.loadAnns([1, 2])] == pytest.approx([5000.0, 30.5 * 40.25])


def test_supervision(results):
    supervision = pytest.importorskip("supervision")
    several = results.to_supervision()
    assert [len(each) for each in several] == [2, 0]
    single = results[0].to_supervision()
    assert isinstance(single, supervision.Detections)
    np.testing.assert_array_equal(single.xyxy, np.array(BOXES, np.float32))
    np.testing.assert_array_equal(single.confidence, np.array([0.9, 0.5], np.float32))
    assert single.class_id.tolist() == [0, 1]
    assert single["class_name"].tolist() == ["person", "bus"]


@pytest.mark.parametrize(("library", "call"), [("pandas", "pandas"), ("supervision", "to_supervision")])
def test_a_missing_library_is_named_with_its_extra(library, call, results, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(InputError, match=rf"{library} is needed .*yolo-lightning\["):
        getattr(results, call)()


def test_real_pictures(shared, golden, tmp_path):
    """The reference's detections of two real pictures, through every form that leaves the process."""
    figures = json.loads((golden / "official_yolov5n_detections.json").read_text())
    frames, detections = [], []
    for name in ("bus.jpg", "zidane.jpg"):
        with Image.open(shared / "data" / "images" / name) as image:
            frames.append(Frame(np.array(image.convert("RGB")), str(name), name))
        table = torch.tensor(figures[name]["detect"])
        detections.append(Detections(table[:, :4], table[:, 4], table[:, 5].long()))
    names = [{0: "person", 5: "bus", 27: "tie"}.get(i, str(i)) for i in range(80)]
    results = Results(frames, detections, names)
    assert str(results).splitlines() == [
        "image 1/2: bus.jpg 1080x810 4 persons, 1 bus",
        "image 2/2: zidane.jpg 720x1280 2 persons, 1 tie",
    ]
    assert len(results.save(tmp_path / "out")) == 2
    assert len(results.crop(save=True, directory=tmp_path / "out")) == 8
    assert len(list((tmp_path / "out-2" / "crops" / "person").iterdir())) == 6
    corner = figures["bus.jpg"]["detect"][0][:2]
    assert results.to_coco()[0]["bbox"][:2] == pytest.approx(corner, abs=1e-3)
