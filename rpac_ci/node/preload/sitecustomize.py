"""
Loaded by every Python interpreter of a command (it is first on PYTHONPATH): the switches that make
results repeatable, set at the moment when a program imports the library that has them.

Seeds are RPAC_SEED plus the rank, so that ranks draw different numbers and each the same in every
run; a program that sets its own seeds has the last word. Runs in the experiment's environment and
imports nothing of it by itself.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_RANK = int(os.environ.get("RANK") or os.environ.get("HOROVOD_RANK") or 0)
_SEED = os.environ.get("RPAC_SEED")


def _numpy(module: Any) -> None:
    if _SEED is not None:
        module.seed((int(_SEED) + _RANK) % 2**32)


def _random(module: Any) -> None:
    if _SEED is not None:
        module.seed(int(_SEED) + _RANK)


def _torch(module: Any) -> None:
    if _SEED is not None:
        module.manual_seed(int(_SEED) + _RANK)
    try:  # what the public function does, without its import of the compiler, which takes seconds
        module._C._set_deterministic_algorithms(True, warn_only=True)
    except AttributeError:
        module.use_deterministic_algorithms(True, warn_only=True)
    module.backends.cudnn.deterministic = True
    module.backends.cudnn.benchmark = False
    module.backends.cudnn.allow_tf32 = False
    module.backends.cuda.matmul.allow_tf32 = False


def _inductor(module: Any) -> None:
    module.deterministic = True


_ACTIONS: dict[str, Callable[[Any], None]] = {
    "random": _random,
    "numpy.random": _numpy,
    "torch": _torch,
    "torch._inductor.config": _inductor,
}


class _Acting(Loader):
    """A module's own loader, and an action behind it."""

    def __init__(self, loader: Any, action: Callable[[Any], None]) -> None:
        self._loader, self._action = loader, action

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._action(module)

    def __getattr__(self, name: str) -> Any:  # get_code, get_filename, …
        return getattr(self._loader, name)


class _Finder(MetaPathFinder):
    """Finds the few modules that have an action, and leaves all others to the rest."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _ACTIONS:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Acting(spec.loader, _ACTIONS[name])
        return spec


def _next_of_this_name() -> None:
    """Run the sitecustomize that this one stands before, if there is one."""
    here = Path(__file__).parent
    rest = [folder for folder in sys.path if folder and Path(folder).resolve() != here.resolve()]
    spec = PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


sys.meta_path.insert(0, _Finder())
for _name, _act in _ACTIONS.items():  # `random` may be there already
    if _name in sys.modules:
        _act(sys.modules[_name])
_next_of_this_name()
