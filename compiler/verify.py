"""The IR's invariants, checked before code is generated.

Each rule is a function from a program to the violations it finds; ``RULES`` is the list of them, and its parts stand in
``rules_structure`` and ``rules_effects``. It looks for bugs of the compiler and of what others wrote as text, so a
program that was just lowered is checked only where ``PPL_DEBUG`` is set, as it is in the tests.
"""

from __future__ import annotations

import os

from . import ir
from .rules_effects import EFFECT_RULES
from .rules_structure import STRUCTURE, Rule


class InvalidIR(Exception):
    """IR breaks the IR's rules: by a bug in the compiler or in a pass, or as somebody wrote the text that was read.

    It is never what a user's function is to blame for.
    """


DEBUG = bool(os.environ.get("PPL_DEBUG"))

RULES: tuple[Rule, ...] = (*STRUCTURE, *EFFECT_RULES)


def verify(program: ir.Program) -> None:
    """Check every rule.

    Raises:
        InvalidIR: listing what is wrong.
    """
    found = [message for rule in RULES for message in rule(program)]
    if found:
        raise InvalidIR(f"{program.name}: " + "; ".join(found))
