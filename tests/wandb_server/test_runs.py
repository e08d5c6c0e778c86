import json

import pytest

pytestmark = pytest.mark.slow


def test_filters_and_order(machine):
    machine("a").python(
        """
        import wandb
        for i in range(3):
            run = wandb.init(project="p", id=f"r{i}", config={"lr": i}, group="g")
            run.log({"mAP": i % 2})
            run.finish()
        """
    )
    out = machine("b").python(
        """
        import json, wandb
        runs = wandb.Api().runs
        print(json.dumps([
            [r.id for r in runs("team/p", order="-created_at")],
            [r.id for r in runs("team/p", filters={"config.lr": {"$gte": 1}, "group": "g"})],
            [r.id for r in runs("team/p", order="-summary_metrics.mAP")][:1],
            [row["mAP"] for row in wandb.Api().run("team/p/r1").scan_history(keys=["mAP"])],
        ]))
        """
    )
    assert json.loads(out) == [["r2", "r1", "r0"], ["r1", "r2"], ["r1"], [1]]


def test_files_console_and_summary(wandb_server, machine):
    machine("a").python(
        """
        import wandb
        run = wandb.init(project="p", id="r", notes="n", tags=["t"])
        open("notes.txt", "w").write("text")
        run.save("notes.txt")
        print("printed")
        run.summary["best/map"] = 0.5
        run.finish()
        """
    )
    run = wandb_server.store.run_at("team/p/r")
    assert run.read_file("notes.txt") == b"text"
    assert "printed" in run.console
    assert run.summary["best/map"] == 0.5
    assert (run.notes, run.tags, run.state, run.exitcode) == ("n", ["t"], "finished", 0)


@pytest.mark.parametrize(
    ("end", "state", "exit_code"),
    [
        ("run.finish(exit_code=1)", "failed", 1),
        ("run.mark_preempting(); run.finish(exit_code=143)", "preempted", 143),
        ("run.mark_preempting(); run.finish()", "finished", 0),
    ],
)
def test_state_at_the_end(wandb_server, machine, end, state, exit_code):
    machine("a").python(f'import wandb\nrun = wandb.init(project="p", id="r")\nrun.log({{"a": 1}})\n{end}')
    run = wandb_server.store.run_at("team/p/r")
    assert (run.state, run.exitcode) == (state, exit_code)


def test_preempting_run_goes_on_being_so_and_can_be_resumed(wandb_server, machine):
    first = machine("a")
    first.start_python(
        """
        import time, wandb
        run = wandb.init(project="p", id="r", settings=wandb.Settings(x_file_stream_transmit_interval=1))
        run.mark_preempting()
        for i in range(1000):
            run.log({"epoch": i})
            time.sleep(0.2)
        """
    )
    run_at = wandb_server.store.run_at
    wandb_server.wait_until(lambda store: len(store.run_at("team/p/r").history_rows) > 3)
    first.power_off()
    assert run_at("team/p/r").state == "preempting"
    machine("b").python('import wandb\nwandb.init(project="p", id="r", resume="must").finish()')
    assert run_at("team/p/r").state == "finished"
