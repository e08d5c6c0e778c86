"""Training samples: where boxes and pixels go, what is kept, and that a key is all they depend on."""

import random
from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.data.pictures import Pictures
from yolo_lightning.data.augment import YOLOv5Augmentation
from yolo_lightning.data.color import scale_hsv
from yolo_lightning.data.warp import draw, keep_boxes, random_matrix, transform_boxes
from yolo_lightning.types import SampleKey

PLAIN = {"hsv_h": 0.0, "hsv_s": 0.0, "hsv_v": 0.0, "translate": 0.0, "scale": 0.0, "fliplr": 0.0, "mosaic": 0.0}
HARD = {
    "degrees": 180.0,
    "translate": 0.9,
    "scale": 0.9,
    "shear": 45.0,
    "perspective": 0.001,
    "mixup": 1.0,
    "hsv_h": 1.0,
}


def noise(num_images=6, seed=0, boxes=True):
    """Noisy images of several sizes with a few boxes each."""
    draw_from = np.random.default_rng(seed)
    sizes = [(90, 120), (64, 64), (200, 50), (33, 71), (300, 310), (128, 96)]
    images = [draw_from.integers(0, 256, (*sizes[index % 6], 3), np.uint8) for index in range(num_images)]
    rows = []
    for image in images:
        low = draw_from.uniform(0, 0.6, (4, 2))
        corners = np.concatenate([low, low + draw_from.uniform(0.05, 0.4, (4, 2))], axis=1)
        rows.append((corners * np.tile(image.shape[1::-1], 2)).astype(np.float32)[: 4 if boxes else 0])
    return Pictures(images, rows)


