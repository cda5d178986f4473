"""The real service as a process of its own: started with the `faceswap` command, stopped with Ctrl-C's signal."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from serve_app.deployments.ports import own_block

READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 60.0


@dataclass(slots=True)
class Service:
    base: str
    process: subprocess.Popen[str]
    started_in_s: float
    log: Path

    def stop(self) -> int:
        """Ask it to stop as Ctrl-C does, with SIGINT to the whole process group; its exit status."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise

    def logs(self) -> list[Path]:
        """The service's own log and those of every process of its Ray cluster, while it runs."""
        folders = Path(tempfile.gettempdir()).glob(f"faceswap-{self.process.pid}-*/session_2*/logs")
        return [self.log, *(path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file())]

    def troubles(self, lines: int = 20) -> str:
        """What to print when a test fails: the end of our log, and what Serve's controller and proxies warned of.

        "Starting proxy" more than once is a proxy that died; "unhealthy" before it says that Ray killed it.
        """
        parts = [f"exit status {self.process.poll()}"]
        for path in self.logs():
            text = path.read_text(errors="replace").splitlines() if path.exists() else []
            if path.parent.name == "serve":
                text = [line for line in text if line.startswith(("WARNING", "ERROR")) or "Starting proxy" in line or "unhealthy" in line]
            elif path != self.log:
                text = [line for line in text if re.search("Fatal Python error|Check failed|SIGABRT|SIGSEGV", line)]
            parts += [f"-- {path.name}", *(line[:300] for line in text[-lines:])] if text else []
        return "\n".join(parts)


_ports: list[int] = []


def free_port() -> int:
    """Free now, and given to no other caller: this process takes whole blocks, as each service of the machine does."""
    while True:
        if not _ports:
            _ports.extend(own_block())
        port = _ports.pop(0)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def serving(
    *arguments: str, environment: Mapping[str, str] | None = None, data: Path | None = None, port: int | None = None
) -> Iterator[Service]:
    """`faceswap serve`, from ready until the block ends. Without `data` and `port`: in a folder of its own, on a free port."""
    port = port or free_port()
    command = [str(Path(sys.executable).parent / "faceswap"), "serve", "--port", str(port), *arguments]
    with tempfile.TemporaryDirectory(prefix="faceswap-data-") as own:
        data = data or Path(own)
        log = data / "out.log"
        started = time.monotonic()
        with log.open("w") as out:
            process = subprocess.Popen(
                [*command, "--data", str(data)],
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        service = Service(f"http://127.0.0.1:{port}", process, 0.0, log)
        try:
            while "is ready on" not in log.read_text():
                if process.poll() is not None or time.monotonic() - started > READY_TIMEOUT_S:
                    raise RuntimeError(f"the service did not start:\n{log.read_text()}")
                time.sleep(0.05)
            service.started_in_s = time.monotonic() - started
            yield service
        finally:
            service.stop()
