"""An S3 server for tests, on this machine alone: Ceph's gateway over a store in memory.

The Debian packages radosgw, ceph-mon and ceph-osd are all it needs. One monitor, one storage daemon
whose bytes are gone with it, one gateway; none asks the others who they are, all are bound to
127.0.0.1 and die with the process that started them.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

ACCESS_KEY, SECRET_KEY = "testkey", "testsecret-CANARY"
BUCKET = "lake"
_NEEDED = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "monmaptool", "setpriv")
_START_SECONDS = 90

_CONFIGURATION = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
auth supported = none
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
mon allow pool size one = true
osd crush chooseleaf type = 0
osd objectstore = memstore
memstore device bytes = 2147483648
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
mon data = {folder}/mon
osd data = {folder}/osd
osd class load list = *
osd class default list = *
mon data avail crit = 1
mon data avail warn = 2
ms bind ipv6 = false
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw data = {folder}/rgw
ms mon client mode = crc
ms client mode = crc
auth client required = none
"""


def missing() -> str | None:
    """Why there can be no server here, or None."""
    lacking = [name for name in _NEEDED if shutil.which(name) is None]
    if not lacking:
        return None
    return f"needs {', '.join(lacking)}: apt-get install radosgw ceph-mon ceph-osd"


class StoreServer:
    """A running server with one bucket."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port, v2, v1 = _free_ports(3)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        # Daemons die with the thread that started them, so it must be one that stays.
        self._starter = ThreadPoolExecutor(max_workers=1)
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("mon", "osd", "rgw"):
            (folder / name).mkdir(parents=True)
        text = _CONFIGURATION.format(fsid=uuid.uuid4(), v2=v2, v1=v1, folder=folder, port=self.port)
        (folder / "ceph.conf").write_text(text)
        self._begin(f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]", text.split()[3])

    def _begin(self, monitors: str, fsid: str) -> None:
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", monitors, "monmap")
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap")
        self._start("ceph-mon", "-i", "a")
        disk = str(uuid.uuid4())
        self._run("ceph", "osd", "new", disk)
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", disk)
        self._start("ceph-osd", "-i", "0")
        self._start("radosgw", "-n", "client.rgw")
        self._run(
            *("radosgw-admin", "-n", "client.rgw", "user", "create", "--uid=t"),
            *("--display-name=t", f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}"),
        )
        self._wait()
        self._make_bucket()

    def stop_gateway(self) -> None:
        """The server is gone, in the middle of whatever it did; what was stored stays."""
        self._daemons["radosgw"].kill()
        self._daemons["radosgw"].wait()

    def start_gateway(self) -> None:
        """The server is back."""
        self._start("radosgw", "-n", "client.rgw")
        self._wait()

    def close(self) -> None:
        """End all of it."""
        for daemon in self._daemons.values():
            daemon.kill()
            daemon.wait()
        self._starter.shutdown()

    def environment(self) -> dict[str, str]:
        """What a client must be told."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
        }

    def _make_bucket(self) -> None:
        import obstore
        from obstore.store import S3Store

        store = S3Store(
            BUCKET,
            config={
                "access_key_id": ACCESS_KEY,
                "secret_access_key": SECRET_KEY,
                "endpoint": self.endpoint,
            },
            client_options={"allow_http": True},
        )
        url = obstore.sign(store, "PUT", "", timedelta(minutes=5))
        urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=60).close()

    def _run(self, *words: str) -> None:
        with (self.folder / "commands.log").open("ab") as log:
            subprocess.run(
                [words[0], "-c", "ceph.conf", *words[1:]] if words[0] != "monmaptool" else words,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=_START_SECONDS,
                check=True,
            )

    def _start(self, *words: str) -> None:
        command = ["setpriv", "--pdeathsig", "KILL", words[0], "-c", "ceph.conf", *words[1:], "-f"]
        with (self.folder / f"{words[0]}.out").open("ab") as log:
            started = self._starter.submit(
                subprocess.Popen,
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
            self._daemons[words[0]] = started.result()

    def _wait(self) -> None:
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            try:
                urllib.request.urlopen(self.endpoint, timeout=5).close()
            except urllib.error.HTTPError:
                return
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise TimeoutError(f"no S3 server after {_START_SECONDS} s; see {self.folder}")


def _free_ports(count: int) -> list[int]:
    with closing(socket.socket()) as one, closing(socket.socket()) as two:
        sockets = [one, two, socket.socket()][:count]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        ports = [int(each.getsockname()[1]) for each in sockets]
        sockets[-1].close()
    return ports
