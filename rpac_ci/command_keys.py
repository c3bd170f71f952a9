"""
The keys of `key=value`, in one table: what each means, an example, and the reader of its values.

Readers check form alone, and strictly: `1_0`, `0x10`, `1e999` and digits of other scripts are no
numbers, whatever a programming language would make of them.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rpac_ci import quantities
from rpac_ci.jobs import EngineName

REPEAT = "repeat"  # the key that makes a study by itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of `key=value`: its meaning, an example, and the reader of its values."""

    description: str
    example: str
    read: Callable[[str], object]  # raises ValueError with got and expected

    @property
    def shown_example(self) -> str:
        """The example for people: hashes are shortened."""
        return re.sub(r"\b([0-9a-f]{8})[0-9a-f]{56}\b", r"\1…", self.example)


def _shown(text: str) -> str:
    return repr(text[:80])


def _form(pattern: str, expected: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not re.fullmatch(pattern, text, re.ASCII):
            raise ValueError(f"got {_shown(text)}, expected {expected}")
        return text

    return read


def _integer(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise ValueError(f"got {_shown(text)}, expected a whole number")
    return int(text)


def _at_least(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if (number := _integer(text)) < least:
            raise ValueError(f"got {_shown(text)}, expected at least {least}")
        return number

    return read


def _truth(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"got {_shown(text)}, expected true or false")
    return text == "true"


_PART = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_IMAGE_NAME = rf"{_PART}(?::[0-9]{{1,5}})?(?:/{_PART})*(?::[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}})?"
_image_by_digest = _form(rf"{_IMAGE_NAME}@sha256:[0-9a-f]{{64}}", "name@sha256:<64 hex digits>")


def _image(text: str) -> str:
    if re.fullmatch(_IMAGE_NAME, text):
        raise ValueError(
            f"got {_shown(text)}, an image without a digest, which can change; "
            "expected name@sha256:<64 hex digits>"
        )
    return _image_by_digest(text)


def _repeat(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or int(text) < 1:
        raise ValueError(f"got {_shown(text)}, expected a count such as repeat=5")
    return int(text)


def _engine(text: str) -> str:
    known = [name.value for name in EngineName]
    if text not in known:
        near = difflib.get_close_matches(text, known, n=1)
        right = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
        raise ValueError(f"got {_shown(text)}, {right}")
    return text


_word = _form(r"[a-z][a-z0-9-]{0,31}", "a lower-case word")
_DIGEST = "8f0c4e2a" * 8

KEYS: Mapping[str, Key] = MappingProxyType(
    {
        "cloud": Key(description="where it runs", example="cloud=local", read=_word),
        "region": Key(
            description="region of the cloud",
            example="region=us-east-1",
            read=_form(r"[a-z0-9][a-z0-9-]{0,62}", "the name of a region"),
        ),
        "runtime": Key(
            description="how nodes are started there", example="runtime=process", read=_word
        ),
        "engine": Key(description="what runs the command", example="engine=dask", read=_engine),
        "nodes": Key(description="how many nodes", example="nodes=4", read=_at_least(1)),
        "machine": Key(
            description="the cloud's name of the machine, of each node",
            example="machine=m7i.large",
            read=_form(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "the name of a machine"),
        ),
        "cpus": Key(description="processors of each node", example="cpus=2", read=_at_least(1)),
        "memory": Key(
            description="memory of each node", example="memory=8GiB", read=quantities.parse_memory
        ),
        "gpus": Key(description="GPUs of each node", example="gpus=1", read=_at_least(0)),
        "spot": Key(
            description="machines that may be taken away, for less money",
            example="spot=true",
            read=_truth,
        ),
        "image": Key(
            description="container image, by digest",
            example=f"image=registry.example/lab/dask@sha256:{_DIGEST}",
            read=_image,
        ),
        "seed": Key(description="seed of the random numbers", example="seed=7", read=_integer),
        REPEAT: Key(
            description="run it so many times, as one study", example="repeat=5", read=_repeat
        ),
        "time": Key(
            description="time limit of the command",
            example="time=30min",
            read=quantities.parse_duration,
        ),
        "cost": Key(
            description="most that the run may cost",
            example="cost=5USD",
            read=quantities.parse_cost,
        ),
        "sha": Key(
            description="the commit that is meant; another one is refused",
            example="sha=1a2b3c4",
            read=_form(r"[0-9a-f]{7,64}", "7 to 64 lower-case hex digits of a commit"),
        ),
        "args.<name>": Key(
            description="value of an argument of the experiment", example="args.trees=300", read=str
        ),
        "data.<name>": Key(
            description="where an input is read from",
            example="data.scenes=https://…",
            read=str,
        ),
    }
)
KEY_WORDS = " ".join(KEYS)
