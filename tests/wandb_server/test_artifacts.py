import json
import urllib.error
import urllib.request

import pytest

from tests.wandb_server.query_parser import GraphQLError

LOG = """
import wandb
run = wandb.init(project="p", id="r")
for text, aliases in {uploads}:
    open("f.txt", "w").write(text)
    artifact = wandb.Artifact("m", "model", metadata={{"text": text}})
    artifact.add_file("f.txt")
    run.log_artifact(artifact, aliases=aliases).wait()
run.finish()
"""


@pytest.mark.slow
def test_aliases_move_and_same_content_is_one_version(wandb_server, machine):
    machine("a").python(LOG.format(uploads=[(text, ["best", text]) for text in ("one", "two", "one")]))
    first, second = (wandb_server.store.artifact_at(f"team/p/m:v{i}") for i in range(2))
    assert set(first.alias_names) == {"latest", "best", "one"}
    assert second.alias_names == ["two"]
    assert first.read_file("f.txt") == b"one"
    with pytest.raises(KeyError):
        wandb_server.store.artifact_at("team/p/m:v2")


@pytest.mark.slow
def test_retention(wandb_server, machine):
    uploads = [(f"{i}", [f"epoch-{i}", *(["best"] if i == 1 else [])]) for i in range(4)]
    machine("a").python(LOG.format(uploads=uploads))
    out = machine("b").python(
        """
        import json, wandb
        api = wandb.Api()
        def listed():
            versions = api.artifacts("model", "team/p/m")
            return [[a.version, sorted(a.aliases), a.state, a.metadata["text"]] for a in versions]
        before = listed()
        for artifact in api.artifacts("model", "team/p/m"):
            if not {"best", "latest"} & set(artifact.aliases):
                artifact.delete(delete_aliases=True)
        best = api.artifact("team/p/m:best")
        best.aliases.append("keep")
        best.aliases.remove("epoch-1")
        best.save()
        refused = missing = None
        try:
            best.delete()
        except Exception as error:
            refused = type(error).__name__
        try:
            api.artifact("team/p/m:v0")
        except Exception as error:
            missing = type(error).__name__
        print(json.dumps([before, listed(), refused, missing, api.artifact_exists("team/p/m:epoch-2")]))
        """
    )
    before, after, refused, missing, exists = json.loads(out)
    assert before == [
        ["v3", ["epoch-3", "latest"], "COMMITTED", "3"],
        ["v2", ["epoch-2"], "COMMITTED", "2"],
        ["v1", ["best", "epoch-1"], "COMMITTED", "1"],
        ["v0", ["epoch-0"], "COMMITTED", "0"],
    ]
    assert after == [["v3", ["epoch-3", "latest"], "COMMITTED", "3"], ["v1", ["best", "keep"], "COMMITTED", "1"]]
    assert refused == "CommError"
    assert missing == "CommError"
    assert not exists
    # the number of a version that is gone is not given to another
    machine("c").python(LOG.format(uploads=[("new", [])]))
    assert wandb_server.store.artifact_at("team/p/m:latest").name == "m:v4"


@pytest.mark.slow
def test_survives_an_outage(wandb_server, machine):
    with wandb_server.failing("storage/upload", times=3) as fault:
        machine("a").python(LOG.format(uploads=[("x", [])]))
    assert fault.hits == 3
    assert wandb_server.store.artifact_at("team/p/m:latest").state == "COMMITTED"


def test_upload_must_match_its_digest(wandb_server):
    store = wandb_server.store
    spec = {"projectName": "p", "entityName": "team", "artifactTypeName": "t", "artifactCollectionName": "c"}
    artifact = store.createArtifact({**spec, "digest": "d"})["artifact"]
    file = {"artifactID": artifact.id, "name": "f", "md5": "AAAAAAAAAAAAAAAAAAAAAA=="}
    node = store.createArtifactFiles({"artifactFiles": [file]})["files"]["edges"][0]["node"]
    request = urllib.request.Request(node["uploadUrl"], data=b"other", method="PUT")
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)
    with pytest.raises(GraphQLError, match="not uploaded"):
        store.commitArtifact({"artifactID": artifact.id})
