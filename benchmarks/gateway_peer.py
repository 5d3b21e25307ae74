"""LiteLLM's proxy in front of the same upstream, for `bench_gateway`; it lives in an environment of its own.

``python -m venv V && V/bin/pip install 'litellm[proxy]'``, then ``LITELLM_PYTHON=V/bin/python``; that takes 750 MB of disk.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import gateway_load as load

WARM_UP = 100
CALLS = 600
CONCURRENT = 64
#: Seconds that it may take to start.
PATIENCE = 90.0
KEY = "sk-" + "k7Qz93mTfW" * 3


def measured(python: str, upstream: int) -> dict[str, Any]:
    """Return what the proxy costs: CPU of a chat in microseconds, chats a second, memory in bytes, start in seconds."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        config.write_text(json.dumps(_config(upstream)))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = [str(Path(python).with_name("litellm")), "--config", str(config), "--port", str(port)]
        # It would ask the network for prices, and refuses to start without a key.
        environ = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": KEY}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        # Its modules are compiled by the first start.
        first = _started(command, environ, port)
        first.terminate()
        first.wait(timeout=30)
        began = time.perf_counter()
        process = _started(command, environ, port)
        seconds = time.perf_counter() - began
        try:
            request = load.request("gpt-4o", KEY)
            asyncio.run(load.run(port, request, WARM_UP, CONCURRENT))
            cpu, began = _cpu(process.pid), time.perf_counter()
            asyncio.run(load.run(port, request, CALLS, CONCURRENT))
            return {
                "chat": (_cpu(process.pid) - cpu) / CALLS * 1e6,
                "rate": CALLS / (time.perf_counter() - began),
                "memory": int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
                "start": seconds,
                "version": _version(python),
            }
        finally:
            process.terminate()
            process.wait(timeout=30)


def _config(upstream: int) -> dict[str, Any]:
    place = {
        "model": "azure/gpt-4o",
        "api_base": f"http://127.0.0.1:{upstream}",
        "api_key": "k" * 32,
        "api_version": "2024-10-21",
    }
    return {"model_list": [{"model_name": "gpt-4o", "litellm_params": place}]}


def _started(command: list[str], environ: dict[str, str], port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ending = time.monotonic() + PATIENCE
    while time.monotonic() < ending and process.poll() is None:
        try:
            asyncio.run(load.times(port, load.get("/health/liveliness"), 1))
        except OSError:
            time.sleep(0.05)
        else:
            return process
    process.kill()
    sys.exit(f"LiteLLM's proxy did not start within {PATIENCE:g} seconds")


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _version(python: str) -> str:
    code = "from importlib.metadata import version; print(version('litellm'))"
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


__all__ = ["measured"]
