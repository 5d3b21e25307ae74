from __future__ import annotations

import asyncio
import errno
import socket
import stat

import pytest
from apex_llm_gateway.listening import cannot_listen, is_everywhere, url_of
from apex_llm_gateway.serving import Service
from apex_llm_gateway.workers.restarts import Restarts
from apex_llm_gateway.workers.sockets import Channel, private_folder, reserved, worker_socket
from apex_llm_gateway.workers.worker import Plan, work
from hypothesis import given
from hypothesis import strategies as st

from apex_llm_core.errors import ConfigurationError
from apex_llm_core.testing import FakeClock


def lives(restarts, clock, index, seconds):
    restarts.ready(index)
    clock.advance(seconds)
    return restarts.ended(index)


class TestRestarts:
    def test_a_worker_that_lived_starts_again_at_once(self):
        clock = FakeClock()
        assert lives(Restarts(clock), clock, 0, 60.0) == 0.0

    def test_one_that_ends_at_once_waits_longer_and_longer_then_it_is_given_up(self):
        clock = FakeClock()
        restarts = Restarts(clock)
        assert [lives(restarts, clock, 0, 0.1) for _ in range(5)] == [0.2, 0.4, 0.8, 1.6, None]

    def test_a_long_life_makes_earlier_ends_forgotten(self):
        clock = FakeClock()
        restarts = Restarts(clock)
        assert [lives(restarts, clock, 0, seconds) for seconds in (1, 1, 1, 1, 10, 1)] == [0.2, 0.4, 0.8, 1.6, 0.0, 0.2]

    def test_a_start_that_takes_long_and_fails_is_no_life(self):
        clock = FakeClock()
        restarts = Restarts(clock)
        delays = []
        for _ in range(5):
            clock.advance(60.0)
            delays.append(restarts.ended(0))
        assert delays == [0.2, 0.4, 0.8, 1.6, None]

    def test_while_others_serve_nobody_is_given_up(self):
        clock = FakeClock()
        restarts = Restarts(clock)
        restarts.ready(1)
        clock.advance(10.0)
        delays = [lives(restarts, clock, 0, 0.1) for _ in range(20)]
        assert None not in delays
        assert max(delays) == 30.0

    def test_others_that_have_just_begun_to_serve_count_for_nothing(self):
        clock = FakeClock()
        restarts = Restarts(clock)
        restarts.ready(1)
        assert [lives(restarts, clock, 0, 0.1) for _ in range(5)][-1] is None

    @given(st.lists(st.integers(0, 12), max_size=30))
    def test_delays_double_with_every_early_end_in_a_row_and_five_are_too_many(self, ages):
        clock = FakeClock()
        restarts = Restarts(clock)
        row = 0
        for age in ages:
            delay = lives(restarts, clock, 0, age)
            row = row + 1 if age < 5 else 0
            if row == 5:
                assert delay is None
                return
            assert delay == (0.2 * 2 ** (row - 1) if row else 0.0)


class TestAddresses:
    @pytest.mark.parametrize(
        ("host", "url"),
        [
            ("127.0.0.1", "http://127.0.0.1:80"),
            ("localhost", "http://localhost:80"),
            ("::1", "http://[::1]:80"),
            ("0.0.0.0", "http://127.0.0.1:80"),  # noqa: S104 - never listened at
            ("::", "http://[::1]:80"),
        ],
    )
    def test_url(self, host, url):
        assert url_of(host, 80) == url

    def test_everywhere(self):
        hosts = ("0.0.0.0", "::", "127.0.0.1")  # noqa: S104 - never listened at
        assert [is_everywhere(host) for host in hosts] == [True, True, False]

    @pytest.mark.parametrize(
        ("error", "key", "words"),
        [
            (OSError(errno.EADDRINUSE, "in use"), "gateway.port", "--port"),
            (OSError(errno.EACCES, "denied"), "gateway.port", "1023"),
            (OSError(errno.EADDRNOTAVAIL, "not available"), "gateway.host", "not an address of this machine"),
            (socket.gaierror(socket.EAI_NONAME, "unknown"), "gateway.host", "'nowhere' is no address"),
            (OSError(errno.EINVAL, "odd"), "gateway.port", "odd"),
        ],
    )
    def test_what_is_wrong_names_the_setting(self, error, key, words):
        told = cannot_listen(error, "nowhere", 80)
        assert told.key == key
        assert words in told.message


