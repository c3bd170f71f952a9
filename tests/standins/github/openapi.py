"""
GitHub's own description of its API, as the judge of what is asked and of what is answered.

It is the file `api.github.com.json` of the npm package `@octokit/openapi`: named by RPAC_OPENAPI,
or taken once from npm into the cache. Where neither works the stand-in answers all the same, and
`load()` says why nothing is judged.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import jsonschema

VERSION = "23.0.2"
_MEMBER = "package/generated/api.github.com.json"
_PATIENCE_S = 120
_AGAIN_S = 900  # after npm failed it is not asked again for so long

Schema: TypeAlias = dict[str, Any]

# limits that GitHub itself answers with 422, which the stand-in's handlers do
_LIMITS = {"maxLength", "minLength", "maxItems", "minItems", "maxProperties"}
_KEPT = {
    "type", "properties", "required", "items", "enum", "oneOf", "anyOf", "allOf", "not",
    "additionalProperties", "minimum", "maximum", "pattern", "format",
} | _LIMITS  # fmt: skip
# where GitHub answers otherwise than described: the repository of a deleted fork is null
_NULL_IN_FACT = {("head", "repo"), ("head", "user")}


class Description:
    """The description, read one operation at a time."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._validators: dict[tuple[str, str, str], Any] = {}
        self._formats = jsonschema.FormatChecker(formats=())
        self._formats.checks("date-time")(_is_time)
        self._formats.checks("uri")(_is_uri)

    def has(self, method: str, template: str) -> bool:
        """Whether there is such an operation."""
        return method.lower() in self._document["paths"].get(template, {})

    def knows(self, method: str, path: str) -> bool:
        """Whether any operation has a path like this one."""
        return any(
            method.lower() in operations
            and re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
            for template, operations in self._document["paths"].items()
        )

    def request_problems(
        self, method: str, template: str, words: Mapping[str, str], query: Mapping[str, str],
        body: Any,
    ) -> list[str]:  # fmt: skip
        """What is wrong with a request; `body` is None where none was sent."""
        operation = self._operation(method, template)
        parameters = [self._resolved(one) for one in operation.get("parameters", ())]
        problems = []
        for place, given in (("path", words), ("query", query)):
            known = {one["name"]: one for one in parameters if one["in"] == place}
            problems += [f"{place}: {name}: not known" for name in given if name not in known]
            for name, one in known.items():
                if name in given:
                    checked = self._validator((method, template, f"{place} {name}"), one["schema"])
                    problems += _errors(checked, _value(given[name]), f"{place}: {name}")
                elif one.get("required"):
                    problems.append(f"{place}: {name}: missing")
        return problems + self._body_problems(method, template, operation, body)

    def answer_problems(self, method: str, template: str, status: int, body: Any) -> list[str]:
        """What is wrong with an answer; errors that are not described may have any shape."""
        responses = self._operation(method, template)["responses"]
        described = responses.get(str(status))
        if described is None:
            return [] if status >= 300 else [f"status {status}: not known"]
        content = self._resolved(described).get("content", {}).get("application/json")
        if content is None:
            return [] if body is None or status >= 300 else [f"status {status}: has no body"]
        checked = self._validator((method, template, str(status)), content["schema"])
        return _errors(checked, body, f"answer {status}")

    def _body_problems(self, method: str, template: str, operation: Schema, body: Any) -> list[str]:
        described = operation.get("requestBody")
        if described is None:
            return [] if body in (None, {}) else ["body: none is taken"]
        if body is None:
            return ["body: missing"] if described.get("required") else []
        schema = described["content"]["application/json"]["schema"]
        checked = self._validator((method, template, "body"), schema, closed=True)
        return _errors(checked, body, "body")

    def _operation(self, method: str, template: str) -> Schema:
        operation: Schema = self._document["paths"][template][method.lower()]
        return operation

    def _resolved(self, thing: Schema) -> Schema:
        while "$ref" in thing:
            thing = self._target(thing["$ref"])
        return thing

    def _target(self, reference: str) -> Schema:
        found: Any = self._document
        for word in reference.removeprefix("#/").split("/"):
            found = found[word]
        schema: Schema = found
        return schema

    def _validator(self, key: tuple[str, str, str], schema: Schema, *, closed: bool = False) -> Any:
        if key not in self._validators:
            whole = _Translation(self._target, closed=closed).whole(schema)
            self._validators[key] = jsonschema.Draft202012Validator(
                whole, format_checker=self._formats
            )
        return self._validators[key]