def one_mark(size=(120, 160), box=(40, 30, 100, 75)):
    """A dark image with a bright rectangle, which is its only box."""
    image = np.full((*size, 3), 20, np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = 255
    return Pictures([image], [np.array([box], np.float32)])


def outlined():
    """Noise with four-cornered outlines, most of them, and boxes around them."""
    pictures = noise()
    outlines = [
        [
            np.array([[x1, y1], [x2, (y1 + y2) / 2], [(x1 + x2) / 2, y2], [x1, y2]], np.float32)
            for x1, y1, x2, y2 in rows
        ]
        for rows in pictures.boxes
    ]
    outlines[2][1] = np.zeros((0, 2), np.float32)
    return Pictures(pictures.images, pictures.boxes, outlines)


def found_box(image):
    """The box of the bright pixels."""
    bright = image[..., 0] > 137  # half way between the two
    columns, rows = np.flatnonzero(bright.any(0)), np.flatnonzero(bright.any(1))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


@pytest.mark.parametrize(
    "dataset",
    [
        noise(1),
        noise(),
        noise(boxes=False),
        Pictures([np.full((1, 1, 3), 5, np.uint8)]),
    ],
    ids=["one image", "several", "no boxes", "one pixel"],
)
@pytest.mark.parametrize(
    "options", [{}, {"mosaic": 0.0}, {"mixup": 1.0}, {"mosaic9": 1.0}, HARD, HARD | {"mosaic": 0.0}]
)
@pytest.mark.parametrize("canvas", [(64, 64), (96, 32), (32, 160)])
def test_samples_keep_their_promises(dataset, options, canvas):
    transform = YOLOv5Augmentation(**options)
    for index in range(len(dataset)):
        for epoch in range(3):
            sample = transform(dataset, SampleKey(index, canvas, epoch))
            assert sample.image.shape == (*canvas, 3)
            assert sample.image.dtype == np.uint8
            assert sample.image.flags.c_contiguous
            assert (sample.boxes.dtype, sample.labels.dtype) == (np.float32, np.int64)
            assert sample.boxes.shape == (len(sample.labels), 4)
            assert (sample.boxes >= 0).all()
            assert (sample.boxes <= np.array([canvas[1], canvas[0]] * 2)).all()
            assert ((sample.boxes[:, 2:] - sample.boxes[:, :2]) > 1.99).all()
            assert sample.info.index == index
            assert sample.info.original_size == dataset.image_size(index)


def test_a_sample_is_a_function_of_its_key():
    dataset, key = noise(), SampleKey(2, (64, 96), epoch=3, seed=7)
    transform = YOLOv5Augmentation(
        mixup=0.5, degrees=5.0, albumentations=[{"class_path": "GaussNoise", "init_args": {"p": 0.5}}]
    )
    first = transform(dataset, key)
    for number in range(3):
        random.seed(number)
        np.random.seed(number)  # noqa: NPY002
        cv2.setRNGSeed(number)
        transform(dataset, SampleKey(number, (64, 64)))  # another sample in between
        again = transform(dataset, key)
        np.testing.assert_array_equal(again.image, first.image)
        np.testing.assert_array_equal(again.boxes, first.boxes)
        np.testing.assert_array_equal(again.labels, first.labels)
    for other in (replace(key, epoch=4), replace(key, seed=8), replace(key, index=3)):
        assert (transform(dataset, other).image != first.image).any()


@pytest.mark.parametrize("options", [{}, {"mosaic9": 0.5, "mixup": 1.0, "copy_paste": 0.5, "degrees": 9.0}])
def test_a_key_can_ask_for_the_image_alone(options):
    dataset, key = outlined(), SampleKey(2, (64, 96), epoch=3, seed=7)
    alone = YOLOv5Augmentation(**options)(dataset, replace(key, mosaic=False))
    never = YOLOv5Augmentation(**options | {"mosaic": 0.0})(dataset, key)
    np.testing.assert_array_equal(alone.image, never.image)
    np.testing.assert_array_equal(alone.boxes, never.boxes)
    assert set(alone.labels.tolist()) <= set(dataset.annotations(2)[1].tolist())


def test_what_is_switched_off_draws_nothing():
    dataset, key = noise(), SampleKey(2, (64, 96), epoch=3, seed=7)
    plain = YOLOv5Augmentation()(dataset, key)
    for options in ({"copy_paste": 1.0}, {"mosaic9": 0.0, "copy_paste": 0.0}):  # there are no outlines to copy
        sample = YOLOv5Augmentation(**options)(dataset, key)
        np.testing.assert_array_equal(sample.image, plain.image)
        np.testing.assert_array_equal(sample.boxes, plain.boxes)
    assert (YOLOv5Augmentation(mosaic9=1.0)(dataset, key).image != plain.image).any()


def test_the_samples_of_outlined_objects_keep_their_promises():
    dataset, transform = outlined(), YOLOv5Augmentation(**HARD | {"mosaic9": 0.5, "copy_paste": 1.0})
    for epoch in range(30):
        key = SampleKey(epoch % len(dataset), (96, 160), epoch)
        sample, again = transform(dataset, key), transform(dataset, key)
        np.testing.assert_array_equal(sample.image, again.image)
        np.testing.assert_array_equal(sample.boxes, again.boxes)
        assert (sample.boxes.dtype, sample.labels.dtype) == (np.float32, np.int64)
        assert sample.boxes.shape == (len(sample.labels), 4)
        assert (sample.boxes >= 0).all()
        assert (sample.boxes <= [160, 96, 160, 96]).all()
        assert ((sample.boxes[:, 2:] - sample.boxes[:, :2]) > 1.99).all()
        assert (sample.image != transform(dataset, replace(key, index=(epoch + 1) % len(dataset))).image).any()


def test_an_outline_for_each_box_is_demanded():
    pictures = noise(1)
    pictures.all_outlines = [[np.zeros((0, 2), np.float32)]]
    with pytest.raises(ValueError, match="picture 0: 1 outlines for 4 boxes; give each box one"):
        YOLOv5Augmentation()(pictures, SampleKey(0, (64, 64)))


def test_global_random_numbers_stay_as_they_are():
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    transform = YOLOv5Augmentation(mixup=1.0, albumentations=[{"class_path": "HorizontalFlip"}, {"class_path": "Blur"}])
    transform(noise(), SampleKey(0, (64, 64)))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


def test_the_data_set_is_not_written_to():
    dataset = noise()
    before = [image.copy() for image in dataset.images], [rows.copy() for rows in dataset.boxes]
    transform = YOLOv5Augmentation(fliplr=1.0, flipud=1.0)
    for index in range(len(dataset)):
        transform(dataset, SampleKey(index, dataset.image_size(index)))
        YOLOv5Augmentation(**PLAIN | {"fliplr": 1.0, "hsv_v": 1.0})(
            dataset, SampleKey(index, dataset.image_size(index))
        )
    for kept, now in zip(before[0] + before[1], dataset.images + dataset.boxes, strict=True):
        np.testing.assert_array_equal(kept, now)


def test_with_all_switched_off_the_image_is_letterboxed():
    dataset = noise(1)
    sample = YOLOv5Augmentation(**PLAIN)(dataset, SampleKey(0, (120, 120)))
    np.testing.assert_array_equal(sample.image[15:105], dataset.images[0])
    assert (sample.image[:15] == 114).all()
    assert (sample.image[105:] == 114).all()
    np.testing.assert_allclose(sample.boxes, dataset.boxes[0] + [0, 15, 0, 15], atol=1e-4)


@pytest.mark.parametrize(
    ("options", "axes"), [({"fliplr": 1.0}, [1]), ({"flipud": 1.0}, [0]), ({"fliplr": 1.0, "flipud": 1.0}, [0, 1])]
)
@pytest.mark.parametrize("canvas", [(90, 120), (121, 131)])
def test_flips_are_exact(options, axes, canvas):
    dataset, key = noise(1), SampleKey(0, canvas)
    plain = YOLOv5Augmentation(**PLAIN)(dataset, key)
    flipped = YOLOv5Augmentation(**PLAIN | options)(dataset, key)
    np.testing.assert_array_equal(flipped.image, np.flip(plain.image, axes))
    expected = plain.boxes.copy()
    for axis in axes:
        near, far = 1 - axis, 3 - axis
        expected[:, near], expected[:, far] = canvas[axis] - plain.boxes[:, far], canvas[axis] - plain.boxes[:, near]
    np.testing.assert_allclose(flipped.boxes, expected, atol=1e-4)
    np.testing.assert_array_equal(flipped.labels, plain.labels)


@pytest.mark.parametrize(
    "options",
    [
        {"scale": 0.5, "translate": 0.2},
        {"scale": 0.9},
        {"degrees": 90.0},
        {"shear": 20.0, "scale": 0.3},
        {"perspective": 0.001, "degrees": 10.0},
        {"scale": 0.5, "translate": 0.1, "fliplr": 0.5, "flipud": 0.5},
    ],
)
@pytest.mark.parametrize("canvas", [(160, 160), (96, 224), (333, 250)])
def test_boxes_find_their_pixels(options, canvas):
    dataset, transform = one_mark(), YOLOv5Augmentation(**PLAIN | options)
    distances = []
    for epoch in range(40):
        sample = transform(dataset, SampleKey(0, canvas, epoch))
        if len(sample.boxes):
            distances.append(np.abs(found_box(sample.image) - sample.boxes[0]))
    assert len(distances) > 20
    # Half a pixel of rounding, half of interpolation; a sharp corner that is turned fades over another.
    limit = 1.0 if options.keys() <= {"scale", "translate", "fliplr", "flipud"} else 2.5
    assert np.max(distances) <= limit
    assert np.mean(distances) < limit / 2


def test_mosaic_boxes_find_their_pixels():
    dataset, transform = one_mark(), YOLOv5Augmentation(hsv_h=0.0, hsv_s=0.0, hsv_v=0.0)
    num_boxes = 0
    for epoch in range(60):
        sample = transform(dataset, SampleKey(0, (160, 160), epoch))
        num_regions, _, stats, _ = cv2.connectedComponentsWithStats((sample.image[..., 0] > 137).astype(np.uint8))
        regions = stats[1:, :4] + np.pad(stats[1:, :2], ((0, 0), (2, 0)))
        num_boxes += len(sample.boxes)
        for box in sample.boxes:
            assert np.abs(regions - box).max(1).min() <= 1.0
        assert num_regions - 1 >= len(sample.boxes)
    assert num_boxes > 60


TRIANGLE = np.array([[40, 30], [100, 75], [30, 80]], np.float32)


def one_triangle():
    """A dark image with a bright triangle, labelled by its corners."""
    image = np.full((120, 160, 3), 20, np.uint8)
    cv2.fillPoly(image, [np.round((TRIANGLE - 0.5) * 16).astype(np.int32)], (255, 255, 255), cv2.LINE_AA, 4)
    box = np.concatenate([TRIANGLE.min(0), TRIANGLE.max(0)])[None]
    return Pictures([image], [box], [[TRIANGLE]])


@pytest.mark.parametrize(
    "options",
    [
        {"degrees": 180.0},
        {"degrees": 45.0, "scale": 0.5, "translate": 0.2},
        {"shear": 20.0, "degrees": 20.0},
        {"perspective": 0.001, "degrees": 30.0, "fliplr": 0.5, "flipud": 0.5},
    ],
)
def test_boxes_of_outlines_hug_their_pixels(options):
    transform, by_box = YOLOv5Augmentation(**PLAIN | options), Pictures(one_triangle().images, one_triangle().boxes)
    distances, looser = [], []
    for epoch in range(60):
        key = SampleKey(0, (160, 160), epoch)
        sample, loose = transform(one_triangle(), key), transform(by_box, key)
        if len(sample.boxes):
            distances.append(np.abs(found_box(sample.image) - sample.boxes[0]))
        if len(loose.boxes):
            looser.append(np.abs(found_box(loose.image) - loose.boxes[0]))
    assert len(distances) > 40
    # The thinnest tip of a turned triangle fades before it ends.
    assert np.max(distances) <= 4.0
    assert np.mean(distances) < 1.0
    assert np.mean(looser) > 4 * np.mean(distances)


def test_a_mosaic_shows_its_image_and_others_around_a_point():
    images = [np.full((64, 64, 3), 10 + 20 * number, np.uint8) for number in range(8)]
    transform = YOLOv5Augmentation(**PLAIN | {"mosaic": 1.0, "translate": 0.0})
    seen = set()
    for epoch in range(40):
        image = transform(Pictures(images), SampleKey(3, (64, 64), epoch)).image
        values = set(np.unique(image).tolist())
        assert len(values) <= 4
        seen |= values
    assert seen == {10 + 20 * number for number in range(8)}  # four equal squares always cover the middle: no grey


def test_tiles_of_a_rotated_mosaic_meet_without_a_gap():
    images = [np.full((64, 64, 3), 255, np.uint8)]
    transform = YOLOv5Augmentation(**PLAIN | {"mosaic": 1.0, "degrees": 10.0, "scale": 0.3})
    for epoch in range(30):
        image = transform(Pictures(images), SampleKey(0, (64, 64), epoch)).image[..., 0]
        middle = cv2.morphologyEx((image < 255).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        assert ((image < 255).astype(np.uint8) == middle).mean() > 0.99


def test_mixup_adds_both_and_blends_evenly():
    dark, bright = np.full((64, 64, 3), 0, np.uint8), np.full((64, 64, 3), 200, np.uint8)
    boxes = [np.array([[0, 0, 64, 64]], np.float32)] * 2
    transform = YOLOv5Augmentation(**PLAIN | {"mosaic": 1.0, "mixup": 1.0})
    samples = [transform(Pictures([dark, bright], boxes), SampleKey(0, (64, 64), epoch)) for epoch in range(200)]
    mixed = np.concatenate([np.unique(sample.image) for sample in samples])
    weights = mixed[(mixed > 0) & (mixed < 200)] / 200
    assert abs(weights.mean() - 0.5) < 0.02
    assert 0.04 < weights.std() < 0.09  # Beta(32, 32): .062
    assert np.mean([len(sample.boxes) for sample in samples]) > 4


def test_a_much_larger_image_is_reduced_before_it_is_resampled():
    stripes = np.zeros((640, 640, 3), np.uint8)
    stripes[:, ::4] = 200
    sample = YOLOv5Augmentation(**PLAIN)(Pictures([stripes]), SampleKey(0, (160, 160)))
    assert (sample.image == 50).all()


@pytest.mark.parametrize("options", [{}, {"mosaic": 0.0}])
def test_an_image_given_smaller_lands_in_the_same_place(options):
    class Reduced(Pictures):
        def read_image(self, index, long_side=None):
            return cv2.resize(self.images[index], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)

    image = cv2.GaussianBlur(noise(5).images[4][:300, :300], (0, 0), 8)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    boxes = [np.array([[50, 60, 200, 180]], np.float32)]
    transform, key = YOLOv5Augmentation(**options), SampleKey(0, (64, 64))
    full, reduced = transform(Pictures([image], boxes), key), transform(Reduced([image], boxes), key)
    np.testing.assert_array_equal(full.boxes, reduced.boxes)
    assert np.abs(full.image.astype(int) - reduced.image).mean() < 6


def test_grey_images_stay_grey():
    image = np.repeat(np.random.default_rng(0).integers(0, 256, (64, 64, 1), np.uint8), 3, axis=2)
    sample = YOLOv5Augmentation(hsv_h=0.5, hsv_s=0.9, hsv_v=0.9)(Pictures([image]), SampleKey(0, (64, 64)))
    assert (sample.image == sample.image[..., :1]).all()


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (700, 300), (3, 140000)])
@pytest.mark.parametrize("gains", [(1.0, 1.0, 1.0), (1.015, 1.7, 0.6), (0.5, 0.3, 1.4)])
def test_color_is_scaled_by_table(size, gains):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), np.uint8)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.float64) * gains
    hsv[..., 0] %= 180
    expected = cv2.cvtColor(np.clip(hsv, 0, 255).astype(np.uint8), cv2.COLOR_HSV2RGB)
    scale_hsv(image, gains)
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale", 1.0),
        ("mosaic", 1.5),
        ("mosaic9", 1.1),
        ("copy_paste", -0.1),
        ("fliplr", -0.1),
        ("degrees", 200.0),
        ("hsv_h", float("nan")),
        ("perspective", 0.5),
    ],
)
def test_a_number_out_of_range_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name} is .* must lie in 0…"):
        YOLOv5Augmentation(**{name: value})


