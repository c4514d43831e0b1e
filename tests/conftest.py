"""One thread a process: the tests' models are tiny, and threads would only wait for each other."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("PPL_DEBUG", "1")  # the verifier runs after every pass
