import json

import pytest

ATTEMPT = """
import json, wandb
caught = None
try:
    {call}
except Exception as error:
    caught = [type(error).__name__, str(error)]
print("RESULT" + json.dumps(caught))
"""


def attempt(machine, call, **env):
    out = machine("a").python(ATTEMPT.format(call=call), **env)
    return json.loads(out.partition("RESULT")[2].splitlines()[0])


CALLS = [
    "wandb.login(verify=True)",
    'wandb.init(project="p", settings=wandb.Settings(init_timeout=60))',
    'wandb.Api().run("team/p/r")',
]


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
def test_wrong_key(wandb_server, machine, call):
    name, message = attempt(machine, call, WANDB_API_KEY="f" * 40)
    assert name in {"AuthenticationError", "CommError"}
    assert "user is not logged in" in message
    assert not wandb_server.store.projects
    assert {request.status for request in wandb_server.requests} == {401}


def test_right_key(wandb_server, machine):
    assert attempt(machine, CALLS[0]) is None
    assert {request.status for request in wandb_server.requests} == {200}
