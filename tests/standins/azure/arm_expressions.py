"""
The language of ARM templates, as far as `rpac setup azure` uses it: functions, parameters,
variables, and properties of what they give.

Azure's own engine cannot be had. This one follows its reference and knows nothing that the template
does not use: an expression that it cannot work out is a mistake of the template, or of this file.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

_TOKEN = re.compile(r"\s*(?:('(?:[^']|'')*')|(-?\d+)|([A-Za-z_]\w*)|(.))")
_NAMESPACE = uuid.UUID("11fb06fb-712d-4ddd-98c7-e71bbd588830")  # of ARM's guid()


class ExpressionError(Exception):
    """An expression that means nothing here."""


class Evaluator:
    """Works out the expressions of one template for certain values."""

    def __init__(
        self, template: Mapping[str, Any], values: Mapping[str, Any], *,
        subscription: Mapping[str, Any], group: Mapping[str, Any],
        reference: Callable[[str, bool], Any],
    ) -> None:  # fmt: skip
        """
        Args:
            template: as parsed JSON.
            values: of its parameters.
            subscription: what `subscription()` is.
            group: what `resourceGroup()` is.
            reference: properties of a resource by its symbolic name, or all of it.
        """
        self._template, self._reference = template, reference
        self._subscription, self._group = subscription, group
        self.values: dict[str, Any] = dict(values)
        for name, one in template["parameters"].items():
            if name not in self.values:
                if "defaultValue" not in one:
                    raise ExpressionError(f"the parameter {name} has no value")
                self.values[name] = self.value(one["defaultValue"])
        self._variables: dict[str, Any] = {}

    def value(self, given: Any) -> Any:
        """A value of the template with everything in it worked out."""
        if isinstance(given, Mapping):
            return {self.value(key): self.value(one) for key, one in given.items()}
        if isinstance(given, list):
            return [self.value(one) for one in given]
        if isinstance(given, str) and given.startswith("[") and given.endswith("]"):
            if given.startswith("[["):
                return given[1:]
            return self._parse(given[1:-1])
        return given

    # --- reading --------------------------------------------------------------------------------

    def _parse(self, text: str) -> Any:
        tokens = [found.groups() for found in _TOKEN.finditer(text) if found.group().strip()]
        position = [0]
        tree = self._read(tokens, position)
        if position[0] != len(tokens):
            raise ExpressionError(f"something is left over in {text!r}")
        return self._work_out(tree)

    def _read(self, tokens: list[tuple[Any, ...]], at: list[int]) -> Any:
        text, number, name, sign = tokens[at[0]]
        at[0] += 1
        if text is not None:
            return ("value", text[1:-1].replace("''", "'"))
        if number is not None:
            return ("value", int(number))
        if name is None or at[0] >= len(tokens) or tokens[at[0]][3] != "(":
            raise ExpressionError(f"{name or sign!r} is not expected")
        at[0] += 1
        arguments = []
        while tokens[at[0]][3] != ")":
            arguments.append(self._read(tokens, at))
            if tokens[at[0]][3] == ",":
                at[0] += 1
        at[0] += 1
        tree: Any = ("call", name, arguments)
        while at[0] < len(tokens) and tokens[at[0]][3] == ".":
            tree = ("property", tree, tokens[at[0] + 1][2])
            at[0] += 2
        return tree

    def _work_out(self, tree: Any) -> Any:
        match tree:
            case ("value", value):
                return value
            case ("property", inner, name):
                whole = self._work_out(inner)
                if name not in whole:
                    raise ExpressionError(f"{name} is not in {sorted(whole)}")
                return whole[name]
            case ("call", "if", [condition, yes, no]):  # the other branch is not worked out
                return self._work_out(yes if self._work_out(condition) else no)
            case ("call", name, arguments):
                function = getattr(self, f"_{_snake(name)}", None)
                if function is None:
                    raise ExpressionError(f"{name}() is not known")
                return function(*map(self._work_out, arguments))
            case _:
                raise ExpressionError(str(tree))

    # --- functions ------------------------------------------------------------------------------

    def _parameters(self, name: str) -> Any:
        if name not in self.values:
            raise ExpressionError(f"there is no parameter {name}")
        return self.values[name]

    def _variables_(self, name: str) -> Any:
        if name not in self._template["variables"]:
            raise ExpressionError(f"there is no variable {name}")
        if name not in self._variables:
            self._variables[name] = self.value(self._template["variables"][name])
        return self._variables[name]

    def _reference_(self, name: str, version: str = "", full: str = "") -> Any:
        if name not in self._template["resources"]:
            raise ExpressionError(f"there is no resource {name}")
        return self._reference(name, full == "full")

    def _resource_group(self) -> Any:
        return self._group

    def _subscription_(self) -> Any:
        return self._subscription

    def _environment(self) -> Any:
        return {"suffixes": {"keyvaultDns": ".vault.azure.net"}}

    def _resource_id(self, kind: str, *names: str) -> str:
        return f"{self._group['id']}/providers/{_path(kind, names)}"

    def _subscription_resource_id(self, kind: str, *names: str) -> str:
        return f"{self._subscription['id']}/providers/{_path(kind, names)}"

    def _unique_string(self, *parts: str) -> str:
        digest = hashlib.sha256("-".join(parts).encode()).digest()
        letters = "abcdefghijklmnopqrstuvwxyz234567"
        return "".join(letters[byte % 32] for byte in digest[:13])

    def _guid(self, *parts: str) -> str:
        return str(uuid.uuid5(_NAMESPACE, "-".join(parts)))

    def _format(self, form: str, *values: Any) -> str:
        return re.sub(r"\{(\d+)\}", lambda found: str(values[int(found[1])]), form)

    def _concat(self, *values: Any) -> Any:
        if isinstance(values[0], list):
            return [one for value in values for one in value]
        return "".join(map(str, values))

    def _take(self, value: str, count: int) -> str:
        return value[:count]

    def _split(self, value: str, by: str) -> list[str]:
        return value.split(by)

    def _first(self, value: Any) -> Any:
        return value[0]

    def _last(self, value: Any) -> Any:
        return value[-1]

    def _empty(self, value: Any) -> bool:
        return not value

    def _not(self, value: bool) -> bool:
        return not value

    def _and(self, *values: bool) -> bool:
        return all(values)

    def _equals(self, one: Any, other: Any) -> bool:
        return bool(one == other)

    def _null(self) -> None:
        return None

    def _json(self, text: str) -> Any:
        return json.loads(text)

    def _string(self, value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))

    def _create_object(self, *pairs: Any) -> dict[str, Any]:
        return dict(zip(pairs[::2], pairs[1::2], strict=True))

    def _create_array(self, *values: Any) -> list[Any]:
        return list(values)

    def _union(self, *values: dict[str, Any]) -> dict[str, Any]:
        return {key: one for value in values for key, one in value.items()}


def _path(kind: str, names: tuple[str, ...]) -> str:
    provider, *types = kind.split("/")
    if len(types) != len(names):
        raise ExpressionError(f"{kind} has other names than {names}")
    return "/".join([provider, *(part for pair in zip(types, names, strict=True) for part in pair)])


def _snake(name: str) -> str:
    snake = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    return f"{snake}_" if snake in {"variables", "reference", "subscription"} else snake