@pytest.mark.parametrize(
    ("after", "kept"),
    [
        ([0, 0, 10, 10], True),
        ([0, 0, 2, 10], False),  # not wider than two pixels
        ([0, 0, 10, 2], False),
        ([0, 0, 3, 3.2], False),  # a tenth of the area is needed
        ([0, 0, 3, 3.5], True),
        ([0, 0, 250, 2.4], False),  # too thin
    ],
)
def test_which_boxes_are_kept(after, kept):
    before = np.array([[0, 0, 5, 5]], np.float32)
    assert keep_boxes(before, np.array([after], np.float32), gain=2.0).tolist() == [kept]


def test_a_smaller_share_of_an_outline_is_enough():
    before, after = np.array([[0, 0, 20, 20]] * 3, np.float32), np.array([[0, 0, 3, 3]] * 3, np.float32)
    after[2] = [0, 0, 2.5, 1.5]
    share = np.array([0.1, 0.01, 0.01], np.float32)
    assert keep_boxes(before, after, 1.0, share).tolist() == [False, True, False]


def test_no_boxes_pass_through():
    empty = np.zeros((0, 4), np.float32)
    assert transform_boxes(empty, np.eye(3), (10, 10)).shape == (0, 4)
    assert keep_boxes(empty, empty, 1.0).shape == (0,)