class TestReserved:
    def test_a_free_port_is_held_for_those_who_share(self):
        with reserved("127.0.0.1", 0) as port, socket.socket() as plain, socket.socket() as sharing:
            with pytest.raises(OSError, match="in use"):
                plain.bind(("127.0.0.1", port))
            sharing.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sharing.bind(("127.0.0.1", port))
            sharing.listen()
            with socket.create_connection(("127.0.0.1", port), 5):
                accepted, _ = sharing.accept()
                accepted.close()

    def test_a_port_is_taken_even_if_its_owner_would_share_it(self):
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            with (
                pytest.raises(ConfigurationError, match=rf"port {port} at 127.0.0.1 is taken"),
                reserved("127.0.0.1", port),
            ):
                pytest.fail("it is not free")

    def test_all_addresses_of_a_name_get_one_port(self):
        families = {found[0] for found in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
        with reserved("localhost", 0) as port:
            for family in families:
                with socket.socket(family) as plain, pytest.raises(OSError, match="in use"):
                    plain.bind(("127.0.0.1" if family == socket.AF_INET else "::1", port))

    def test_afterwards_it_is_free(self):
        with reserved("127.0.0.1", 0) as port:
            pass
        with socket.socket() as plain:
            plain.bind(("127.0.0.1", port))


class TestPrivateFolder:
    def test_nobody_else_enters_and_it_goes(self):
        with private_folder() as folder:
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            worker_socket(folder, 3).touch()
        assert not folder.exists()

    def test_sockets_in_it_have_room_even_where_temporary_files_lie_deep(self, tmp_path, monkeypatch):
        deep = tmp_path / ("d" * 100)
        deep.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(deep))
        with private_folder() as folder, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(worker_socket(folder, 255)))


class TestChannel:
    def between(self, talk):
        async def play():
            async with asyncio.timeout(5):
                ours, theirs = socket.socketpair()
                return await talk(await Channel.over(ours), await Channel.over(theirs))

        return asyncio.run(play())

    def test_documents_arrive_in_order_and_then_the_end(self):
        async def talk(one, other):
            for document in ("stop", {"ready": {"port": 1}}, "ü\n"):
                one.send(document)
            await one.close()
            received = [await other.receive() for _ in range(4)]
            await other.close()
            return received

        assert self.between(talk) == ["stop", {"ready": {"port": 1}}, "ü\n", None]

    def test_half_a_document_is_none(self):
        async def talk(one, other):
            one._writer.write(b'{"ready"')
            await one.close()
            received = await other.receive()
            await other.close()
            return received

        assert self.between(talk) is None

    def test_sending_to_nobody_does_nothing(self):
        async def talk(one, other):
            await other.close()
            assert await one.receive() is None
            one.send("stop")
            one.send("stop")
            await one.close()

        self.between(talk)


class TestWorker:
    @pytest.mark.parametrize("order", ["stop", "hurry"])
    def test_one_that_reloads_hears_that_it_is_to_end(self, order, tmp_path, monkeypatch):
        async def play():
            began = asyncio.Event()

            async def reload(_self):
                began.set()
                await asyncio.Event().wait()

            monkeypatch.setattr(Service, "reload", reload)
            ours, theirs = socket.socketpair()
            channel = await Channel.over(ours)
            plan = Plan(
                index=0,
                count=2,
                source=str(written(tmp_path)),
                host="127.0.0.1",
                port=0,
                linger=0.0,
                folder=str(tmp_path),
                channel=theirs.detach(),
            )
            working = asyncio.create_task(work(plan))
            async with asyncio.timeout(20):
                assert "ready" in await channel.receive()
                channel.send("reload")
                await began.wait()
                channel.send(order)
                assert await channel.receive() == {"reloaded": False}
                code = await working
            await channel.close()
            return code

        assert asyncio.run(play()) == 0


def written(folder):
    file = folder / "apex-llm.json"
    file.write_text('{"providers": [{"name": "mock", "type": "mock"}], "gateway": {"health_interval": 0}}')
    return file
