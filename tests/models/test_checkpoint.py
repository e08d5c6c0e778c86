"""Files of weights: sound ones of every kind, broken ones, and ones made to do harm."""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import subprocess
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from tests.models.conftest import fused_official, half_of
from yolo_lightning.errors import InputError
from yolo_lightning.models import Detector, describe, official_state_dict, read_checkpoint
from yolo_lightning.models.archive import TorchArchive
from yolo_lightning.models.unpickler import Stub, unpickle

Save = Callable[..., Path]


# ---- sound files


@pytest.mark.parametrize("names", [["cat", "dog"], {0: "cat", 1: "dog"}, {1: "dog", 0: "cat"}])
def test_official_file(names: Any, nano: Detector, save_official: Save) -> None:
    tensors = official_state_dict(nano)
    checkpoint = read_checkpoint(save_official(tensors, names=names, yaml={"depth_multiple": 0.33}))
    assert checkpoint.is_official
    assert checkpoint.class_names == ("cat", "dog")
    assert checkpoint.config == {"depth_multiple": 0.33}
    assert list(checkpoint.tensors) == list(tensors)
    assert all(torch.equal(checkpoint.tensors[name], _halved(tensors[name])) for name in tensors)


def test_average_is_preferred(nano: Detector, save_official: Save) -> None:
    tensors = official_state_dict(nano)
    checkpoint = read_checkpoint(save_official(tensors, as_ema=True))
    assert torch.equal(checkpoint.tensors["model.0.conv.weight"], _halved(tensors["model.0.conv.weight"]))


def test_training_file_with_numpy_and_paths(nano: Detector, tmp_path: Path, save_official: Save) -> None:
    path = save_official(official_state_dict(nano), names=["a"])
    content = torch.load(path, weights_only=False)  # of our own making, a line above
    content |= {
        "best_fitness": np.array([0.5]),
        "opt": {"save_dir": Path("runs/exp"), "set": {1, 2}},
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}},
        "date": np.float64(3.0),
    }
    torch.save(content, tmp_path / "last.pt")
    assert len(read_checkpoint(tmp_path / "last.pt").tensors) == 349


@pytest.mark.parametrize("names", [None, "cats", ["a", 3], {0: "a", 2: "b"}, {"a": 0}, []])
def test_class_names_of_other_kinds_are_no_class_names(names: Any, save_official: Save) -> None:
    assert read_checkpoint(save_official({"model.0.weight": torch.zeros(1)}, names=names)).class_names is None


def test_fused_file_is_the_same_network(nano: Detector, save_official: Save) -> None:
    tensors = {name: tensor.float() for name, tensor in fused_official(nano).items()}
    found = read_checkpoint(save_official(tensors)).tensors
    assert set(found) == set(official_state_dict(nano))
    layer = "model.0"
    bn = torch.nn.BatchNorm2d(16, eps=1e-3)
    bn.load_state_dict({name.split(".")[-1]: value for name, value in found.items() if name.startswith(f"{layer}.bn.")})
    bias = _halved(tensors[f"{layer}.conv.bias"])
    assert torch.allclose(bn.eval()(torch.ones(1, 16, 1, 1)).flatten(), 1 + bias, atol=1e-6)


def test_own_checkpoint(nano: Detector, tmp_path: Path) -> None:
    state = {f"detector.{name}": tensor for name, tensor in nano.state_dict().items()} | {"loss.weight": torch.ones(1)}
    content = {
        "state_dict": OrderedDict(state),
        "current_model_state": {name: torch.zeros_like(tensor) for name, tensor in state.items()},
        "hyper_parameters": {"class_names": ["a", "b"], "detector": describe(nano)},
        "optimizer_states": [{"state": {}}],
        "callbacks": {"x": object},
    }
    torch.save(content, tmp_path / "last.ckpt")
    checkpoint = read_checkpoint(tmp_path / "last.ckpt")
    assert not checkpoint.is_official
    assert checkpoint.class_names == ("a", "b")
    assert checkpoint.description == describe(nano)
    assert all(torch.equal(checkpoint.tensors[name], tensor) for name, tensor in nano.state_dict().items())
    assert len(checkpoint.tensors) == len(nano.state_dict())


