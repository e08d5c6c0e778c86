"""Fixtures of tests with a W&B server; a conftest.py imports the ones it wants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.wandb_server.processes import Machine
from tests.wandb_server.server import WandbServer

__all__ = ["machine", "wandb_server"]


@pytest.fixture
def wandb_server(tmp_path: Path) -> Iterator[WandbServer]:
    """A running server.

    The test fails at its end if a client asked for what the server lacks, or the server had an error of its own, unless
    it sets ``wandb_server.strict`` to False.
    """
    with WandbServer(tmp_path / "wandb-server") as server:
        yield server
    if server.strict:
        assert not server.missing, f"the server lacks {sorted(server.missing)}"
        assert not server.errors, "\n".join(server.errors)


@pytest.fixture
def machine(wandb_server: WandbServer, tmp_path: Path) -> Iterator[Callable[[str], Machine]]:
    """``machine(name)`` is a computer of the name, always the same one; in the end all of them are turned off."""
    machines: dict[str, Machine] = {}

    def get(name: str) -> Machine:
        if name not in machines:
            home = tmp_path / "machines" / name
            machines[name] = Machine(home, {**wandb_server.env(home), "PYTHONPATH": str(ROOT)})
        return machines[name]

    yield get
    for each in machines.values():
        each.power_off()
