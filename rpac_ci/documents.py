"""What all documents are made of: their base, and texts and numbers of a certain form."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from math import isfinite
from pathlib import PurePosixPath
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, StringConstraints

from rpac_ci.canonical import Json

MAX_INTEGER = 2**63 - 1
# as archives publish them; names of hashlib
CHECKSUM_PATTERN = r"^(md5:[0-9a-f]{32}|sha1:[0-9a-f]{40}|sha512:[0-9a-f]{128})$"


def _scalar(value: object) -> object:
    fits = isinstance(value, (bool, int, float, str))
    if isinstance(value, (int, float)):
        fits = abs(value) <= MAX_INTEGER if isinstance(value, int) else isfinite(value)
    if not fits:
        raise ValueError(f"got {shown(value)}, expected a number, a text, true or false")
    return value


def shown(value: object) -> str:
    """A value of the file as a message shows it."""
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(value)[:60]


Scalar: TypeAlias = Annotated[bool | int | float | str, BeforeValidator(_scalar)]
NAME_PATTERN = r"^[a-z][a-z0-9_]{0,62}$"
ID_PATTERN = r"^[a-z0-9][a-z0-9-]{0,62}$"
HEX256_PATTERN = r"^[0-9a-f]{64}$"
RULE_PATTERN = r"^[A-Za-z0-9_*?\[][A-Za-z0-9_./@*?\[\]-]{0,126}$"
GIT_PATTERN = r"^https://[^\s@]+$"
COMMIT_PATTERN = r"^[0-9a-f]{40}$"
IMAGE_PATTERN = r"^\S+@sha256:[0-9a-f]{64}$"
PYTHON_PATTERN = r"^3\.\d{1,2}$"
INDEX_PATTERN = r"^https://[^\s@?#]+$"
INPUT_PATTERN = r"^data\.[a-z][a-z0-9_]{0,62}$"
# what a text must look like, for people
FORMS: Mapping[str, str] = {
    NAME_PATTERN: "a name of lower-case letters, digits and '_', such as 'sea_level'",
    ID_PATTERN: "an id of lower-case letters, digits and '-', such as 'exp-42'",
    HEX256_PATTERN: "64 hex digits, as sha256sum prints them",
    CHECKSUM_PATTERN: "a checksum such as 'md5:9e10…', of md5, sha1 or sha512",
    RULE_PATTERN: "the name of a metric, or the path or pattern of an output",
    GIT_PATTERN: "a URL such as 'https://github.com/lab/code'",
    COMMIT_PATTERN: "a commit's 40 hex digits",
    IMAGE_PATTERN: "an image by digest, 'name@sha256:…'",
    INDEX_PATTERN: "the URL of a package index, such as 'https://download.pytorch.org/whl/cpu'",
    PYTHON_PATTERN: "a version of Python such as '3.11'",
    INPUT_PATTERN: "an input such as 'data.truth'",
}

Name: TypeAlias = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
ExperimentId: TypeAlias = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
Hex256: TypeAlias = Annotated[str, StringConstraints(pattern=HEX256_PATTERN)]
PackageIndex: TypeAlias = Annotated[str, StringConstraints(pattern=INDEX_PATTERN)]
# of a metric, or path or pattern of output files
RuleName: TypeAlias = Annotated[str, StringConstraints(pattern=RULE_PATTERN)]


def _relative(path: str) -> str:
    parts = PurePosixPath(path).parts
    odd = not path.isprintable() or "\\" in path or max(map(len, parts), default=0) > 255
    if not path or path.startswith("/") or ".." in parts or odd or len(path) > 1024:
        raise ValueError(f"got {path!r}, expected a path inside the experiment's folder")
    return str(PurePosixPath(path))


RelativePath: TypeAlias = Annotated[str, AfterValidator(_relative)]


def _pattern(pattern: str) -> str:
    if (path := _relative(pattern)) == "." or "**" in path:
        raise ValueError(f"got {pattern!r}, expected a file such as 'map.png' or 'figures/*.png'")
    return path


OutputPattern: TypeAlias = Annotated[str, AfterValidator(_pattern)]


def _printable(text: str) -> str:
    if not text.isprintable() or not 0 < len(text) <= 200:
        raise ValueError(f"got {text[:60]!r}, expected a name or a pattern such as 'flag_*'")
    return text


Pattern: TypeAlias = Annotated[str, AfterValidator(_printable)]


class Model(BaseModel):
    """Base of every document: unknown keys are mistakes, values are never coerced or changed."""

    model_config = ConfigDict(
        defer_build=True,  # most commands need a few of all models
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        populate_by_name=True,
    )

    def to_json(self) -> dict[str, Json]:
        """Plain values under their document names."""
        dumped: dict[str, Json] = self.model_dump(mode="json", by_alias=True)
        return dumped

    def without_defaults(self, names: Collection[str]) -> dict[str, Json]:
        """
        As JSON, without those of some keys that say nothing.

        Keys that came with a later version are left out at their default, so that what does not
        use them has the bytes, and the digest, that it always had.
        """
        unused = {name for name in names if getattr(self, name) == _default(type(self), name)}
        return {key: value for key, value in Model.to_json(self).items() if key not in unused}


@cache  # pydantic looks at the signature of a factory whenever it is asked
def _default(model: type[Model], name: str) -> Any:
    """What a key is when nobody names it; only to be compared with."""
    return model.model_fields[name].get_default(call_default_factory=True)
