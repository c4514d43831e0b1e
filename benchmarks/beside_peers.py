"""Decoding with particles in this package, in LLaMPPL and in genlm-control, each beside ``generate`` of transformers.

    python benchmarks/beside_peers.py [--repeats 3] [--only frameworks] [--no-write]

``make bench-peers`` makes the environments of the peers first. What is compared, and how, says
``benchmarks/peers/README.md``. Prints tables, and writes them into ``benchmarks/RESULTS.md``. Takes about 20 minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from results import machine, table, write_section

HERE = Path(__file__).resolve().parent
SIDES = HERE / "peers"
ENVIRONMENTS = HERE.parent / "out" / "peers"
SIZES = ((32, 64), (8, 192))
VOCABULARIES = (2048, 128_256)
STUBBED = (32, 64)


class Side(NamedTuple):
    """A program in ``benchmarks/peers``, the name of its package, and the Python that runs it."""

    script: Path
    package: str
    python: str


def sides() -> list[Side]:
    """This package, and the peers.

    Raises:
        SystemExit: a peer's environment is not there.
    """
    found = [Side(SIDES / "ours_side.py", "ppl", sys.executable)]
    for name in ("llamppl", "genlm"):
        python = ENVIRONMENTS / name / "bin" / "python"
        if not python.exists():
            raise SystemExit(f"{python} is not there: `make bench-peers` makes the environments and runs this")
        package = (SIDES / f"{name}.txt").read_text(encoding="utf-8").splitlines()[0].replace("==", " ")
        found.append(Side(SIDES / f"{name}_side.py", package, str(python)))
    return found


def measure(side: Side, size: tuple[int, int], repeats: int, *case: str) -> dict[str, Any]:
    """What a side prints for one case, by its settings.

    Raises:
        SystemExit: the side failed. Its errors are above.
    """
    particles, tokens = size
    command = [side.python, str(side.script), f"--particles={particles}", f"--tokens={tokens}", f"--repeats={repeats}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
    done = subprocess.run([*command, *case], env=environment, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{side.script.name} ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def named(side: Side, setting: str) -> str:
    """The first column of a row."""
    return f"{side.package}, {setting}" if setting else side.package


def decoding(size: tuple[int, int], repeats: int, folder: str) -> str:
    """A table of seconds and positions, and their ratios to ``generate``'s in the same process."""
    rows: list[tuple[str, ...]] = []
    for side in sides():
        for setting, found in measure(side, size, repeats, f"--folder={folder}").items():
            rows.append(
                (
                    named(side, setting),
                    f"{found['cpu']:.2f}",
                    f"{found['generate_cpu']:.2f}",
                    f"{found['cpu'] / found['generate_cpu']:.2f}",
                    f"{found['wall'] / found['generate_wall']:.2f}",
                    f"{found['positions']:,}",
                    f"{found['positions'] / found['generate_positions']:.2f}",
                    f"{found['log_evidence']:.1f}",
                )
            )
    heads = ("CPU s", "`generate`, CPU s", "ratio", "ratio on the clock", "positions", "ratio", "log Ẑ")
    return table((f"{size[0]} particles of {size[1]} tokens", *heads), rows)


def framework(repeats: int) -> str:
    """A table of the microseconds that a token of a particle costs when the model costs nothing."""
    rows = []
    for side in sides():
        found = [measure(side, STUBBED, repeats, f"--vocabulary={size}") for size in VOCABULARIES]
        rows += [(named(side, setting), *(f"{each[setting]:,.0f}" for each in found)) for setting in found[0]]
    heads = (f"{STUBBED[0]} particles of {STUBBED[1]} tokens, CPU µs a token", *(f"{v:,}" for v in VOCABULARIES))
    return table(heads, rows)


def beside_generate(repeats: int) -> str:
    """The section on decoding."""
    with tempfile.TemporaryDirectory() as folder:
        make = "import sys, pathlib, workload; workload.make_folder(pathlib.Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", make, folder], cwd=SIDES, check=True)
        tables = [decoding(size, repeats, folder) for size in SIZES]
    return "\n\n".join(
        (
            "## Beside peers",
            f"`make bench-peers`: {machine()}; fastest of {repeats} runs. What the rows are: "
            "[peers/README.md](peers/README.md). Each side runs in a process of its own, in turns with `generate` of "
            "transformers, on one saved model; ratios are to `generate` in the same process.",
            *tables,
        )
    )


def without_a_model(repeats: int) -> str:
    """The section on what the frameworks themselves cost."""
    return "\n\n".join(
        (
            "## Frameworks beside peers",
            f"`make bench-peers`: {machine()}; fastest of {repeats} runs after one that warms up, each side in a "
            "process of its own, with constant logits in place of the model or of the whole engine.",
            framework(repeats),
        )
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each side, after one that warms up")
    parser.add_argument("--only", choices=("decoding", "frameworks"), help="one of the two sections")
    options = parser.parse_args()
    sections = {"decoding": ("peers", beside_generate), "frameworks": ("frameworks", without_a_model)}
    for name, (section, report) in sections.items():
        if options.only in (None, name):
            text = report(options.repeats)
            print(text)
            if not options.no_write:
                write_section(section, text)


if __name__ == "__main__":
    main()
