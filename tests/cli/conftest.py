from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
import torch
import yaml

from tests.runs import tiny_config, write_shapes


class Console(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the standard error of the moment."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        pass


@pytest.fixture(autouse=True)
def _private_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[None]:
    """Runs in the process of the tests leave neither environment nor threads behind, and print where a test reads."""
    monkeypatch.chdir(tmp_path)
    variables, threads = dict(os.environ), torch.get_num_threads()
    torch.set_num_threads(1)
    # Lightning's own handler keeps the stream of the moment when it was imported.
    monkeypatch.setattr(logging.getLogger("lightning"), "handlers", [Console()])
    yield
    torch.set_num_threads(threads)
    os.environ.clear()
    os.environ.update(variables)


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data.yaml of five classes."""
    return write_shapes(tmp_path_factory.mktemp("shapes"))


@pytest.fixture(scope="session")
def config(shapes: Path) -> Path:
    """A configuration that trains a tiny network on the shapes for three epochs."""
    file = shapes.with_name("tiny.yaml")
    file.write_text(yaml.safe_dump(tiny_config(shapes, max_epochs=3)))
    return file
