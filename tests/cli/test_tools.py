"""Tools on the command line: words and options in any order, as people type them."""

from __future__ import annotations

import pytest

from yolo_lightning.cli.tools import run_tool

calls: list[dict[str, object]] = []


def tool(
    weights: str,
    sources: list[str],
    *,
    size: int | tuple[int, int] = 640,
    save_txt: bool = False,
    agnostic: bool | None = None,
    threshold: float = 0.25,
    names: list[str] | None = None,
) -> int | None:
    """Does something.

    It has a second paragraph.

    Args:
        weights: The weights.
        sources: The sources.
        size: The size.
        save_txt: Whether to save.
        agnostic: Whether or not, or neither.
        threshold: The threshold.
        names: Names.
    """
    calls.append({name: value for name, value in locals().items() if name not in ("weights", "sources")})
    calls[-1]["words"] = [weights, *sources]
    return 3 if "fail" in sources else None


DEFAULTS = {"size": 640, "save_txt": False, "agnostic": None, "threshold": 0.25, "names": None}
GIVEN = {
    "w a": {},
    "w a b -- -c --d": {"words": ["w", "a", "b", "-c", "--d"]},
    "w screen 0 -100 10 640 480": {"words": ["w", "screen", "0", "-100", "10", "640", "480"]},
    "--save-txt w a": {"save_txt": True},
    "w --save_txt a": {"save_txt": True},
    "w --save_txt true a": {"save_txt": True},
    "w --save_txt False a": {"save_txt": False},
    "w --save-txt=false a": {"save_txt": False},
    "w a --agnostic": {"agnostic": True},
    "w a --agnostic=null": {"agnostic": None},
    "w --size [3,4] a": {"size": (3, 4)},
    "w --size 32 a --threshold=-1": {"size": 32, "threshold": -1.0},
    "w [a]": {"words": ["w", "[a]"]},
    "w a,b": {"words": ["w", "a,b"]},
    "w a --names [x,y]": {"names": ["x", "y"]},
}


@pytest.mark.parametrize("given", GIVEN)
def test_words_and_options(given):
    assert run_tool("tool", tool, given.split()) == 0
    assert calls.pop() == {**DEFAULTS, "words": ["w", "a"], **GIVEN[given]}


def test_status():
    assert run_tool("tool", tool, ["w", "fail"]) == 3


def test_a_file_of_options(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_tool("tool", tool, ["w", "a", "--size=32", "--print_config"])
    assert stopped.value.code == 0
    (tmp_path / "options.yaml").write_text("size: 64\nsave_txt: true\n")
    assert "size: 32" in capsys.readouterr().out
    run_tool("tool", tool, ["--config", str(tmp_path / "options.yaml"), "w", "a", "--size", "128"])
    assert calls.pop() == {**DEFAULTS, "size": 128, "save_txt": True, "words": ["w", "a"]}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "weights, sources"),
        ("w", "sources"),
        ("w a --foo 1", "--foo=1"),
        ("w a --size x", "size"),
        ("w a --threshold", "threshold"),
        ("w a --save-txt=maybe", "save_txt"),
    ],
)
def test_what_cannot_be(given, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        run_tool("tool", tool, given.split())
    assert stopped.value.code == 2
    error = capsys.readouterr().err
    assert message in error
    assert "usage: yolo-lightning tool weights sources [sources …] [options]" in error


def test_help(capsys):
    with pytest.raises(SystemExit):
        run_tool("tool", tool, ["--help"])
    output = capsys.readouterr().out
    assert "Does something.\n\nIt has a second paragraph." in output
    assert "The sources. (required" in output
