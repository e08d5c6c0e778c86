"""Drawings stay legible and inside the picture."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from yolo_lightning.drawing import class_colour, draw_detections, draw_grid, text

NAMES = ("person", "bus", "tie")
GREY = 127


def grey(height, width):
    return np.full((height, width, 3), GREY, dtype=np.uint8)


def changed(picture):
    """(H, W) pixels that were drawn on."""
    return (picture != GREY).any(axis=-1)


@pytest.mark.parametrize("shape", [(0, 0), (1, 1), (1, 300), (300, 1), (80, 60), (480, 640)])
@pytest.mark.parametrize("boxes", [[], [[0, 0, 1, 1]], [[-50, -50, 900, 900]], [[0, 0, 40, 30]] * 5])
def test_any_size_gives_a_new_picture_of_that_size(shape, boxes):
    image = grey(*shape)
    picture = draw_detections(image, boxes, [0] * len(boxes), NAMES, [0.5] * len(boxes))
    assert (picture.shape, picture.dtype) == (image.shape, np.uint8)
    assert (image == GREY).all()
    assert not np.shares_memory(picture, image)
    if image.size:
        assert changed(picture).any() == bool(boxes)


@pytest.mark.parametrize(
    "box",
    [
        (700, 10, 800, 20),
        (-20, 10, 0, 20),
        (10, 500, 20, 600),
        (float("nan"), 0, 10, 10),
        (0, 0, float("inf"), 10),
    ],
)
def test_what_is_not_in_the_picture_is_not_drawn(box):
    assert not changed(draw_detections(grey(480, 640), [box], [0], NAMES)).any()


@pytest.mark.parametrize("box", [(20, 20, 20, 20), (30, 30, 25, 28), (639.9, 479.9, 641, 481)])
def test_a_box_without_area_leaves_a_mark(box):
    assert changed(draw_detections(grey(480, 640), [box], [0], NAMES, show_labels=False)).any()


def test_lines_and_letters_grow_with_the_picture():
    thickness, heights = [], []
    for side in (100, 800, 4000):
        box = [[side * 0.4, side * 0.4, side * 0.9, side * 0.9]]
        lines = changed(draw_detections(grey(side, side), box, [0], NAMES, show_labels=False))
        thickness.append(lines[int(side * 0.6), : int(side * 0.6)].sum())
        tagged = changed(draw_detections(grey(side, side), box, [0], NAMES))
        heights.append(tagged[: int(side * 0.39)].any(axis=1).sum())
    assert thickness[0] >= 1
    assert thickness == sorted(set(thickness))
    assert heights[0] >= 6
    assert heights == sorted(set(heights))


@pytest.mark.parametrize("corner", list(itertools.product((0, 560), (0, 420))))
def test_names_stay_inside_the_picture(corner):
    left, top = corner
    box, name = [[left, top, left + 80, top + 60]], ["a name wider than its box"]
    with_name = changed(draw_detections(grey(480, 640), box, [0], name))
    without = changed(draw_detections(grey(480, 640), box, [0], name, show_labels=False))
    in_the_middle = changed(draw_detections(grey(480, 640), [[200, 200, 280, 260]], [0], name))
    middle_without = changed(draw_detections(grey(480, 640), [[200, 200, 280, 260]], [0], name, show_labels=False))
    tag, whole_tag = with_name & ~without, in_the_middle & ~middle_without
    assert tag.any(axis=0).sum() >= whole_tag.any(axis=0).sum() - 2 * 8
    assert tag.any(axis=0).sum() > 100


def test_names_of_equal_boxes_do_not_hide_each_other():
    box = [200, 200, 400, 300]
    one = changed(draw_detections(grey(480, 640), [box], [0], NAMES, [0.9], colour=(255, 0, 0))).sum()
    three = changed(draw_detections(grey(480, 640), [box] * 3, [0] * 3, NAMES, [0.9] * 3, colour=(255, 0, 0))).sum()
    lines = changed(draw_detections(grey(480, 640), [box], [0], NAMES, show_labels=False)).sum()
    assert three - lines > 2.5 * (one - lines)


@pytest.mark.parametrize("background", [(255, 255, 0), (0, 0, 120), (128, 128, 128), (255, 0, 0), (0, 160, 0)])
def test_letters_contrast_with_their_background(background):
    picture = draw_detections(grey(480, 640), [[100, 100, 300, 300]], [0], NAMES, colour=background, font_size=40)
    tag = picture[50:95, 104:200].reshape(-1, 3).astype(float)
    assert contrast(background, tag[np.abs(tag - background).sum(axis=1).argmax()]) >= 4.5


def contrast(a, b):
    """WCAG contrast ratio."""
    luminances = []
    for colour in (a, b):
        values = np.asarray(colour) / 255
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        luminances.append(float(linear @ [0.2126, 0.7152, 0.0722]))
    return (max(luminances) + 0.05) / (min(luminances) + 0.05)


@pytest.mark.parametrize("name", ["", "猫", "🐱", "naïve café", "собака", "قطة", "two\nlines", "x" * 500, "\x00"])
def test_any_name_can_be_written(name):
    picture = draw_detections(grey(480, 640), [[200, 200, 400, 300]], [0], [name])
    lines = draw_detections(grey(480, 640), [[200, 200, 400, 300]], [0], [name], show_labels=False)
    assert (changed(picture).sum() > changed(lines).sum()) == bool(name)


def test_a_name_that_no_font_has_becomes_the_number_of_the_class():
    unknown = draw_detections(grey(480, 640), [[200, 200, 400, 300]], [3], ["a", "b", "c", "\U0010fffe"])
    number = draw_detections(grey(480, 640), [[200, 200, 400, 300]], [3], ["a", "b", "c", "3"])
    missing = draw_detections(grey(480, 640), [[200, 200, 400, 300]], [3], ["a"])
    np.testing.assert_array_equal(unknown, number)
    np.testing.assert_array_equal(missing, number)


def test_the_more_confident_box_lies_on_top():
    boxes, options = [[100, 100, 300, 300]] * 2, {"show_labels": False, "line_width": 4}
    for scores, top in (([0.9, 0.1], 0), ([0.1, 0.9], 1)):
        picture = draw_detections(grey(480, 640), boxes, [0, 1], NAMES, scores, **options)
        assert tuple(picture[200, 101]) == class_colour(top)


def test_takes_tensors():
    boxes, labels, scores = torch.tensor([[100.0, 100, 300, 300]]), torch.tensor([1]), torch.tensor([0.5])
    expected = draw_detections(grey(480, 640), [[100, 100, 300, 300]], [1], NAMES, [0.5])
    np.testing.assert_array_equal(draw_detections(grey(480, 640), boxes, labels, NAMES, scores), expected)


def test_colours_are_distinct():
    colours = np.array([class_colour(i) for i in range(1000)])
    assert len(np.unique(colours, axis=0)) > 950
    first = colours[:20].astype(int)
    distances = np.abs(first[:, None] - first[None]).sum(axis=-1) + 1000 * np.eye(20)
    assert distances.min() > 40


@pytest.mark.parametrize(
    ("image", "boxes", "labels", "message"),
    [
        (np.zeros((4, 4), np.uint8), [], [], "must be .H, W, 3. uint8 RGB"),
        (np.zeros((4, 4, 3), np.float32), [], [], "float32"),
        (grey(4, 4), [[0, 0, 1, 1]], [], r"must have one length, found \[1, 0\]"),
    ],
)
def test_wrong_input(image, boxes, labels, message):
    with pytest.raises(ValueError, match=message):
        draw_detections(image, boxes, labels, NAMES)


@pytest.mark.parametrize(
    ("shapes", "columns", "expected"),
    [
        ([(10, 20)], None, (10, 20)),
        ([(10, 20)], 5, (10, 20)),
        ([(10, 20)] * 4, None, (24, 44)),
        ([(10, 20), (30, 5)], 1, (64, 20)),
        ([(10, 20)] * 5, 3, (24, 68)),
    ],
)
def test_grid_has_cells_of_the_largest_picture(shapes, columns, expected):
    grid = draw_grid([np.zeros((*shape, 3), np.uint8) for shape in shapes], columns)
    assert grid.shape == (*expected, 3)
    assert (grid == 0).all(axis=-1).sum() == sum(height * width for height, width in shapes)


def test_grid_shrinks_to_its_limit():
    grid = draw_grid([grey(1000, 1000)] * 16, max_size=500)
    assert max(grid.shape) <= 500 + 4  # each cell is rounded
    assert max(grid.shape) > 480


def test_grid_titles():
    plain, titled = draw_grid([grey(200, 300)] * 2), draw_grid([grey(200, 300)] * 2, titles=["labels", "x" * 500])
    assert titled.shape == plain.shape
    assert (titled != plain).any(axis=(0, 2))[:304].any()
    assert (titled != plain).any(axis=(0, 2))[304:].any()


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        ([], {}, "at least one picture"),
        ([grey(4, 4)], {"columns": 0}, "one column"),
        ([grey(4, 4)], {"titles": []}, "1 pictures but 0 titles"),
    ],
)
def test_wrong_grid(images, options, message):
    with pytest.raises(ValueError, match=message):
        draw_grid(images, **options)


def tag_pixels(name, class_names=None, label=0, **options):
    """(H, W) what the name and its background change."""
    box, names = [[200, 200, 400, 300]], class_names or [name]
    drawn = draw_detections(grey(480, 640), box, [label], names, **options)
    return (drawn != draw_detections(grey(480, 640), box, [label], names, show_labels=False)).any(axis=-1)


@pytest.mark.parametrize(
    "name",
    [
        "猫と犬",
        "ネコ",
        "고양이",
        "собака",
        "Ελληνικά",
        "naïve café",
        "قطة",
        "עברית",
        "Կատու",
        "😀",
        "猫 кот cat",
        "ếộ",
        "Łódź",
    ],
)
def test_names_in_any_of_these_scripts_need_no_font_of_the_system(name, monkeypatch):
    monkeypatch.setattr("yolo_lightning.drawing.text._FONTS", text._FONTS[:3])
    assert text.writable(name) == name
    letters = [text.write_line(letter, 24) for letter in set(name) - {" "}]
    missing = text.write_line("\U0010fffe", 24)
    assert all(letter.any() and letter.tobytes() != missing.tobytes() for letter in letters)
    assert len({letter.tobytes() for letter in letters}) == len(letters)
    assert tag_pixels(name).any()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("", ""),
        ("  two\n lines ", "two lines"),
        ("\U0010fffe rex", "rex"),
        ("e\u0301t\u00e9", "été"),
        ("a\u200db\x00\ud800", "ab"),
        ("\U0010fffe\u0301", ""),
    ],
)
def test_letters_that_no_font_has_are_left_out(name, expected):
    assert text.writable(name) == expected


@pytest.mark.parametrize("most_width", [None, 0, 1, 10, 50, 300])
@pytest.mark.parametrize("name", ["", "i", "traffic light", "猫" * 50, "x" * 300])
def test_a_line_has_the_height_of_all_lines_and_fits(name, most_width):
    line = text.write_line(name, 20, most_width)
    assert line.shape[0] == text.line_height(20)
    assert line.shape[1] <= (most_width if most_width is not None else 10000)
    assert line.any() == bool(line.shape[1])
    assert most_width in (0, 1, 10) or line.any() == bool(name)


def test_scores_can_be_hidden():
    with_score = tag_pixels("bus", scores=[0.5])
    without = tag_pixels("bus", scores=[0.5], show_scores=False)
    np.testing.assert_array_equal(without, tag_pixels("bus"))
    assert with_score.sum() > 1.5 * without.sum()


@pytest.mark.parametrize("line_width", [1, 3, 8])
def test_line_width(line_width):
    lines = draw_detections(
        grey(480, 640), [[200, 200, 400, 300]], [0], NAMES, show_labels=False, line_width=line_width
    )
    row = lines[250, 150:300]
    assert (row == class_colour(0)).all(axis=-1).sum() == line_width


def test_draws_on_views_and_read_only_pictures():
    image = grey(480, 640)
    image.setflags(write=False)
    flipped = draw_detections(image[:, ::-1], [[200, 200, 400, 300]], [0], NAMES)
    np.testing.assert_array_equal(flipped, draw_detections(image, [[200, 200, 400, 300]], [0], NAMES))


@pytest.mark.parametrize("side", [160, 320, 640, 2000])
def test_lines_are_visible_on_their_own_colour(side):
    image = np.full((side, side, 3), class_colour(0), dtype=np.uint8)
    picture = draw_detections(image, [[side * 0.2, side * 0.2, side * 0.8, side * 0.8]], [0], NAMES, show_labels=False)
    darkest = picture.sum(axis=-1, dtype=int)[side // 2].min()
    assert darkest < sum(class_colour(0)) / 2