def test_compiled_network_s_checkpoint(tmp_path: Path) -> None:
    torch.save({"state_dict": {"detector._orig_mod.head.anchors": torch.ones(2)}}, tmp_path / "compiled.ckpt")
    assert list(read_checkpoint(tmp_path / "compiled.ckpt").tensors) == ["head.anchors"]


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "weights"])
def test_safetensors_by_any_name(name: str, nano: Detector, tmp_path: Path) -> None:
    save_file({key: tensor.clone() for key, tensor in half_of(nano).items()}, tmp_path / name)
    found = read_checkpoint(tmp_path / name).tensors
    assert all(torch.equal(found[key], tensor) for key, tensor in half_of(nano).items())


def test_state_dict_alone_and_strided_tensors(tmp_path: Path) -> None:
    base = torch.arange(24.0).view(2, 3, 4)
    tensors = {
        "view": base[1, :, ::2],
        "transposed": base.permute(2, 0, 1),
        "empty": torch.zeros(0, 3),
        "number": torch.tensor(7),
        "brain": torch.tensor([1.5], dtype=torch.bfloat16),
        "double": torch.tensor([0.1], dtype=torch.float64),
    }
    torch.save(tensors, tmp_path / "plain.pt")
    found = read_checkpoint(tmp_path / "plain.pt").tensors
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert (found["brain"].dtype, found["double"].dtype) == (torch.float32, torch.float64)


# ---- broken files


def _text(path: Path) -> None:
    path.write_text("<!doctype html><html>Not found</html>")


def _random(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 20)


def _pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"model": 1}, protocol=2))


def _other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("picture.png", "x")


def _not_a_dictionary(path: Path) -> None:
    torch.save([1, 2], path)


def _no_tensors(path: Path) -> None:
    torch.save({"model": None, "epoch": 3}, path)


def _cut_zip(path: Path) -> None:
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


def _cut_safetensors(path: Path) -> None:
    save_file({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])


def _huge_safetensors_header(path: Path) -> None:
    path.write_bytes((2**62).to_bytes(8, "little") + b"{}")


def _damaged_block(path: Path) -> None:
    torch.save({"a": torch.full((1000,), 3.0)}, path)
    data = bytearray(path.read_bytes())
    position = data.index(torch.full((50,), 3.0).numpy().tobytes())
    data[position + 40] ^= 0xFF
    path.write_bytes(data)


def _missing_block(path: Path) -> None:
    torch.save({"a": torch.zeros(10)}, path)
    _rewrite(path, lambda name, data: None if name.endswith("data/0") else data)


def _short_block(path: Path) -> None:
    torch.save({"a": torch.zeros(10)}, path)
    _rewrite(path, lambda name, data: data[:8] if name.endswith("data/0") else data)


def _compressed(path: Path) -> None:
    torch.save({"a": torch.zeros(10)}, path)
    _rewrite(path, lambda name, data: bytes(10**7) if name.endswith("data/0") else data, zipfile.ZIP_DEFLATED)


def _big_endian(path: Path) -> None:
    torch.save({"a": torch.zeros(10)}, path)
    _rewrite(path, lambda name, data: b"big" if name.endswith("byteorder") else data)


