"""The commands of docs/wandb.md, from top to bottom, on one machine and, where it is lost, on another."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.runs import tiny_config, write_shapes
from tests.wandb_server.processes import Machine
from tests.wandb_server.server import WandbServer
from tests.weights_and_biases.warm import WarmProcess

PAGE = (ROOT / "docs" / "wandb.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL) for line in block.splitlines()]


def furnish(home: Path) -> None:
    """What the page presumes: a clone of the repository, and data."""
    (home / "configs").symlink_to(ROOT / "configs")
    data = write_shapes(home, train=6, val=3)
    (home / "tiny.yaml").write_text(yaml.safe_dump(tiny_config(data, max_epochs=2)))


@pytest.mark.slow
def test_commands(wandb_server: WandbServer, machine: Callable[[str], Machine], warm: WarmProcess) -> None:
    furnish(machine("first").home)
    for command in COMMANDS:
        place = machine("second" if "--resume" in command else "first")
        words = shlex.split(command)
        program = words.index("yolo-lightning")
        settings = dict(word.split("=", 1) for word in words[:program])
        done = warm.start(words[program + 1 :], {**place.env, **settings}, place.home)
        assert done.wait() == 0, f"{command}\n{done.output}"
        assert "Traceback" not in done.output
    run = wandb_server.store.run_at("team/cells/second")
    assert run.state == "finished"
    assert [artifact.name.partition(":")[0] for artifact in run.used][:1] == ["bloodcells"]
    assert (machine("first").home / "runs" / "offline").is_dir()


def test_options_exist() -> None:
    """Those that stand in the text or the table."""
    from yolo_lightning.weights_and_biases import RunWandbLogger

    names = set(re.findall(r"--trainer\.logger\.(\w+)", PAGE))
    assert names <= set(RunWandbLogger.__init__.__annotations__)
