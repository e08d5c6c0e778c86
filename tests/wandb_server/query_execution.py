"""A GraphQL executor without a schema.

Selections are walked over plain Python objects: `project { run(name: $r) { id } }` reads `root.project`, calls it with
the arguments, and so on. A field that an object lacks becomes null and is reported to `on_missing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tests.wandb_server.query_parser import Document, Selection, Variable

__all__ = ["Execution"]


def _fill(value: Any, variables: Mapping[str, Any]) -> Any:
    """Put the variables into an argument; those not given are left out of objects."""
    if isinstance(value, Variable):
        return variables.get(value)
    if isinstance(value, list):
        return [_fill(v, variables) for v in value]
    if isinstance(value, dict):
        return {
            k: _fill(v, variables) for k, v in value.items() if not (isinstance(v, Variable) and v not in variables)
        }
    return value


def type_name(obj: Any) -> str:
    if isinstance(obj, Mapping):
        return obj.get("__typename", "Object")
    return getattr(obj, "typename", type(obj).__name__)


class Execution:
    """One run of a document over `root`."""

    def __init__(
        self,
        document: Document,
        variables: Mapping[str, Any] | None,
        on_missing: Callable[[str, str], None] = lambda type_, field_: None,
    ) -> None:
        self.document = document
        self.operation = document.operations[0]
        self.variables = {**self.operation.defaults, **(variables or {})}
        self.on_missing = on_missing

    def run(self, root: Any) -> dict[str, Any]:
        return self._object(root, self.operation.selections)

    def _included(self, sel: Selection) -> bool:
        for name, args in sel.directives:
            condition = bool(_fill(args.get("if"), self.variables))
            if (name == "include" and not condition) or (name == "skip" and condition):
                return False
        return True

    def _object(self, obj: Any, selections: list[Selection]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        self._collect(obj, selections, out)
        return out

    def _collect(self, obj: Any, selections: list[Selection], out: dict[str, Any]) -> None:
        for sel in selections:
            if not self._included(sel):
                continue
            if sel.name:
                value = self._value(obj, sel)
                old = out.get(sel.alias)
                if isinstance(old, dict) and isinstance(value, dict):
                    old.update(value)  # the same field selected twice
                else:
                    out[sel.alias] = value
                continue
            on, children = sel.on, sel.children
            if sel.spread:
                on, children = self.document.fragments[sel.spread]
            names = {type_name(obj), *getattr(obj, "interfaces", ())}
            if not on or on in names or type_name(obj) == "Object":
                self._collect(obj, children or [], out)

    def _value(self, obj: Any, sel: Selection) -> Any:
        if sel.name == "__typename":
            return type_name(obj)
        if isinstance(obj, Mapping):
            if sel.name not in obj:
                self.on_missing(type_name(obj), sel.name)
            value = obj.get(sel.name)
        elif sel.name.startswith("_") or not hasattr(obj, sel.name):
            self.on_missing(type_name(obj), sel.name)
            value = None
        else:
            value = getattr(obj, sel.name)
        if callable(value):
            value = value(**_fill(sel.args, self.variables))
        return self._complete(value, sel)

    def _complete(self, value: Any, sel: Selection) -> Any:
        if value is None or sel.children is None:
            return value
        if isinstance(value, (list, tuple)):
            return [self._complete(v, sel) for v in value]
        return self._object(value, sel.children)
