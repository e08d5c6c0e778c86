"""A GraphQL parser: as much of the language as the client sends."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Document", "GraphQLError", "Operation", "Selection", "Variable"]

_TOKEN = re.compile(
    r'[\s,\ufeff]+|\#[^\n]*|(?P<block>"""(?:.|\n)*?""")|(?P<string>"(?:[^"\\\n]|\\.)*")'
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<name>[_A-Za-z]\w*)"
    r"|(?P<punct>\.\.\.|[!$()\[\]{}:=@|&])"
)


class GraphQLError(Exception):
    """A request the server answers with a GraphQL error (HTTP 200) or with `status`."""

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Selection:
    """A field, or a fragment (inline or spread) when `name` is empty."""

    name: str = ""
    alias: str = ""
    args: dict[str, Any] = field(default_factory=dict)
    directives: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    children: list[Selection] | None = None
    spread: str = ""  # name of a fragment
    on: str = ""  # type condition of an inline fragment


@dataclass
class Operation:
    kind: str
    name: str
    defaults: dict[str, Any]
    selections: list[Selection]


class Variable(str):
    """A `$name` in an argument."""


class Document:
    """A parsed request: its operations, and its fragments by name."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        pos = 0
        while pos < len(text):
            match = _TOKEN.match(text, pos)
            if not match:
                raise GraphQLError(f"Syntax Error at {text[pos : pos + 20]!r}", status=400)
            if match.lastgroup:
                self._tokens.append((match.lastgroup, match.group()))
            pos = match.end()
        self._pos = 0
        self.operations: list[Operation] = []
        self.fragments: dict[str, tuple[str, list[Selection]]] = {}
        while self._pos < len(self._tokens):
            self._definition()
        if not self.operations:
            raise GraphQLError("Syntax Error: no operation", status=400)

    # -- tokens

    def _peek(self) -> str:
        return self._tokens[self._pos][1] if self._pos < len(self._tokens) else ""

    def _next(self) -> tuple[str, str]:
        if self._pos >= len(self._tokens):
            raise GraphQLError("Syntax Error: unexpected end", status=400)
        self._pos += 1
        return self._tokens[self._pos - 1]

    def _take(self, text: str) -> bool:
        if self._peek() != text:
            return False
        self._pos += 1
        return True

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise GraphQLError(f"Syntax Error: expected {text!r}, got {self._peek()!r}", status=400)

    # -- grammar

    def _definition(self) -> None:
        if self._peek() == "{":
            self.operations.append(Operation("query", "", {}, self._selections()))
            return
        kind = self._next()[1]
        if kind == "fragment":
            name = self._next()[1]
            self._expect("on")
            on = self._next()[1]
            self.fragments[name] = (on, self._selections())
            return
        if kind not in ("query", "mutation"):
            raise GraphQLError(f"Syntax Error: unexpected {kind!r}", status=400)
        name = "" if self._peek() in ("(", "{") else self._next()[1]
        defaults: dict[str, Any] = {}
        if self._take("("):
            while not self._take(")"):
                self._expect("$")
                variable = self._next()[1]
                self._expect(":")
                while self._peek() in ("[", "]", "!") or self._tokens[self._pos][0] == "name":
                    self._pos += 1  # the type
                if self._take("="):
                    defaults[variable] = self._value()
        self.operations.append(Operation(kind, name, defaults, self._selections()))

    def _selections(self) -> list[Selection]:
        self._expect("{")
        out = []
        while not self._take("}"):
            if self._take("..."):
                if self._peek() == "on":
                    self._pos += 1
                    sel = Selection(on=self._next()[1])
                elif self._peek() in ("{", "@"):
                    sel = Selection()
                else:
                    sel = Selection(spread=self._next()[1])
                sel.directives = self._directives()
                if not sel.spread:
                    sel.children = self._selections()
            else:
                name = alias = self._next()[1]
                if self._take(":"):
                    name = self._next()[1]
                sel = Selection(name, alias, self._arguments(), self._directives())
                if self._peek() == "{":
                    sel.children = self._selections()
            out.append(sel)
        return out

    def _arguments(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if self._take("("):
            while not self._take(")"):
                name = self._next()[1]
                self._expect(":")
                out[name] = self._value()
        return out

    def _directives(self) -> list[tuple[str, dict[str, Any]]]:
        out = []
        while self._take("@"):
            out.append((self._next()[1], self._arguments()))
        return out

    def _value(self) -> Any:
        kind, text = self._next()
        if text == "$":
            return Variable(self._next()[1])
        if text == "[":
            items = []
            while not self._take("]"):
                items.append(self._value())
            return items
        if text == "{":
            obj = {}
            while not self._take("}"):
                name = self._next()[1]
                self._expect(":")
                obj[name] = self._value()
            return obj
        if kind == "number":
            return float(text) if re.search(r"[.eE]", text) else int(text)
        if kind == "block":
            return text[3:-3]
        if kind == "string":
            return text[1:-1].encode().decode("unicode_escape")
        return {"true": True, "false": False, "null": None}.get(text, text)
