"""CoreML models, as far as they can be looked at without macOS."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.export.conftest import IMAGES, calm_detector
from tests.inference.conftest import CLASS_NAMES
from yolo_lightning.errors import InputError
from yolo_lightning.export import ExportOptions, coreml, export_network
from yolo_lightning.runtimes import contract_path
from yolo_lightning.runtimes.contract import CONTRACT_KEY, Contract

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
@pytest.mark.parametrize("half", [False, True])
def test_the_model_takes_and_answers_what_the_contract_says(half: bool, tmp_path: Path) -> None:
    tools = pytest.importorskip("coremltools", reason="the extra coreml is not installed")
    path = tmp_path / "tiny_coreml_model"
    options = ExportOptions(image_size=(64, 64), batch_size=2, half=half)
    made = export_network(calm_detector(), CLASS_NAMES, "coreml", path, options, images=IMAGES)
    assert made.difference is None  # not run
    spec = tools.utils.load_spec(str(path / coreml.MODEL))
    assert [each.name for each in spec.description.input] == ["images"]
    assert list(spec.description.output[0].type.multiArrayType.shape) == [2, 252, 8]
    text = spec.description.metadata.userDefined[CONTRACT_KEY]
    assert json.loads(text)["class_names"] == list(CLASS_NAMES)
    contract = Contract.read(contract_path(path))
    assert contract.files[0].name == f"{coreml.MODEL}/Manifest.json"
    weights = next(path.rglob("*.mlmodel"))
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"is not the file that contract\.json was made for"):
        Contract.read(contract_path(path))
