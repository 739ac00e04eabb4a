"""The text of a definition as data, with the line that each value stands on.

Owns YAML: the 1.2 core schema (YAML 1.2.2, section 10.3), of which JSON is a part. Built on
the parser's events, so that every bound holds before anything is built: a text cannot make
aliases multiply, nest without end or construct an object. What the data means is not its
business.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError

from omium.definitions.plain import MAX_DEPTH, MAX_NODES, plain
from omium.definitions.problems import Path, Problem, described, lines
from omium.errors import DefinitionError
from omium.types import Json

MAX_TEXT_BYTES = 1024 * 1024
MAX_ALIASES = 64
MAX_NUMBER_CHARS = 320

_NULL = frozenset(["", "~", "null", "Null", "NULL"])
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, kw_only=True)
class Document:
    """``value`` is plain JSON data; ``lines`` has the line (from 1) of each place in it.

    ``problems`` are mistakes of form after which the rest could still be read.
    """

    value: dict[str, Json]
    lines: Mapping[Path, int]
    problems: tuple[Problem, ...]


def read_document(text: str, source: str) -> Document:
    """The one mapping in the YAML (or JSON) ``text``, which ``source`` names in errors.

    Raises :class:`DefinitionError` where the text cannot be read at all: a syntax error, a
    bound, a second document, a top level that is no mapping.
    """
    if (size := len(text.encode("utf-8", "surrogatepass"))) > MAX_TEXT_BYTES:
        raise DefinitionError(source, [too_large(f"{size} bytes")])
    builder = _Builder()
    try:
        for event in _events(text):
            builder.take(event)
        root = builder.root
        if root is None or root.kind != "mapping":
            expected = "a mapping with name, version and agents"
            raise _Fatal(root.line if root else 1, f"found {_top(root)}, expected {expected}")
    except _Fatal as error:
        problem = Problem(path=(), text=error.text, line=error.line)
        raise DefinitionError(source, lines([problem])) from None
    where: dict[Path, int] = {}
    value, unfit = plain(_value(root, (), where))
    return Document(
        value=value if isinstance(value, dict) else {},
        lines=where,
        problems=(*builder.problems, *unfit),
    )


def too_large(size: str) -> str:
    """The problem line for a definition of ``size`` (with its unit)."""
    return f"found {size}, expected at most {MAX_TEXT_BYTES} bytes"


class _Fatal(Exception):
    """The text cannot be read past ``line``."""

    def __init__(self, line: int, text: str) -> None:
        super().__init__(line, text)
        self.line, self.text = line, text


@dataclass(kw_only=True, eq=False)
class _Node:
    kind: Literal["scalar", "list", "mapping"]
    line: int
    scalar: bool | int | float | str | None = None
    items: list[_Node] = field(default_factory=list["_Node"])
    entries: dict[str, tuple[int, _Node]] = field(default_factory=dict[str, tuple[int, "_Node"]])
    # Counted with aliases followed: what the data would take if they were written out.
    size: int = 1
    height: int = 0


@dataclass(kw_only=True, eq=False)
class _Frame:
    """A collection that is still being read; ``key`` is the one that waits for its value."""

    node: _Node
    anchor: str | None
    key: tuple[str, int] | None = None
    # The value of a key that was refused is read and dropped.
    dropping: bool = False


class _Builder:
    def __init__(self) -> None:
        self.root: _Node | None = None
        self.problems: list[Problem] = []
        self._frames: list[_Frame] = []
        self._anchors: dict[str, _Node | None] = {}
        self._documents = 0
        self._aliases = 0
        self._nodes = 0

    def take(self, event: Any) -> None:
        kind = type(event).__name__
        line = int(event.start_mark.line) + 1
        match kind:
            case "DocumentStartEvent":
                self._documents += 1
                if self._documents > 1:
                    raise _Fatal(line, "found a second document, expected one")
            case "ScalarEvent":
                node = _Node(kind="scalar", line=line, scalar=self._scalar(event, line))
                self._anchor(event.anchor, node)
                self._add(node, line, is_merge=event.value == "<<" and event.style is None)
            case "MappingStartEvent" | "SequenceStartEvent":
                self._open(event, "mapping" if kind == "MappingStartEvent" else "list", line)
            case "MappingEndEvent" | "SequenceEndEvent":
                frame = self._frames.pop()
                self._anchor(frame.anchor, frame.node)
                self._add(frame.node, frame.node.line)
            case "AliasEvent":
                self._add(self._aliased(str(event.anchor), line), line)
            case _:
                pass

    def _open(self, event: Any, kind: Literal["list", "mapping"], line: int) -> None:
        self._tag(event, ("map" if kind == "mapping" else "seq",), line)
        if len(self._frames) >= MAX_DEPTH:
            raise _Fatal(line, _too_deep())
        self._frames.append(_Frame(node=_Node(kind=kind, line=line), anchor=event.anchor))
        if event.anchor is not None:
            self._anchors[str(event.anchor)] = None

    def _anchor(self, anchor: object, node: _Node) -> None:
        if anchor is not None:
            self._anchors[str(anchor)] = node

    def _aliased(self, name: str, line: int) -> _Node:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            raise _Fatal(line, f"found more than {MAX_ALIASES} aliases, expected fewer")
        if name not in self._anchors:
            raise _Fatal(line, f"found the alias *{name}, expected an anchor &{name} before it")
        node = self._anchors[name]
        if node is None:
            raise _Fatal(line, f"found the alias *{name} inside &{name}, expected it outside")
        if len(self._frames) + node.height > MAX_DEPTH:
            raise _Fatal(line, _too_deep())
        return node

    def _add(self, node: _Node, line: int, *, is_merge: bool = False) -> None:
        self._nodes += node.size if node.kind == "scalar" else 1
        if not self._frames:
            self.root = node
            return
        frame = self._frames[-1]
        if frame.node.kind == "list":
            frame.node.items.append(node)
        elif frame.key is None and not frame.dropping:
            self._take_key(frame, node, line, is_merge)
            return
        else:
            if frame.key is not None:
                name, key_line = frame.key
                frame.node.entries[name] = (key_line, node)
            frame.key, frame.dropping = None, False
        self._grow(frame.node, node, line)

    def _grow(self, parent: _Node, child: _Node, line: int) -> None:
        parent.size += child.size
        parent.height = max(parent.height, child.height + 1)
        if max(parent.size, self._nodes) > MAX_NODES:
            found = f"found more than {MAX_NODES} values (aliases followed), expected fewer"
            raise _Fatal(line, found)

    def _take_key(self, frame: _Frame, node: _Node, line: int, is_merge: bool) -> None:
        path, key = self._path(), node.scalar
        frame.dropping = True
        if is_merge:
            found = "the merge key '<<', expected the keys written out"
        elif node.kind != "scalar":
            found = f"a {node.kind} as a key, expected a string"
        elif not isinstance(key, str):
            found = f"the key {described(key)}, expected a string (in quotes)"
        elif key in frame.node.entries:
            path, first = (*path, key), frame.node.entries[key][0]
            found = f"the key a second time, expected it once (the first is on line {first})"
        else:
            frame.dropping, frame.key = False, (key, line)
            return
        self.problems.append(Problem(path=path, text=f"found {found}", line=line))

    def _path(self) -> Path:
        path: list[str | int] = []
        for frame in self._frames[:-1]:
            if frame.node.kind == "list":
                path.append(len(frame.node.items))
            elif frame.key is not None:
                path.append(frame.key[0])
        return tuple(path)

    def _tag(self, event: Any, allowed: tuple[str, ...], line: int) -> str | None:
        if event.tag is None:
            return None
        tag = str(event.tag).removeprefix(_TAG)
        if tag not in allowed:
            shown = "!!" + tag if str(event.tag).startswith(_TAG) else tag
            raise _Fatal(line, f"found the tag {shown!r}, expected a plain value without a tag")
        return tag

    def _scalar(self, event: Any, line: int) -> bool | int | float | str | None:
        text = str(event.value)
        tag = self._tag(event, ("str", "int", "float", "bool", "null"), line)
        if tag == "str" or (tag is None and not event.implicit[0]):
            return _joined(text)
        value = _resolved(text, line)
        kinds = {"int": int, "float": float | int, "bool": bool, "null": type(None)}
        if tag is not None and not isinstance(value, kinds[tag]):
            raise _Fatal(line, f"found {described(text)} tagged !!{tag}, expected a {tag}")
        return value


def _top(root: _Node | None) -> str:
    if root is None:
        return "nothing"
    return "a list" if root.kind == "list" else described(root.scalar)


def _too_deep() -> str:
    return f"found values nested more than {MAX_DEPTH} deep, expected fewer levels"


def _resolved(text: str, line: int) -> bool | int | float | str | None:
    """A plain scalar by the core schema: what looks like no number, truth or null is text."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if not (text[0] in "+-." or text[0].isdigit()):
        return text
    number = bool(_INT.fullmatch(text) or _OCTAL.fullmatch(text) or _HEX.fullmatch(text))
    if not number and not _FLOAT.fullmatch(text):
        if _NOT_FINITE.fullmatch(text):
            # What is not finite is told by plain(), with its place.
            return float(text.replace(".", ""))
        return text
    if len(text) > MAX_NUMBER_CHARS:
        raise _Fatal(line, f"found a number of {len(text)} characters, expected a smaller one")
    if _INT.fullmatch(text):
        return int(text)
    return int(text, 0) if number else float(text)