def test_affine_and_perspective_move_boxes_alike():
    boxes = np.array([[10, 20, 30, 25], [0, 0, 0, 0], [60, 70, 90, 95]], np.float32)
    matrix = np.array([[0.7, -0.4, 12], [0.3, 0.9, 5], [0, 0, 1]])
    tilted = matrix.copy()
    tilted[2, 0] = 1e-12
    moved = transform_boxes(boxes, matrix, (80, 90))
    np.testing.assert_allclose(moved, transform_boxes(boxes, tilted, (80, 90)), atol=1e-4)
    np.testing.assert_allclose(moved[0], [0.7 * 10 - 0.4 * 25 + 12, 26, 0.7 * 30 - 0.4 * 20 + 12, 36.5], atol=1e-4)


def test_a_box_behind_the_viewer_is_lost():
    matrix = np.array([[1, 0, 0], [0, 1, 0], [-0.1, 0, 1]], np.float64)
    boxes = np.array([[0, 0, 5, 5], [5, 0, 20, 5]], np.float32)
    moved = transform_boxes(boxes, matrix, (100, 100))
    np.testing.assert_allclose(moved, [[0, 0, 10, 10], [0, 0, 0, 0]])


def test_the_matrix_keeps_the_centre_and_draws_eight_numbers():
    generator, twin = np.random.default_rng(0), np.random.default_rng(0)
    matrix, gain = random_matrix(generator, (200, 400), (100, 300), degrees=30.0, scale=0.5, shear=10.0)
    np.testing.assert_allclose(matrix @ [200, 100, 1], [150, 50, 1])
    unit = twin.uniform(-1, 1, 8)
    assert gain == 1 + 0.5 * unit[3]
    assert generator.random() == twin.random()


