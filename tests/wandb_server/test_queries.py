import pytest

from tests.wandb_server.query_execution import Execution
from tests.wandb_server.query_parser import Document, GraphQLError


class Thing:
    typename = "Thing"
    interfaces = ("Named",)
    name = "x"

    def twice(self, value):
        return [value, value]


def execute(text, variables=None):
    missing = []
    data = Execution(Document(text), variables, lambda *field: missing.append(field)).run({"thing": Thing()})
    return data, missing


def test_execution():
    data, missing = execute(
        """query Q($v: [Int!]! = [1], $no: Boolean!) {
            thing { ...F again: twice(value: {a: $v, b: "q\\"", c: E}) gone @skip(if: true) name @include(if: $no) }
        }
        fragment F on Named { __typename ... on Thing { name } ... on Other { lost } nope }""",
        {"no": False},
    )
    value = {"a": [1], "b": 'q"', "c": "E"}
    assert data == {"thing": {"__typename": "Thing", "name": "x", "nope": None, "again": [value, value]}}
    assert missing == [("Thing", "nope")]


@pytest.mark.parametrize("text", ["", "query {", "subscription { a }", "{ a(b: ~) }", "fragment F on A { b }"])
def test_syntax_errors(text):
    with pytest.raises(GraphQLError):
        Document(text)