def _rewrite(path: Path, change: Callable[[str, bytes], bytes | None], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path) as file:
        members = {name: change(name, file.read(name)) for name in file.namelist()}
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            if data is not None:
                file.writestr(name, data)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.mkdir(), "is a directory"),
        (_text, "no file of weights; expected a published"),
        (_random, "no file of weights"),
        (_pickle, r"before 1\.6"),
        (_other_zip, "not one that torch.save made"),
        (_not_a_dictionary, "holds a list"),
        (_no_tensors, "holds no tensors"),
        (_cut_zip, "get it again"),
        (_cut_safetensors, "get it again"),
        (_huge_safetensors_header, "get it again"),
        (_damaged_block, "a: .*damaged"),
        (_missing_block, "data/0 is missing"),
        (_short_block, r"shape \(10,\) needs more numbers than the file holds for it \(2\)"),
        (_compressed, "compressed"),
        (_big_endian, "big-endian"),
    ],
)
def test_broken_files_say_what_is_wrong(make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.pt"
    make(path)
    with pytest.raises(InputError, match=message) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pt do not exist"):
        read_checkpoint(tmp_path / "nowhere.pt")


# ---- files made to do harm


class _Call:
    """Pickles as a call of any function."""

    def __init__(self, function: Any, *args: Any) -> None:
        self._call = function, args

    def __reduce__(self) -> Any:
        return self._call


def _archive(path: Path, data: bytes, blocks: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", data)
        for key, block in (blocks or {}).items():
            file.writestr(f"archive/data/{key}", block)
    return path


@pytest.mark.parametrize("place", ["top", "model", "ema", "in a list", "as a name", "in a module"])
def test_hostile_calls_do_nothing(place: str, tmp_path: Path) -> None:
    mark = tmp_path / "owned"
    calls = [
        _Call(os.system, f"touch {mark}"),
        _Call(eval, f"open({str(mark)!r}, 'w')"),
        _Call(exec, f"open({str(mark)!r}, 'w')"),
        _Call(subprocess.Popen, ["touch", str(mark)]),
        _Call(open, str(mark), "w"),
        _Call(getattr, _Call(__import__, "os"), "system"),
        _Call(Path.touch, mark),
        _Call(torch.load, str(mark)),
    ]
    for call in calls:
        content: Any = {
            "top": call,
            "model": {"model": call},
            "ema": {"ema": call, "model": call},
            "in a list": {"state_dict": {"a": [call]}},
            "as a name": {"model": {call: 1}},
            "in a module": {"model": _Call(Stub, call)},
        }[place]
        with pytest.raises(InputError, match="cannot read weights"):
            read_checkpoint(_archive(tmp_path / "hostile.pt", pickle.dumps(content)))
    assert not mark.exists()


def test_hostile_calls_beside_sound_weights_do_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "owned"
    torch.save(
        {"state_dict": {"a": torch.ones(2)}, "extra": _Call(os.system, f"touch {mark}")}, tmp_path / "mixed.ckpt"
    )
    assert torch.equal(read_checkpoint(tmp_path / "mixed.ckpt").tensors["a"], torch.ones(2))
    assert not mark.exists()


PICKLES = {
    "calls an instance": b"cos\nsystem\n(tR(S'x'\ntR.",
    "sets attributes of a known name": b"ctorch._utils\n_rebuild_tensor_v2\nN}S'x'\nI1\ns\x86b.",
    "sets attributes of the dictionary class": b"ccollections\nOrderedDict\nN}S'x'\nI1\ns\x86b.",
    "adds attributes to the set class": b"cbuiltins\nset\nN}S'x'\nI1\ns\x86b.",
    "extension code": b"\x80\x02\x82\x07.",
    "cut off": b"\x80\x02}q\x00(X\x05\x00\x00\x00",
    "huge memo": b"\x80\x02Nr\xff\xff\xff\x7f.",
    "huge string": b"\x80\x04\x8d" + (2**60).to_bytes(8, "little") + b"x.",
    "deep": b"]" + b"\x85" * 200_000 + b".",
    "empty stack": b".",
    "protocol of the future": b"\x80\x63N.",
    "unhashable": b"}]I1\ns.",
    "unknown storage": b"(S'other'\nNS'0'\ntQ.",
}


@pytest.mark.parametrize("name", PICKLES)
def test_odd_pickles_change_nothing(name: str, tmp_path: Path) -> None:
    before = dict(copyreg._inverted_registry)  # type: ignore[attr-defined]
    with pytest.raises(InputError):
        read_checkpoint(_archive(tmp_path / "odd.pt", PICKLES[name]))
    assert copyreg._inverted_registry == before  # type: ignore[attr-defined]
    torch.save({"state_dict": OrderedDict(a=torch.ones(2))}, tmp_path / "sound.pt")
    assert torch.equal(read_checkpoint(tmp_path / "sound.pt").tensors["a"], torch.ones(2))


def test_every_name_gives_an_inert_stub() -> None:
    found = unpickle(pickle.dumps([_Call(os.system, "exit 1"), Path("x"), np.zeros(2)]))
    assert all(isinstance(item, Stub) for item in found)


def _record(offset: object, size: object, stride: object, key: object = "0") -> bytes:
    """Pickle of {"a": a tensor} whose parts are free, with ten floats in its block."""
    storage = ("storage", torch.FloatStorage, key, "cpu", 10)

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            return storage if value == "STORAGE" else None

    buffer = io.BytesIO()
    call = _Call(torch._utils._rebuild_tensor_v2, "STORAGE", offset, size, stride, False, OrderedDict())
    Pickler(buffer, protocol=2).dump({"a": call})
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (11,), (1,)),
        (1, (10,), (1,)),
        (-1, (2,), (1,)),
        (0, (2,), (-1,)),
        (0, (-2,), (1,)),
        (0, (2, 6), (6, 1)),
        (0, (10**12,), (0,)),
        (0, (2**40, 2**40), (0, 0)),
        (2**62, (1,), (1,)),
        (0, (2,), (2**62,)),
        (0, (2,), ()),
        (0, (1,) * 20, (1,) * 20),
        (0, [2], [1]),
        (0, (2.0,), (1,)),
        (0, (True,), (1,)),
        ("0", (2,), (1,)),
        (None, None, None),
    ],
)
def test_tensors_outside_their_numbers_are_refused(
    offset: object, size: object, stride: object, tmp_path: Path
) -> None:
    path = _archive(tmp_path / "outside.pt", _record(offset, size, stride), {"0": bytes(40)})
    with pytest.raises(InputError, match="a: "):
        read_checkpoint(path)


