import pytest


@pytest.mark.slow
def test_grid(wandb_server, machine):
    machine("a").python(
        """
        import wandb
        def train():
            with wandb.init() as run:
                run.log({"mAP": run.config["lr"] * 10})
        sweep = wandb.sweep({"method": "grid", "parameters": {"lr": {"values": [1, 2]}}}, project="p")
        wandb.agent(sweep, train, project="p")
        """
    )
    (sweep,) = wandb_server.store.projects["team", "p"].sweeps_by_name.values()
    assert sweep.state == "FINISHED"
    assert {run.summary["mAP"] for run in sweep.sweep_runs} == {10, 20}