@pytest.mark.parametrize("scale", [0.1, 0.5, 0.77, 1.0, 1.5, 1.9, 7.3])
def test_both_ways_of_drawing_agree(scale):
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (80, 90, 3), np.uint8), (0, 0), 6)
    matrix = np.array([[scale, 0, 31.3 - 40 * scale], [0, scale, 27.8 - 35 * scale], [0, 0, 1]])
    turned = matrix.copy()
    turned[0, 1] = 1e-12
    outs = [np.full((60, 70, 3), 114, np.uint8) for _ in range(2)]
    for out, way in zip(outs, (matrix, turned), strict=True):
        draw(image, way, (3, 4, 88, 77), out)
    difference = np.abs(outs[0].astype(int) - outs[1])
    assert np.median(difference) <= 2
    assert ((outs[0] == 114).all(2) ^ (outs[1] == 114).all(2)).mean() < 0.06


@pytest.mark.parametrize("visible", [(0, 0, 0, 5), (5, 5, 5, 5), (0, 0, 0.2, 0.2)])
@pytest.mark.parametrize("turn", [0.0, 0.1])
def test_nothing_visible_draws_nothing(visible, turn):
    out = np.zeros((9, 9, 3), np.uint8)
    draw(np.full((9, 9, 3), 255, np.uint8), np.array([[1, turn, 0], [0, 1, 0], [0, 0, 1]]), visible, out)
    assert not out.any()
