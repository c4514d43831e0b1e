"""Real servers as child processes on the loopback interface: started, waited for, and stopped."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ppl.bundled import model_path

GGUF = Path(__file__).with_name("gguf_model.py")
"""The script that writes a checkpoint as a GGUF file; it runs where the package gguf is."""


@contextmanager
def started(command: Sequence[str], ready: str, patience: float, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run a server.

    Args:
        command: how to start it; ``{port}`` stands for the port that it is to listen at.
        ready: the path that answers once it is up.
        patience: the most seconds until then.
        env: environment variables, besides those of this process.

    Gives:
        Its URL, up to and with ``/v1``.

    Raises:
        RuntimeError: it ended, or did not get ready; with the end of its log.
    """
    port = _free_port()
    quiet = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **(env or {})}
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [part.format(port=port) for part in command],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **quiet},
            start_new_session=True,
        )
        try:
            end = time.monotonic() + patience
            while not _answers(f"http://127.0.0.1:{port}{ready}"):
                if process.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    raise RuntimeError(f"{command[0]} did not get ready: …{log.read()[-2000:]}")
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def transformers_serve() -> list[str]:
    """How to serve the bundled model with ``transformers serve``."""
    script = Path(sys.executable).with_name("transformers")
    return [str(script), "serve", str(model_path()), "--host", "127.0.0.1", "--port", "{port}", "--device", "cpu"]


def vllm_serve(python: str, *options: str) -> list[str]:
    """How to serve the bundled model with vLLM from an environment of its own."""
    return [
        *(python, "-m", "vllm.entrypoints.openai.api_server", "--host", "127.0.0.1", "--port", "{port}"),
        *("--model", str(model_path()), "--served-model-name", "bundled"),
        *("--dtype", "float32", "--max-model-len", "1024", "--enforce-eager", *options),
    ]


def llama_cpp_python(python: str, weights: str) -> list[str]:
    """How to serve a GGUF file with llama-cpp-python from an environment of its own, in float32."""
    return [
        *(python, "-m", "llama_cpp.server", "--host", "127.0.0.1", "--port", "{port}"),
        *("--model", weights, "--model_alias", "bundled", "--n_ctx", "1024", "--n_threads", "1"),
        *("--logits_all", "true", "--type_k", "0", "--type_v", "0", "--flash_attn", "false"),
    ]


def llama_server(server: str, weights: str) -> list[str]:
    """How to serve a GGUF file with llama.cpp's own server, in float32."""
    return [
        *(server, "--host", "127.0.0.1", "--port", "{port}", "--model", weights, "--alias", "bundled"),
        *("--ctx-size", "4096", "--parallel", "4", "--threads", "1", "--flash-attn", "off"),
        *("--cache-type-k", "f32", "--cache-type-v", "f32", "--no-webui"),
    ]


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
