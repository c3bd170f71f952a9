"""
YAML with positions: plain values for the models, line and column for the messages.

The only importer of ruamel. Files come from pull requests, so the reader is narrow on purpose:
no anchors and aliases (a few lines of them can expand to gigabytes), no tags, no duplicate keys,
bounded size and depth.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from rpac_ci.canonical import Json
from rpac_ci.errors import ExperimentError, Problem

MAX_BYTES = 256 * 1024
MAX_DEPTH = 24

KeyPath = tuple[str | int, ...]
_SCALARS = {"null", "bool", "int", "float", "str"}
_PREFIX = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file as plain values, with the position of every key and item."""

    file: str
    value: Json
    positions: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)

    def problem(self, path: KeyPath, what: str, right: str = "") -> Problem:
        """A `Problem` at the nearest place that is in the file: a missing key's parent, say."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.positions:
                line, column = self.positions[path[:end]]
                return Problem(file=self.file, line=line, column=column, what=what, right=right)
        return Problem(file=self.file, line=1, column=1, what=what, right=right)


def load(path: Path, *, shown_as: str = "") -> Document:
    """
    Read one YAML file.

    Raises:
        ExperimentError: unreadable, not UTF-8, not YAML, or more than the reader accepts.
    """
    name = shown_as or str(path)
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise _error(name, f"cannot be read: {exc.strerror or exc}") from exc
    return loads(data, file=name)


def loads(data: bytes, *, file: str) -> Document:
    """Read YAML from bytes; see `load`."""
    if len(data) > MAX_BYTES:
        raise _error(file, f"{len(data)} bytes", f"at most {MAX_BYTES} bytes of YAML")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = data[: exc.start].count(b"\n") + 1
        raise _error(file, "not UTF-8 text", "save the file as UTF-8", line=line) from exc
    reader = YAML(typ="safe", pure=True)
    try:
        root = reader.compose(text)
    except MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        what = str(exc.problem or exc.context or "not YAML").strip()
        right = "indent with spaces" if "'\\t'" in what else ""
        raise _error(file, f"not YAML: {what}", right, line=line, column=column) from exc
    except YAMLError as exc:
        raise _error(file, f"not YAML: {str(exc).splitlines()[0]}") from exc
    except RecursionError as exc:
        raise _error(file, "nested too deeply", f"at most {MAX_DEPTH} levels") from exc
    builder = _Builder(file, reader)
    value = builder.build(root, (), 0) if root is not None else None
    if builder.problems:
        raise ExperimentError(builder.problems)
    return Document(file, value, builder.positions)


def _error(
    file: str, what: str, right: str = "", line: int = 1, column: int = 1
) -> ExperimentError:
    return ExperimentError([Problem(file=file, line=line, column=column, what=what, right=right)])


class _Builder:
    """Turns composed nodes into plain values, noting positions and problems on the way."""

    def __init__(self, file: str, reader: YAML) -> None:
        self.file = file
        self.positions: dict[KeyPath, tuple[int, int]] = {}
        self.problems: list[Problem] = []
        self._constructor: Any = reader.constructor
        self._seen: set[int] = set()

    def build(self, node: Node, path: KeyPath, depth: int) -> Json:
        self.positions.setdefault(path, _position(node))
        if id(node) in self._seen:
            self._refuse(node, "an alias", "write the value out")
            return None
        self._seen.add(id(node))
        if depth > MAX_DEPTH:
            self._refuse(node, "nested too deeply", f"at most {MAX_DEPTH} levels")
            return None
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if isinstance(node, SequenceNode):
            self._standard_tag(node, "seq")
            return [self.build(item, (*path, n), depth + 1) for n, item in enumerate(node.value)]
        if isinstance(node, MappingNode):
            self._standard_tag(node, "map")
            return self._mapping(node, path, depth)
        self._refuse(node, "not a value", "a scalar, list or mapping")
        return None

    def _mapping(self, node: MappingNode, path: KeyPath, depth: int) -> Json:
        result: dict[str, Json] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._refuse(key_node, "a key that is not a word", "a word")
                continue
            key = str(key_node.value)
            if key in result:
                self._refuse(key_node, f"duplicate key {key!r}", "each key once")
                continue
            self.positions[(*path, key)] = _position(key_node)
            result[key] = self.build(value_node, (*path, key), depth + 1)
        return result

    def _scalar(self, node: ScalarNode) -> Json:
        kind = str(node.tag).removeprefix(_PREFIX)
        if kind == "timestamp":  # a date is a word to us
            return str(node.value)
        if kind not in _SCALARS:
            self._refuse(node, f"the tag {node.tag}", "a plain value without tags")
            return None
        if kind == "str":
            return str(node.value)
        try:
            value: Json = self._constructor.construct_object(node)
        except (ValueError, YAMLError):
            self._refuse(node, f"{node.value!r} is not a valid {kind}", "a plain value")
            return None
        return value

    def _standard_tag(self, node: Node, kind: str) -> None:
        if str(node.tag) != _PREFIX + kind:
            self._refuse(node, f"the tag {node.tag}", "a plain value without tags")

    def _refuse(self, node: Node, what: str, right: str) -> None:
        line, column = _position(node)
        self.problems.append(
            Problem(file=self.file, line=line, column=column, what=what, right=right)
        )


def _position(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