@pytest.mark.parametrize("key", ["1", "../data.pkl/../../x", "/etc/passwd", "", 0])
def test_blocks_outside_the_archive_are_refused(key: object, tmp_path: Path) -> None:
    path = _archive(tmp_path / "outside.pt", _record(0, (2,), (1,), key), {"0": bytes(40)})
    with pytest.raises(InputError):
        read_checkpoint(path)


def test_a_sound_record_is_read(tmp_path: Path) -> None:
    block = np.arange(10, dtype=np.float32).tobytes()
    path = _archive(tmp_path / "sound.pt", _record(1, (2, 3), (4, 1)), {"0": block})
    assert read_checkpoint(path).tensors["a"].tolist() == [[1, 2, 3], [5, 6, 7]]


def test_a_small_file_cannot_fill_the_memory(tmp_path: Path) -> None:
    shared = torch.zeros(100_000)
    torch.save({f"t{index}": shared for index in range(50)}, tmp_path / "repeated.pt")
    with pytest.raises(InputError, match="larger than the file"):
        read_checkpoint(tmp_path / "repeated.pt")


def test_modules_in_a_circle_end(tmp_path: Path) -> None:
    data = b"\x80\x02}S'model'\ncmodels.yolo\nModel\n)\x81q\x01}(S'_modules'\n}S'again'\nh\x01sS'_buffers'\n}ubs."
    with pytest.raises(InputError, match="no tensors"):
        read_checkpoint(_archive(tmp_path / "circle.pt", data))


def test_archive_reads_nothing_but_records(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pt")
    with TorchArchive(tmp_path / "a.pt") as archive:
        record = archive.load()["a"]
        assert not isinstance(record, torch.Tensor)
        assert torch.equal(archive.tensor(record), torch.ones(2))


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half().float() if tensor.is_floating_point() else tensor
