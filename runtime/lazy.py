"""Modules that are slow to import and that most runs never need."""

from __future__ import annotations

import importlib
import types
from typing import Any


class _Lazy(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        found = getattr(importlib.import_module(self.__name__), name)
        setattr(self, name, found)  # the next time it is found at once
        return found


def lazy(name: str) -> Any:
    """A module that is imported when something in it is first asked for.

    Args:
        name: of a top-level module, such as ``numpy``.
    """
    return _Lazy(name)
