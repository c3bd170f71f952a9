"""
Overrides put on top of a definition: `nodes=4 args.trees=300`. Pure.

A value takes the type of the experiment's own; what does not fit is told, all of it at once.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from math import isfinite

from pydantic import ValidationError

from rpac_ci.commands import Overrides
from rpac_ci.documents import MAX_INTEGER, Model, Scalar
from rpac_ci.errors import CommandError
from rpac_ci.experiment_model import Arg, Data, Engine, Environment
from rpac_ci.jobs import EngineName
from rpac_ci.locators import parse_locator
from rpac_ci.pipeline import DataRef, Definition, data_ref, environment_ref

_FLOAT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?")


def change(definition: Definition, overrides: Overrides) -> Definition:
    """
    Put overrides on top of a definition.

    Raises:
        CommandError: unknown names or values of the wrong type, all of them at once.
    """
    problems: list[str] = []
    update: dict[str, object] = {}
    counts = {"nodes": overrides.nodes, "cpus": overrides.cpus, "memory": overrides.memory,
              "gpus": overrides.gpus}  # fmt: skip
    limits = {"time": overrides.time, "cost": overrides.cost}
    try:
        update["resources"] = _with(definition.resources, counts)
        update["limits"] = _with(definition.limits, limits)
    except ValidationError as exc:
        problems += [f"{e['loc'][-1]}: got {e['input']!r}, {e['msg']}" for e in exc.errors()]
    if overrides.seed is not None:
        if definition.seed is None:
            problems.append("seed: this experiment declares no seed")
        update["seed"] = overrides.seed
    if overrides.engine is not None:
        update["engine"] = _change_engine(definition.engine, overrides.engine)
    if overrides.image is not None:
        update["environment"] = environment_ref(Environment(image=overrides.image), None)
    update["args"] = _change_args(definition, overrides.args, problems)
    update["data"] = _change_data(definition, overrides.data, problems)
    if problems:
        raise CommandError("\n".join(problems))
    return definition.model_copy(update=update)


def _with(model: Model, values: Mapping[str, object]) -> Model:
    given = {name: value for name, value in values.items() if value is not None}
    return type(model).model_validate({**model.model_dump(), **given})


def _change_engine(engine: Engine, name: str) -> Engine:
    """Another engine under the same switches; ranks mean nothing to one that has none."""
    wanted = EngineName(name)
    ranks = engine.ranks if wanted.collective else None
    return engine.model_copy(update={"name": wanted, "ranks": ranks})


def _change_args(
    definition: Definition, wanted: Mapping[str, str], problems: list[str]
) -> dict[str, Arg]:
    args = dict(definition.args)
    for name, text in wanted.items():
        if name not in args:
            problems.append(_unknown("args", name, list(args)))
            continue
        try:
            value = _typed(text, args[name].value)
        except ValueError as exc:
            problems.append(f"args.{name}: {exc}")
            continue
        args[name] = args[name].model_copy(update={"value": value})
    return args


def _change_data(
    definition: Definition, wanted: Mapping[str, str], problems: list[str]
) -> dict[str, DataRef]:
    data = dict(definition.data)
    for name, uri in wanted.items():
        if name not in data:
            problems.append(_unknown("data", name, list(data)))
            continue
        try:
            parse_locator(uri)
        except CommandError as exc:
            problems.append(f"data.{name}: {exc.message}, expected {exc.hint}")
            continue
        data[name] = data_ref(Data(uri=uri))
    return data


def _unknown(family: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    right = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known) or 'none'}"
    return f"{family}.{name}: there is no such name, {right}"


def _typed(text: str, like: Scalar) -> Scalar:
    """Text of a command as the type that the experiment's own value has."""
    if isinstance(like, bool):
        if text not in ("true", "false"):
            raise ValueError(f"got {text!r}, expected true or false")
        return text == "true"
    if isinstance(like, int):
        if not re.fullmatch(r"[-+]?[0-9]{1,19}", text) or abs(int(text)) > MAX_INTEGER:
            raise ValueError(f"got {text!r}, expected a whole number such as {like}")
        return int(text)
    if isinstance(like, float):
        number = float(text) if len(text) <= 40 and _FLOAT.fullmatch(text) else float("nan")
        if not isfinite(number):
            raise ValueError(f"got {text!r}, expected a number such as {like}")
        return number
    if text.startswith("-"):
        raise ValueError(f"got {text!r}, a text that a program could take for an option")
    return text
