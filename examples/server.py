"""A model on a server: the same program, with the model in another process or on another machine.

    python examples/server.py http://localhost:8000/v1 MODEL

asks that server. Without arguments the example starts one itself, `transformers serve` with the bundled model, on this
machine only, and stops it at the end (that needs `pip install 'transformers[serving]'`).

What a server can do, it is asked when it is loaded. `transformers serve` gives texts and no log-probabilities, which is
enough for SMC: draws come from the model, and weights from the checker. vLLM gives log-probabilities too.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ppl import Posterior, condition, infer, load_lm, program, sample
from ppl.bundled import model_path
from ppl.bundled.problems import arithmetic_holds
from ppl.lm import LM

QUESTION = "Start with 17. Add 25. Multiply by 3."


@program
def solve(lm: LM, question: str) -> str:
    thought = lm.context(f"Q: {question}\n")
    line = ""
    for _ in range(6):
        line = sample(thought.line(max_tokens=24))
        thought = thought + line
        if line.startswith("A:"):
            break
        condition(arithmetic_holds(line))
    return line.removeprefix("A:").strip()


@contextmanager
def own_server() -> Iterator[str]:
    """`transformers serve` on a free port of this machine; gives its address."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    script = Path(sys.executable).with_name("transformers")
    command = [str(script), "serve", str(model_path()), "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            with socket.socket() as knock:
                if server.poll() is not None or knock.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait()


def run(url: str, model: str | None) -> Posterior:
    """Solve the problem with 8 particles, whose requests the server sees together."""
    lm = load_lm(url, model=model)
    print(*lm.describe().split("; "), sep="\n  ")
    return infer(solve, lm, QUESTION, method="smc", n=8, seed=0)


def main(*arguments: str) -> None:
    if arguments:
        posterior = run(arguments[0], arguments[1] if arguments[1:] else None)
    else:
        with own_server() as url:
            posterior = run(url, str(model_path()))
    print(posterior)
    print(f"the answer is {(17 + 25) * 3}; the posterior's mode is {posterior.mode()}")


if __name__ == "__main__":
    main(*sys.argv[1:])
