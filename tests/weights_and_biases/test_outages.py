"""W&B fails in every way: training does not notice, and ``wandb-sync`` brings what W&B lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.runs import assert_same_tensors, load
from tests.wandb_server.faults import DROP, HANG
from tests.wandb_server.processes import kill_processes
from tests.weights_and_biases.bench import EPOCHS, LOGGER, Bench, artifacts, epochs, figures, media
from yolo_lightning.weights_and_biases.history import whole_rows


def check_same(bench: Bench, undisturbed: Bench) -> None:
    """W&B has the same of both, and the run has learnt the same."""
    assert bench.run.state == "finished"
    assert figures(bench.run) == figures(undisturbed.run)
    assert artifacts(bench.run) == artifacts(undisturbed.run)
    assert media(bench.run) == media(undisturbed.run)
    assert bench.run.summary["best/epoch"] == undisturbed.run.summary["best/epoch"]
    assert bench.run.config_values["model"] == undisturbed.run.config_values["model"]
    check_same_weights(bench, undisturbed)


def check_same_weights(bench: Bench, undisturbed: Bench) -> None:
    weights = [
        load(directory / "checkpoints" / "last.ckpt")["state_dict"]
        for directory in (bench.directory, undisturbed.home / "runs" / "plain")
    ]
    assert_same_tensors(*weights)


@pytest.mark.slow
def test_nothing_is_missing_of_an_undisturbed_run(undisturbed: Bench) -> None:
    assert len(figures(undisturbed.run)) == EPOCHS
    assert len(media(undisturbed.run)) > 1
    assert any("best" in aliases for aliases in artifacts(undisturbed.run).values())
    before = len(undisturbed.server.requests)
    command = undisturbed.start("wandb-sync", undisturbed.directory)
    assert command.wait() == 0, command.output
    assert "Nothing was to be sent." in command.output
    changed = [r.operation or r.path for r in undisturbed.server.requests[before:] if is_change(r)]
    assert changed == []
    check_same_weights(undisturbed, undisturbed)


def is_change(request: Any) -> bool:
    return request.operation.startswith(("Create", "Upsert", "Commit", "Update", "Use")) or (
        "/file_stream" in request.path or request.method == "PUT"
    )


@pytest.mark.slow
def test_no_answer_at_the_start(bench: Bench, undisturbed: Bench) -> None:
    with bench.server.failing(status=HANG):
        output = bench.fit()
    assert output.count("W&B does not answer: the run goes on offline") == 1
    assert not bench.server.store.projects
    bench.sync()
    check_same(bench, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("how", [DROP, HANG])
def test_no_answer_from_the_first_checkpoint_on(how: int, bench: Bench, undisturbed: Bench) -> None:
    # Not from its figures on: those of a short run may come in one request with its end.
    with bench.server.failing(status=how, when=bench.has_checkpoint):
        output = bench.fit()
        refused = bench.start("wandb-sync", bench.directory)
        assert refused.wait() == 1
    assert "nothing was sent; run it again" in refused.output
    assert "Traceback" not in refused.output
    assert output.count("yolo-lightning wandb-sync") == 1
    assert output.count("W&B does not take") <= 1
    assert bench.run.state == "running"
    bench.sync_twice()
    check_same(bench, undisturbed)


@pytest.mark.slow
def test_a_server_that_comes_back(bench: Bench, undisturbed: Bench) -> None:
    """503s for a while, and a file that comes through at the third try: all is sent before the run ends."""
    with (
        bench.server.failing("storage/upload", status=503, times=2),
        bench.server.failing(status=503, when=bench.has_epochs(1), times=20),
    ):
        output = bench.fit(f"{LOGGER}finish_timeout=120", f"{LOGGER}upload_timeout=1000")
    assert "wandb-sync" not in output
    check_same(bench, undisturbed)
    assert "Nothing was to be sent." in bench.sync()


@pytest.mark.slow
def test_uploads_are_taken_and_never_answered(bench: Bench, undisturbed: Bench) -> None:
    """The client itself would wait for them for ever."""
    with bench.server.failing("storage/upload", status=HANG):
        output = bench.fit(f"{LOGGER}upload_timeout=20")
    assert output.count("yolo-lightning wandb-sync") == 1
    bench.sync_twice()
    check_same(bench, undisturbed)


@pytest.mark.slow
def test_artifacts_are_refused(bench: Bench, undisturbed: Bench) -> None:
    """As where a quota is used up or a right is missing: figures and pictures come all the same."""
    with bench.server.failing("CreateArtifact", status=403):
        output = bench.fit()
    assert output.count("W&B does not take") == 1
    assert bench.run.state == "finished"
    assert figures(bench.run) == figures(undisturbed.run)
    assert not bench.run.logged
    bench.sync()
    check_same(bench, undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["FullLedger", "NoStaging"])
def test_disk_is_full(trouble: str, bench: Bench, undisturbed: Bench, tmp_path: Path) -> None:
    """What is sent at once needs neither ledger nor copies; there is one warning."""
    callback = {"class_path": f"tests.weights_and_biases.outage_callbacks.{trouble}"}
    (tmp_path / "trouble.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks+": [callback]}}))
    output = bench.fit("--config", tmp_path / "trouble.yaml")
    warning = {"FullLedger": "cannot be written", "NoStaging": "W&B does not get the checkpoints"}[trouble]
    assert output.count(warning) == 1
    assert bench.run.state == "finished"
    assert figures(bench.run) == figures(undisturbed.run)
    assert media(bench.run) == media(undisturbed.run)
    if trouble == "FullLedger":
        assert artifacts(bench.run) == artifacts(undisturbed.run)
    check_same_weights(bench, undisturbed)


@pytest.mark.slow
def test_offline(bench: Bench, undisturbed: Bench) -> None:
    output = bench.fit(WANDB_MODE="offline")
    assert "does not answer" not in output
    assert not bench.server.requests
    bench.sync(WANDB_MODE="offline")
    check_same(bench, undisturbed)


@pytest.mark.slow
def test_killed(bench: Bench) -> None:
    """What was there is at W&B, and the run can go on; while it goes on it is not touched."""
    command = bench.start_fit("--trainer.max_epochs=100")
    bench.server.wait_until(bench.has_epochs(2), timeout=300)
    early = bench.start("wandb-sync", bench.directory)
    assert early.wait() == 1
    assert "this run goes on" in early.output
    assert command.status is None, command.output
    command.kill()
    kill_processes(bench.home)
    bench.sync()
    assert bench.run.state != "finished"
    here = [row["epoch"] for row in whole_rows(bench.directory)]
    there = [row["epoch"] for row in epochs(bench.run)]
    assert len(there) == len(set(there))
    assert set(here) <= set(there)
    assert artifacts(bench.run)
