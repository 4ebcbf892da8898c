"""A real llama.cpp server (the wheel xllamacpp) on the exported `small`, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CONTEXT = 256
"""Tokens of one slot: what the embedded `small` was trained on."""


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """Where it listens; `url` is the root, without /v1."""

    url: str
    slots: int
    pid: int


@contextmanager
def llama_server(gguf: Path, *, slots: int = 16, context: int = CONTEXT, threads: int = 1) -> Iterator[LlamaServer]:
    """Serve `gguf` until the block ends, or this process does: the server's standard input then closes."""
    command = [sys.executable, str(Path(__file__).resolve()), str(gguf), str(slots), str(context), str(threads)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"the llama.cpp server ended with {process.wait()} before it listened")
        yield LlamaServer(url, slots, process.pid)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def serve(gguf: str, slots: int, context: int, threads: int) -> None:
    """Serve; print the address once it listens; end with standard input."""
    from xllamacpp import CommonParams, Server, ggml_type, llama_flash_attn_type

    parameters = CommonParams()
    parameters.model.path = gguf
    parameters.model_alias = {"small"}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.n_parallel = slots
    parameters.n_ctx = slots * context
    parameters.n_gpu_layers = 0
    parameters.cpuparams.n_threads = threads
    parameters.cpuparams_batch.n_threads = threads
    # Half precision in the cache, and flash attention's in between, move log-probabilities by up to 5e-3.
    parameters.flash_attn_type = llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.cache_type_k = parameters.cache_type_v = ggml_type.GGML_TYPE_F32
    parameters.endpoint_props = parameters.endpoint_slots = True
    parameters.fit_params = False
    server = Server(parameters)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    serve(sys.argv[1], *map(int, sys.argv[2:]))
