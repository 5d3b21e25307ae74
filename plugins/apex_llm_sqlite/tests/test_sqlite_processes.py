from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time

import pytest
from apex_llm_sqlite import SqliteStore

from apex_llm_core.config.schema import LimitConfig
from apex_llm_core.policies.limits import Charge, Refusal, Ticket
from apex_llm_core.policies.shared_limits import SharedLimiter

_LIMITER = """
    import asyncio, sys, time
    from apex_llm_core.config.schema import LimitConfig
    from apex_llm_core.policies.limits import Actual, Charge, Ticket
    from apex_llm_core.policies.shared_limits import SharedLimiter
    from apex_llm_sqlite import SqliteStore

    LIMITS = [
        LimitConfig(name="pace", requests=40, per=3600),
        LimitConfig(name="tpm", scope="user", tokens=1000, per=3600),
        LimitConfig(name="money", scope="key", cost=1.0, per=3600),
    ]
    CHARGE = Charge(prompt_tokens=20, output_tokens=20, input_price=0.001, output_price=0.001)

    async def main():
        failures = []
        store = SqliteStore(sys.argv[1], busy_timeout=60, wall=time.time)
        limits = SharedLimiter(LIMITS, store, wall=time.time, on_error=failures.append)
        sys.stdin.read(1)
        async def one():
            return await limits.enter({"all": "", "user": "u", "key": "k"}, CHARGE)
        answers = []
        for _ in range(5):
            answers += await asyncio.gather(*(one() for _ in range(4)))
        print(sum(isinstance(answer, Ticket) for answer in answers), failures)
        await store.close()

    asyncio.run(main())
"""

_WRITER = """
    import asyncio, sys, time
    from apex_llm_sqlite import SqliteStore

    async def main():
        store = SqliteStore(sys.argv[1], wall=time.time)
        def count(found):
            number = b"%d" % (int(found.get("a", 0)) + 1)
            return {"a": number, "b": number, "filling": b"x" * 20_000}
        while True:
            await store.transact(["a"], count, None)
            print((await store.get("a")).decode(), flush=True)

    asyncio.run(main())
"""


def start(script, path):
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_together_never_exceed_a_limit(tmp_path):
    # They make the file together, too.
    processes = [start(_LIMITER, tmp_path / "state.db") for _ in range(4)]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    admitted = []
    for process in processes:
        said, _ = process.communicate(timeout=100)
        number, failures = said.split(maxsplit=1)
        assert failures.strip() == "[]"
        admitted.append(int(number))
    # 80 asked for 40 tokens of 1000 and 4 cents of one: 25 fit.
    assert sum(admitted) == 25

    async def afterwards():
        store = SqliteStore(str(tmp_path / "state.db"), wall=time.time)
        limits = SharedLimiter(
            [
                LimitConfig(name="pace", requests=40, per=3600),
                LimitConfig(name="tpm", scope="user", match="u", tokens=1000, per=3600),
            ],
            store,
            wall=time.time,
            on_error=pytest.fail,
        )
        pace, tpm = await limits.standing()
        assert (pace.requests.used, tpm.tokens.used) == (25, 1000)
        assert isinstance(await limits.enter({"user": "u"}, Charge(prompt_tokens=1)), Refusal)
        assert isinstance(await limits.enter({"user": "v"}, Charge(prompt_tokens=1)), Ticket)
        await store.close()

    asyncio.run(afterwards())


def test_who_is_killed_while_writing_loses_nothing_and_leaves_nothing_half_done(tmp_path):
    path = tmp_path / "state.db"
    last = 0
    for _ in range(3):
        process = start(_WRITER, path)
        for _ in range(30):
            said = process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        # Not communicate(), which knows nothing of what readline() has read ahead.
        with process:
            rest = process.stdout.read()
        told = [int(line) for line in (said + rest).splitlines(keepends=True) if line.endswith("\n")]
        assert told[0] >= last + 30

        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        found = dict(connection.execute("SELECT key, value FROM entries"))
        connection.close()
        assert found[b"a"] == found[b"b"]
        # One more may have been committed before it could be told.
        assert int(found[b"a"]) in {told[-1], told[-1] + 1}
        last = int(found[b"a"])
