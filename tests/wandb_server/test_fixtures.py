import sys
import time

import pytest

from tests.wandb_server.faults import HANG
from tests.wandb_server.processes import Machine, run_command

pytest_plugins = ["pytester"]

TEST = """
import urllib.error, urllib.request
import pytest
from tests.wandb_server.fixtures import wandb_server

@pytest.mark.parametrize("strict", [True, False])
def test(wandb_server, strict):
    wandb_server.strict = strict
    {action}
"""

ACTIONS = {
    "missing": 'wandb_server.missing.add(("Run", "colour"))',
    "errors": 'wandb_server.errors.append("a traceback")',
}


@pytest.mark.parametrize("kind", ACTIONS)
def test_what_the_server_lacks_fails_the_test(pytester, kind):
    pytester.makepyfile(TEST.format(action=ACTIONS[kind]))
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=2, errors=1)


def test_paths_and_faults_are_recorded(wandb_server):
    import urllib.error
    import urllib.request

    basic = {"Authorization": "Basic YXBpOmxvY2FsLTAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA="}
    for path, body in (("/nowhere", None), ("/files/team/p/r/file_stream", b"{}")):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(urllib.request.Request(wandb_server.url + path, body, basic))
    assert wandb_server.missing == {("GET", "/nowhere")}
    assert "KeyError" in wandb_server.errors[0]
    wandb_server.strict = False


def test_machines(wandb_server, machine, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    first, second = machine("a"), machine("b")
    assert machine("a") is first
    assert "WANDB_PROJECT" not in first.env
    differing = {name for name in first.env if first.env[name] != second.env[name]}
    assert {"HOME", "WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR"} <= differing
    assert first.env["WANDB_BASE_URL"] == second.env["WANDB_BASE_URL"] == wandb_server.url


def test_command(machine):
    command = run_command(
        [sys.executable, "-c", "print('out'); raise SystemExit(3)"], machine("a").env, machine("a").home
    )
    assert command.process.returncode == 3
    assert command.output == "out\n"
    with pytest.raises(AssertionError, match=r"(?s)exit status 1:.*ZeroDivisionError"):
        machine("a").python("1 / 0")


def test_power_off_ends_processes_of_other_sessions_of_this_machine_only(machine):
    code = """
    import subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    print(child.pid, flush=True)
    time.sleep(600)
    """
    first, second = machine("a"), machine("b")
    lost, kept = first.start_python(code), second.start_python(code)
    for command in (lost, kept):
        while not command.output.strip():
            time.sleep(0.02)
    first.power_off()
    assert lost.wait() == -9
    assert kept.process.poll() is None
    second.power_off()
    assert kept.wait() == -9


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_nothing_is_left_of_a_client_killed_while_the_server_hangs(wandb_server, machine):
    from tests.wandb_server.processes import _processes

    client: Machine = machine("a")
    with wandb_server.failing("file_stream", status=HANG) as fault:
        command = client.start_python(
            'import time, wandb\nrun = wandb.init(project="p", id="r")\nrun.log({"a": 1})\ntime.sleep(600)'
        )
        while not fault.hits:
            assert command.process.poll() is None, command.output
            time.sleep(0.05)
        command.kill()
        assert _processes(client.home), "wandb-core lives on"
        client.power_off()
        assert not _processes(client.home)
