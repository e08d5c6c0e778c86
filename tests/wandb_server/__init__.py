"""A loopback stand-in for the Weights & Biases server, for tests of code that uses the real ``wandb`` client.

Nothing of the client is patched: it, with its ``wandb-core``, talks to this over HTTP on 127.0.0.1. It logs runs,
uploads and downloads artifacts, resumes and syncs runs, and works through grid or random sweeps. In a test, with the
fixtures of ``tests.wandb_server.fixtures``::

    def test_training(wandb_server, machine):
        machine("a").python("train.py")
        run = wandb_server.store.run_at("team/project/run1")
        assert run.state == "finished" and run.config_values["lr"] == 0.01
        assert [row["epoch"] for row in run.history_rows] == [0, 1, 2]
        best = wandb_server.store.artifact_at("team/project/run_run1_model:best")
        assert best.read_file("last.ckpt") and "epoch-2" in best.alias_names

- Machines have each a home, cache, data and artifact directory of their own; two share nothing but the server.
- ``store.uploaded`` lists the names whose bytes came in: it shows that images were not sent twice. ``requests``,
  ``count("UpsertBucket")`` and ``operations()`` say what was called.
- ``with server.failing("storage/upload", status=503, times=3):`` fails requests; see :meth:`WandbServer.failing`.
  ``server.wait_until(...)`` says when.
- ``missing`` holds GraphQL fields and paths that the client asked for and the server lacks (they were answered null or
  404): look there first when a new version of wandb fails.
- A wrong API key is answered as by the real server.

What the real server does and this does not: permissions, rate limits and quotas; runs without a heartbeat never become
crashed; bytes of one MD5 are asked for once over the whole server; no incremental artifacts, multi-part uploads (a file
comes as one PUT, held in memory), links, registries or reports; sweeps are not Bayesian; the state is in memory; no web
pages. ``python -m tests.wandb_server`` runs it on its own.
"""
