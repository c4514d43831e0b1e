"""What tests of several files need set up."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ppl.checkpoint import Checkpoint


@pytest.fixture
def journals_only() -> Iterator[None]:
    """What is finished is not stored as a posterior, so that its journal stays, and is what a run goes on from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "finish", lambda self, number, posterior: None)
        yield
