"""What is the user's own code, and what is installed or part of Python."""

from __future__ import annotations

import functools
import sys
import sysconfig
from pathlib import Path

_INSTALLED = tuple({sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_HERE = __name__.partition(".")[0]


def is_users(module: str) -> bool:
    """Whether a module is the user's own, and not installed or part of Python."""
    top = module.partition(".")[0]
    if top in sys.stdlib_module_names or top == _HERE:
        return top == "__main__"
    file = getattr(sys.modules.get(module), "__file__", None)
    return not file or not _is_installed(file)


@functools.cache
def _is_installed(file: str) -> bool:
    path = Path(file)
    installed = any(path.is_relative_to(place) for place in _INSTALLED)
    return installed or bool({"site-packages", "dist-packages"} & set(path.parts))