def _joined(text: str) -> str:
    """JSON writes a character beyond the first plane as two escapes; make it one again."""
    if not any("\ud800" <= char <= "\udfff" for char in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _value(node: _Node, path: Path, where: dict[Path, int]) -> object:
    where.setdefault(path, node.line)
    if node.kind == "list":
        return [_value(item, (*path, i), where) for i, item in enumerate(node.items)]
    if node.kind == "scalar":
        return node.scalar
    value: dict[str, object] = {}
    for key, (line, child) in node.entries.items():
        where[(*path, key)] = line
        value[key] = _value(child, (*path, key), where)
    return value


def _events(text: str) -> Iterator[Any]:
    parser: Any = YAML(typ="safe", pure=True)
    line = 1
    try:
        for event in cast("Iterator[Any]", parser.parse(text)):
            line = int(event.end_mark.line) + 1
            yield event
    except MarkedYAMLError as error:
        detail: Any = error
        mark = detail.problem_mark or detail.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        because = f" ({detail.context})" if detail.context else ""
        # The parser marks the end of the text with a NUL of its own.
        problem = str(detail.problem).replace(repr("\0"), "the end of the text")
        raise _Fatal(line, f"column {column}: YAML: {problem}{because}") from None
    except ReaderError as error:
        before = text[: int(cast("Any", error).position)]
        found = f"found the character U+{ord(text[len(before)]):04X}, expected printable text"
        raise _Fatal(before.count("\n") + 1, found) from None
    except YAMLError as error:
        raise _Fatal(line, f"YAML: {error}") from None
    except (ValueError, OverflowError) as error:
        # The parser converts escapes and its version number without a look.
        raise _Fatal(line, f"YAML: found an escape out of range ({error})") from None
