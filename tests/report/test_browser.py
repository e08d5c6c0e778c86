"""The page in a browser: every control is used, and what is shown then is counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import browser, requested_addresses
from tests.report.make import DETECTIONS, NAMES, TARGETS, write_run
from yolo_lightning.cli import main

pytestmark = pytest.mark.slow

# Runs in the page: whatever waits for the next picture of the screen has happened then.
_SETTLE = "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => done()));"
_SET = """
const [id, value, event] = arguments, control = document.getElementById(id);
if (control.type === "checkbox") control.checked = value; else control.value = value;
control.dispatchEvent(new Event(event, { bubbles: true }));
"""
_CARDS = """
return [...document.querySelectorAll("#gallery .card")].map((card) => ({
  ...card.dataset,
  text: card.querySelector("p").textContent,
  detections: [...card.querySelectorAll("[data-detection]")].map((box) => Number(box.dataset.detection)),
  truths: [...card.querySelectorAll("[data-truth]")].map((box) => Number(box.dataset.truth)),
  states: [...card.querySelectorAll("[data-truth]")].map((box) => box.dataset.state),
  names: [...card.querySelectorAll(".box span")].map((name) => name.textContent),
}));
"""
MISSED_BIRD = 8 + 4  # 8 detections are on the page, then come the labels


class Reader:
    """What a person does with a page and sees on it."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, path: Path):
        requested_addresses(self.driver)
        self.driver.get_log("browser")
        self.driver.get(path.as_uri())
        self.settle()
        assert self.script("return document.documentElement.dataset.ready") == "yes"

    def script(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def settle(self):
        self.driver.execute_async_script(_SETTLE)

    def set(self, **controls):
        for name, value in controls.items():
            self.script(_SET, name, value, "input" if name in ("confidence", "search") else "change")
        self.settle()

    def click(self, selector):
        self.driver.find_element("css selector", selector).click()
        self.settle()

    def press(self, *keys):
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()
        self.settle()

    def cards(self):
        return self.script(_CARDS)

    def images(self):
        return [int(card["image"]) for card in self.cards()]

    def entries(self):
        return [int(card["entry"]) for card in self.cards()]

    def text(self, selector):
        return self.script("return document.querySelector(arguments[0]).textContent", selector)

    def texts(self, selector):
        return self.script("return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector)


@pytest.fixture(scope="module")
def driver():
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    run = write_run(tmp_path_factory.mktemp("report"))
    assert main(["report", str(run)]) == 0
    return run / "report.html"


@pytest.fixture
def reader(driver, page):
    """The page, just opened."""
    reader = Reader(driver)
    reader.open(page)
    return reader


def test_nothing_is_asked_of_the_network_and_nothing_goes_wrong(reader):
    addresses = requested_addresses(reader.driver)
    assert addresses[0].startswith("file:///")
    assert {address.split(":")[0] for address in addresses} <= {"file", "blob"}
    assert sum(address.startswith("file:") for address in addresses) == 1
    assert reader.driver.get_log("browser") == []
    # the policy holds: a picture or a script of elsewhere is not even asked for
    reader.script(
        "const image = new Image(); image.src = 'file:///x.png'; document.body.append(image);"
        "const s = document.createElement('script'); s.textContent = 'document.title = 1'; document.body.append(s);"
    )
    reader.settle()
    assert reader.script("return document.title") == "my run – detection report"
    assert all("Content Security Policy" in entry["message"] for entry in reader.driver.get_log("browser"))


def test_pictures_are_decoded(reader):
    widths = reader.driver.execute_async_script(
        "const done = arguments[0], images = [...document.querySelectorAll('#gallery img')];"
        "Promise.all(images.map((image) => image.decode()))"
        ".then(() => done(images.map((image) => image.naturalWidth)));"
    )
    assert widths == [200] * 4


def test_boxes_are_where_they_were_detected(reader):
    style = reader.script(
        "const s = document.querySelector('[data-detection=\"0\"]').style; return [s.left, s.top, s.width, s.height]"
    )
    assert style == ["5%", "5%", "25%", "25%"]


def test_header(reader):
    assert reader.text("#title") == "my run"
    assert reader.text("#facts") == "split val · images 4 · labels 5 · detections 9"
    assert reader.script("return document.getElementById('notes').hidden && document.getElementById('problems').hidden")
    assert reader.texts("#figures h3") == ["COCO's reading", "YOLOv5's reading"]


def test_images_at_first(reader):
    cards = reader.cards()
    assert [int(card["image"]) for card in cards] == [0, 2, 1, 3]
    assert sorted(cards[0]["detections"]) == [0, 1, 2]
    assert (cards[0]["truths"], cards[0]["states"]) == ([0, 1], ["found", "explained"])
    assert cards[0]["text"] == "1 classification, 1 duplicate, 1 right"
    assert (cards[1]["detections"], cards[1]["states"]) == ([6], ["missed"])
    assert cards[3]["text"] == "nothing"
    assert reader.text("#status") == "1–4 of 4 images"


def counts(reader):
    rows = reader.script(
        "return [...document.querySelectorAll('#errors tr[data-kind]')]"
        ".map((row) => [row.dataset.kind, row.cells[1].textContent])"
    )
    return {kind: int(count) for kind, count in rows}


def test_confidence(reader):
    assert reader.text("#confidence-value") == "0.25"
    assert counts(reader) == {
        "classification": 1, "localisation": 1, "both": 1, "duplicate": 1, "background": 1, "missed": 1, "right": 2,
    }  # fmt: skip
    reader.set(confidence=0.05)
    assert reader.text("#confidence-value") == "0.05"
    assert counts(reader)["missed"] == 0
    assert counts(reader)["right"] == 3
    assert reader.images() == [0, 1, 2, 3]
    reader.set(confidence=0.75)
    assert counts(reader) == {
        "classification": 0, "localisation": 0, "both": 0, "duplicate": 1, "background": 0, "missed": 4, "right": 1,
    }  # fmt: skip
    assert {card["image"]: card["states"] for card in reader.cards()} == {
        "0": ["found", "missed"], "1": ["missed", "missed"], "2": ["missed"], "3": [],
    }  # fmt: skip
    assert reader.script("return document.getElementById('confidence').min") == "0.05"


def test_what_is_drawn(reader):
    reader.set(truth=False)
    assert [card["truths"] for card in reader.cards()] == [[], [], [], []]
    reader.set(truth=True, predictions=False)
    assert [card["detections"] for card in reader.cards()] == [[], [], [], []]
    assert [card["truths"] for card in reader.cards()] == [[0, 1], [4], [2, 3], []]
    reader.set(predictions=True, right=False)
    assert [sorted(card["detections"]) for card in reader.cards()] == [[1, 2], [6], [3, 5], []]
    assert "right" not in " ".join(card["text"] for card in reader.cards())
    reader.set(right=True)
    assert "cat 0.90" in reader.cards()[0]["names"]
    reader.set(names=False)
    assert [card["names"] for card in reader.cards()] == [[], [], [], []]


def test_objects(reader):
    reader.click("#view-objects")
    assert reader.entries() == [1, 2, 3, 6, 5, MISSED_BIRD, 4, 0]
    texts = {int(card["entry"]): card["text"] for card in reader.cards()}
    assert texts[2] == "cat 0.70: classification, labelled dog, IoU 1.00"
    assert texts[MISSED_BIRD] == "bird missed"
    assert texts[6] == "dog 0.40: background"
    assert reader.text("#status") == "1–8 of 8 objects"
    reader.set(right=False)
    assert reader.entries() == [1, 2, 3, 6, 5, MISSED_BIRD]


def test_filters(reader):
    reader.set(label="1")
    assert reader.images() == [0, 2, 1]
    assert [card["detections"] for card in reader.cards()] == [[], [6], [4]]
    reader.click("#view-objects")
    assert reader.entries() == [6, 4]
    reader.set(label="-1", kind="missed")
    assert reader.entries() == [MISSED_BIRD]
    reader.set(kind="errors")
    assert reader.entries() == [1, 2, 3, 6, 5, MISSED_BIRD]
    for kind, entry in (("classification", 2), ("localisation", 3), ("both", 5), ("duplicate", 1), ("background", 6)):
        reader.set(kind=kind)
        assert reader.entries() == [entry]
    reader.set(kind="apart")
    assert reader.entries() == []
    assert reader.text("#gallery") == "No object passes the filters."
    reader.set(kind="all", size="0")
    assert reader.entries() == [3]
    reader.set(size="1")
    assert reader.entries() == [1, 2, 6, 5, MISSED_BIRD, 0]
    reader.set(size="2")
    assert reader.entries() == [4]
    reader.set(size="all", search="THREE b/")
    assert reader.entries() == [6, MISSED_BIRD]
    reader.click("#reset")
    assert len(reader.entries()) == 8
    assert reader.script("return document.getElementById('search').value") == ""


def test_orders(reader):
    orders = {
        "errors": [0, 1, 2, 3], "label": [0, 1, 2, 3], "kind": [0, 1, 2, 3], "smallest": [1, 2, 0, 3],
        "largest": [1, 0, 2, 3], "most": [0, 1, 2, 3], "least": [1, 2, 0, 3], "name": [0, 1, 2, 3],
        "worst": [0, 2, 1, 3],
    }  # fmt: skip
    found = {}
    for order in orders:
        reader.set(sort=order)
        found[order] = reader.images()
    assert found == orders
    reader.click("#view-objects")
    expected = {
        "most": [0, 1, 2, 3, 4, 6, 5, MISSED_BIRD], "least": [5, 6, 4, 3, 2, 1, 0, MISSED_BIRD],
        "label": [1, 2, 3, 5, 0, 6, 4, MISSED_BIRD], "kind": [2, 3, 5, 1, 6, MISSED_BIRD, 4, 0],
        "name": [1, 2, 0, 3, 5, 4, 6, MISSED_BIRD], "errors": [1, 2, 0, 3, 5, 4, 6, MISSED_BIRD],
    }  # fmt: skip
    found = {}
    for order in expected:
        reader.set(sort=order)
        found[order] = reader.entries()
    assert found == expected
    for order, first in (("smallest", 3), ("largest", 4)):
        reader.set(sort=order)
        assert reader.entries()[0] == first


def test_tables_filter_and_sort(reader):
    names = "#classes tbody tr th"
    assert reader.texts(names) == ["cat", "dog", "bird", "fish"]
    reader.click("th[data-column=class] button")
    assert reader.texts(names) == ["bird", "cat", "dog", "fish"]
    reader.click("th[data-column=class] button")
    assert reader.texts(names) == ["fish", "dog", "cat", "bird"]
    assert reader.script("return document.querySelector('th[data-column=class]').ariaSort") == "descending"
    reader.click("th[data-column=missed] button")
    assert reader.texts(names)[0] == "bird"
    assert reader.texts("tr[data-label='3'] td")[:6] == ["0", "0", "–", "–", "–", "–"]
    assert reader.texts("tr[data-label='0'] td")[6:] == ["1", "1", "1", "1", "1", "0", "0"]
    reader.click("tr[data-label='2'] button")
    assert reader.images() == [2]
    assert reader.script("return document.getElementById('label').value") == "2"
    assert reader.script("return document.querySelector(\"tr[data-label='2'] button\").ariaPressed") == "true"
    reader.click("tr[data-label='2'] button")
    assert len(reader.images()) == 4
    reader.click("#errors tr[data-kind=duplicate] button")
    assert reader.images() == [0]
    assert reader.cards()[0]["detections"] == [1]


def test_probable_label_errors(reader):
    reader.click("#view-issues")
    cards = reader.cards()
    assert len(cards) == len({card["issue"] for card in cards}) > 2
    texts = [card["text"] for card in cards]
    assert "label missing? no label, detected dog 0.40" in texts
    assert "wrong class? labelled dog, detected cat 0.70" in texts
    reader.set(confidence=0.65)
    assert [text for text in (card["text"] for card in reader.cards()) if "detected dog" in text] == []
    assert reader.script("return document.getElementById('sort').disabled")


def test_one_image_large(reader):
    reader.click(".card[data-image='2'] .picture")
    assert reader.script("return document.getElementById('dialog').open")
    assert reader.text("#dialog-title") == "b/three.png"
    assert reader.texts("#dialog-objects tbody tr") == ["dog0.400background––", "––missedbird–"]
    from selenium.webdriver import Keys

    reader.press(Keys.ARROW_LEFT)
    assert reader.text("#dialog-title") == "a/one.png"
    assert reader.script("return document.getElementById('dialog-previous').disabled")
    reader.click("#dialog-next")
    assert reader.text("#dialog-title") == "b/three.png"
    reader.press(Keys.ESCAPE)
    assert not reader.script("return document.getElementById('dialog').open")


def test_pages_by_buttons_and_keys(driver, tmp_path):
    from selenium.webdriver import Keys

    run = write_run(tmp_path, file_names=[f"{index:03}.png" for index in range(60)])
    assert main(["report", str(run), "--image-size", "32"]) == 0
    reader = Reader(driver)
    reader.open(run / "report.html")
    reader.set(sort="name")
    assert reader.images() == list(range(24))
    reader.press(Keys.ARROW_RIGHT)
    assert reader.images() == list(range(24, 48))
    reader.click("#next")
    assert reader.images() == list(range(48, 60))
    assert reader.text("#status") == "49–60 of 60 images"
    assert reader.script("return document.getElementById('next').disabled")
    reader.click("#previous")
    reader.press(Keys.ARROW_LEFT)
    assert reader.images() == list(range(24))
    reader.click("#last")
    assert reader.images() == list(range(48, 60))
    reader.click("#first")
    assert reader.images() == list(range(24))
    # in a control the arrows are its own
    reader.script("document.getElementById('confidence').focus()")
    reader.press(Keys.ARROW_RIGHT)
    assert reader.images() == list(range(24))
    assert reader.text("#confidence-value") == "0.26"


def test_every_control_is_labelled_and_reached_by_tab(reader):
    from selenium.webdriver import Keys

    unlabelled = reader.script(
        "return [...document.querySelectorAll('input, select, button')].filter((c) =>"
        " !(c.labels?.length || c.textContent.trim() || c.ariaLabel)).map((c) => c.id)"
    )
    assert unlabelled == []
    reader.script("document.getElementById('view-images').focus()")
    reached = []
    for _ in range(12):
        reached.append(reader.script("return document.activeElement.id"))
        reader.press(Keys.TAB)
    controls = [
        "confidence",
        "truth",
        "predictions",
        "right",
        "names",
        "label",
        "kind",
        "size",
        "sort",
        "search",
        "reset",
    ]
    assert reached == ["view-images", *controls]
    assert reader.script("return getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_and_a_narrow_screen(reader, scheme):
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    reader.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    metrics = {"width": 360, "height": 700, "deviceScaleFactor": 1, "mobile": True}
    reader.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    reader.settle()
    try:
        for view in ("images", "objects"):
            reader.script(f"document.getElementById('view-{view}').click()")
            reader.settle()
            assert reader.script("return document.documentElement.scrollWidth") <= 360
        errors = "document.getElementById('errors').parentElement"
        assert reader.script(f"return {errors}.scrollWidth <= {errors}.clientWidth")
        # Of the classes, whose figures do not fit, the names stay in sight.
        moved = (
            "arguments[0].scrollLeft = 200; return arguments[0].querySelector('tbody th').getBoundingClientRect().left"
        )
        classes = reader.driver.find_element("css selector", "[aria-label='Table of classes']")
        assert 0 <= reader.script(moved, classes) <= 30
        red = int(reader.script("return getComputedStyle(document.body).backgroundColor").split("(")[1].split(",")[0])
        assert red < 60 if scheme == "dark" else red > 200
    finally:
        reader.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        reader.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_hostile_names(driver, tmp_path):
    names = ("<img src=x onerror='document.title=1'>", "</script><script>document.title=1</script>", "", "\u202e&lt;")
    files = ("<img src=x onerror=document.title=1>.png", "b.png", "c.png", "<b>.png")
    run = write_run(tmp_path, class_names=names, file_names=files)
    (tmp_path / "images" / files[0]).unlink()
    assert main(["report", str(run)]) == 0
    reader = Reader(driver)
    reader.open(run / "report.html")
    assert reader.text("#classes tr[data-label='0'] th") == names[0]
    assert files[0] in reader.texts(".caption")
    assert reader.script("return document.querySelectorAll('b, img[onerror]').length") == 0
    assert reader.script("return document.title") == "my run – detection report"
    assert driver.get_log("browser") == []


def test_pictures_that_cannot_be_read(driver, tmp_path):
    run = write_run(tmp_path)
    (tmp_path / "images/a/one.png").unlink()
    (tmp_path / "images/b/three.png").write_bytes(b"text")
    assert main(["report", str(run)]) == 0
    reader = Reader(driver)
    reader.open(run / "report.html")
    assert reader.text("#problems summary") == "2 of 4 images have no picture: their boxes are shown on grey"
    assert reader.texts("#problems li")[0] == "a/one.png: does not exist any more"
    assert reader.text(".card[data-image='0'] .absent") == "no picture, 200 × 200 pixels"
    assert sorted(reader.cards()[0]["detections"]) == [0, 1, 2]


@pytest.mark.parametrize(("detections", "targets"), [([], []), ([], TARGETS), (DETECTIONS, [])])
def test_nothing_detected_or_labelled(driver, detections, targets, tmp_path):
    run = write_run(tmp_path, detections, targets)
    assert main(["report", str(run)]) == 0
    reader = Reader(driver)
    reader.open(run / "report.html")
    assert len(reader.images()) == 4
    for view in ("objects", "issues", "images"):
        reader.click(f"#view-{view}")
    assert reader.texts("#classes tbody tr th") == list(NAMES)
    assert driver.get_log("browser") == []
