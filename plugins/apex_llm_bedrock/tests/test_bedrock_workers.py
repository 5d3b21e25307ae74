"""Threads that may hang: they keep neither the others nor the end of the process."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
from apex_llm_bedrock.workers import Workers


def test_a_result_and_a_failure_arrive():
    async def main():
        workers = Workers()
        assert await workers.run("sum", lambda: 1 + 1) == 2
        with pytest.raises(ZeroDivisionError):
            await workers.run("quotient", lambda: 1 // 0)
        # What is over begins anew.
        assert await workers.run("sum", lambda: 3) == 3

    asyncio.run(main())


def test_whoever_asks_meanwhile_waits_for_the_same_work():
    gate, under_way, begun = threading.Event(), threading.Event(), []

    def work():
        begun.append(threading.get_ident())
        under_way.set()
        gate.wait(10)
        return "keys"

    async def main():
        workers = Workers()
        asking = [asyncio.ensure_future(workers.run("keys", work)) for _ in range(6)]
        given_up = asyncio.ensure_future(workers.run("keys", work))
        await asyncio.to_thread(under_way.wait, 10)
        given_up.cancel()
        # Somebody else's work is not held up.
        assert await workers.run("other", lambda: 5) == 5
        gate.set()
        assert await asyncio.gather(*asking) == ["keys"] * 6
        with pytest.raises(asyncio.CancelledError):
            await given_up

    asyncio.run(main())
    assert len(begun) == 1
    assert begun[0] != threading.get_ident()


def test_closing_takes_the_waiting_from_whoever_waits():
    gate = threading.Event()

    async def main():
        workers = Workers()
        asking = asyncio.ensure_future(workers.run("keys", lambda: gate.wait(10)))
        await asyncio.sleep(0)
        workers.close()
        with pytest.raises(asyncio.CancelledError):
            await asking

    try:
        asyncio.run(main())
    finally:
        gate.set()


def test_a_loop_that_is_gone_is_nobodys_matter():
    gate = threading.Event()
    workers = Workers()

    async def leave():
        asking = asyncio.ensure_future(workers.run("keys", lambda: gate.wait(10)))
        await asyncio.sleep(0)
        asking.cancel()

    asyncio.run(leave())
    assert asyncio.run(workers.run("keys", lambda: "new")) == "new"
    gate.set()
    workers.close()


def test_a_thread_that_hangs_does_not_keep_the_process():
    script = (
        "import asyncio, threading\n"
        "from apex_llm_bedrock.workers import Workers\n"
        "async def main():\n"
        "    asking = asyncio.ensure_future(Workers().run('keys', threading.Event().wait))\n"
        "    await asyncio.sleep(0)\n"
        "    asking.cancel()\n"
        "asyncio.run(main())\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=30).returncode == 0
