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
    # Some packages give their classes a shorter module than they are in, which need not be there.
    file = next((file for name in (module, top) if (file := getattr(sys.modules.get(name), "__file__", None))), None)
    return not file or not is_installed(file)


@functools.cache
def is_installed(file: str) -> bool:
    """Whether a file is part of Python or of an installed package."""
    path = Path(file)
    among = any(path.is_relative_to(place) for place in _INSTALLED)
    return among or bool({"site-packages", "dist-packages"} & set(path.parts))