class _Translation:
    """A schema of OpenAPI 3.0 -> one of JSON Schema with all that it refers to."""

    def __init__(self, target: Callable[[str], Schema], *, closed: bool) -> None:
        self._target, self._closed = target, closed
        self._definitions: dict[str, Schema] = {}

    def whole(self, schema: Schema) -> Schema:
        made = self._schema(schema, closing=self._closed)
        return {**made, "$defs": self._definitions}

    def _schema(self, schema: Schema, *, closing: bool, at: str = "") -> Schema:
        if "$ref" in schema:
            return self._reference(schema["$ref"], closing=closing)
        made = {name: value for name, value in schema.items() if name in _KEPT}
        if self._closed:
            made = {name: value for name, value in made.items() if name not in _LIMITS}
        for name in ("oneOf", "anyOf", "allOf"):
            if name in made:
                made[name] = [self._schema(one, closing=False) for one in made[name]]
        if "not" in made:
            made["not"] = self._schema(made["not"], closing=False)
        if "items" in made:
            made["items"] = self._schema(made["items"], closing=self._closed)
        if "properties" in made:
            made["properties"] = {
                name: self._property(at, name, one) for name, one in made["properties"].items()
            }
            if self._closed and made.get("additionalProperties") is True:
                del made["additionalProperties"]
            if closing and "additionalProperties" not in made:
                made["unevaluatedProperties"] = False
        if isinstance(made.get("additionalProperties"), dict):
            made["additionalProperties"] = self._schema(
                made["additionalProperties"], closing=self._closed
            )
        return _nullable(made) if schema.get("nullable") else made

    def _property(self, parent: str, name: str, schema: Schema) -> Schema:
        made = self._schema(schema, closing=self._closed, at=name)
        return {"anyOf": [made, {"type": "null"}]} if (parent, name) in _NULL_IN_FACT else made

    def _reference(self, reference: str, *, closing: bool) -> Schema:
        name = f"{reference.rpartition('/')[2]}{'-closed' if closing else ''}"
        if name not in self._definitions:
            self._definitions[name] = {}
            self._definitions[name] = self._schema(self._target(reference), closing=closing)
        return {"$ref": f"#/$defs/{name}"}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _errors(validator: Any, value: Any, where: str) -> list[str]:
    found = []
    for error in validator.iter_errors(value):
        deepest = jsonschema.exceptions.best_match([error]) or error
        path = ".".join(str(word) for word in deepest.absolute_path)
        found.append(f"{where}: {path or '(top)'}: {deepest.message[:300]}")
    return found


def _value(text: str) -> str | int | bool:
    """A parameter in an address, as its schema sees it."""
    if re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    return {"true": True, "false": False}.get(text, text)


def _is_time(value: object) -> bool:
    form = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"
    return not isinstance(value, str) or re.fullmatch(form, value) is not None


def _is_uri(value: object) -> bool:
    return not isinstance(value, str) or not value or bool(urlsplit(value).scheme)


# --- where it comes from ------------------------------------------------------------------------


@cache
def load() -> tuple[Description | None, str]:
    """The description; or None and why there is none."""
    path, reason = _locate()
    if path is None:
        return None, reason
    with path.open("rb") as file:
        return Description(json.load(file)), ""


def _locate() -> tuple[Path | None, str]:
    if given := os.environ.get("RPAC_OPENAPI"):
        found = Path(given).is_file()
        return (Path(given), "") if found else (None, f"RPAC_OPENAPI: there is no {given}")
    home = os.environ.get("RPAC_CACHE") or Path.home() / ".cache" / "rpac"
    folder = Path(home) / f"octokit-openapi-{VERSION}"
    path = folder / "api.github.com.json"
    if path.is_file():
        return path, ""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        failed = folder / "failed"
        if path.is_file():
            return path, ""
        if failed.exists() and time.time() - failed.stat().st_mtime < _AGAIN_S:
            return None, failed.read_text()
        try:
            _take(path)
        except (OSError, subprocess.SubprocessError, tarfile.TarError, KeyError) as exc:
            reason = f"GitHub's description of its API cannot be had from npm: {exc}"
            failed.write_text(reason)
            return None, reason
    return path, ""


def _take(path: Path) -> None:
    """Fetch the package, whose contents npm checks, and keep one file of it."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is not installed")
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        subprocess.run(
            [npm, "pack", "--silent", "--pack-destination", scratch, f"@octokit/openapi@{VERSION}"],
            check=True, capture_output=True, timeout=_PATIENCE_S, cwd=scratch,
        )  # fmt: skip
        (package,) = Path(scratch).glob("*.tgz")
        with tarfile.open(package) as archive:
            content = archive.extractfile(_MEMBER)
            if content is None:
                raise KeyError(_MEMBER)
            part = Path(scratch) / "part"
            with content, part.open("wb") as file:
                shutil.copyfileobj(content, file)
        part.replace(path)
