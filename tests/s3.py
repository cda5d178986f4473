"""An S3 server of our own: SeaweedFS from a wheel, on free ports of the loopback, in a folder that goes with it."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from benchmarks.service import free_port

KEY, SECRET = "faceswap", "pa55 w/rd+secret"
BLIND_KEY = "blind"  # of who may not list; its secret is the same
BUCKET = "pictures"
_START_S = 60.0
_PORTS = ("master", "volume", "filer", "s3")  # each with a second one for gRPC


class S3:
    """Started by `start`, ended by `stop`; its ports and its data stay the same from one start to the next. All calls block.

    It honours conditional writes, as S3 does. A start takes some 3 s.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        """host: the address of this machine that it listens on."""
        self._host = host
        self._folder = Path(tempfile.mkdtemp(prefix="s3-"))
        (self._folder / "data").mkdir()
        self._numbers = itertools.count()
        self._ports = {f"{name}.port{kind}": free_port() for name in _PORTS for kind in ("", ".grpc")}
        self._process: subprocess.Popen[bytes] | None = None
        rights = {KEY: ["Admin", "Read", "Write", "List"], BLIND_KEY: ["Read", "Write"]}
        identities = [
            {"name": key, "credentials": [{"accessKey": key, "secretKey": SECRET}], "actions": may} for key, may in rights.items()
        ]
        (self._folder / "s3.json").write_text(json.dumps({"identities": identities}))

    @property
    def endpoint(self) -> str:
        return f"http://{self._host}:{self._ports['s3.port']}"

    @property
    def environment(self) -> dict[str, str]:
        """What the service finds its server and its credentials by."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def url(self, prefix: str | None = None) -> str:
        """s3://bucket/prefix; without a prefix one that nothing is under yet."""
        return f"s3://{BUCKET}/{f'test{next(self._numbers)}' if prefix is None else prefix}"

    def start(self) -> None:
        """Returns when it takes and gives pictures."""
        options = {
            "dir": self._folder / "data",
            "ip": self._host,
            "ip.bind": self._host,
            **self._ports,
            # Alone, it need not wait long for other masters.
            "master.electionTimeout": "500ms",
            "master.heartbeatInterval": "100ms",
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": "64",
            "master.volumePreallocate": "false",
            "volume.max": "64",
            "volume.minFreeSpace": "0",
            "volume.preStopSeconds": "0",
            "filer": "true",
            "filer.localSocket": self._folder / "filer.sock",
            "s3": "true",
            "s3.config": self._folder / "s3.json",
            "s3.iam": "false",
            "s3.localSocket": self._folder / "s3.sock",
            "s3.port.iceberg": "0",
            "s3.port.lance": "0",
        }
        command = [str(_binary()), "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in options.items())]
        with open(self._folder / "log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, env={"HOME": str(self._folder)})
        self._answers()

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """SIGKILL loses nothing that it took: the data is in files. With SIGTERM it takes 15 s to end."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """It takes connections and says nothing on them."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        os.waitpid(self._process.pid, os.WUNTRACED)  # its threads go on for a moment

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)
        for name in _PORTS:  # there is no option for where these are
            Path(f"/tmp/seaweedfs-{name}-grpc-{self._ports[f'{name}.port.grpc']}.sock").unlink(missing_ok=True)

    def store(self, prefix: str = "") -> S3Store:
        """What lies in the bucket, as others see it."""
        return S3Store(
            BUCKET,
            prefix=prefix,
            endpoint=self.endpoint,
            access_key_id=KEY,
            secret_access_key=SECRET,
            region="us-east-1",
            client_options={"allow_http": True, "timeout": "10s"},
            retry_config={"max_retries": 0, "retry_timeout": timedelta(seconds=10)},
        )

    def _answers(self) -> None:
        store, until = self.store(), time.monotonic() + _START_S
        while time.monotonic() < until:
            with suppress(BaseError, FileNotFoundError):
                obstore.put(store, "started", b"yes", use_multipart=False)  # also makes the bucket
                if bytes(obstore.get(store, "started").bytes()) == b"yes":
                    return
            assert self._process is not None
            assert self._process.poll() is None, (self._folder / "log").read_text()
            time.sleep(0.05)
        raise TimeoutError((self._folder / "log").read_text()[-5000:])


def _binary() -> Path:
    return Path(sysconfig.get_path("scripts")) / "weed"
