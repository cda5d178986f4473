"""What well-known clients of the contract do, each written from what it sends, reads and takes for the end. Only their pauses are shorter.

A client that would be confused raises Confused. Each ends with the picture as the client's user gets it.
"""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
from PIL import Image

from tests.pictures import data_url
from tests.service.client import send
from tests.service.contract.strict import RELAYED_TASK, SUBMITTED, array, decode, int64, string, struct

PAUSE_S = 0.1
JSON = {"Content-Type": "application/json", "Accept": "application/json"}
SWAP = "/mj/insight-face/swap"


class Confused(AssertionError):
    """The service did what this client cannot make sense of."""


class Failed(Exception):
    """The client told its user that there is no picture, and why."""


def opened(data: bytes) -> Image.Image:
    """All pixels are read, not only the header."""
    with Image.open(io.BytesIO(data)) as picture:
        picture.load()
        return picture


def downloaded(url: str, **headers: str) -> Image.Image:
    """The picture as anybody gets it, without a key."""
    answer = send("GET", url, headers=headers)
    if answer.status_code != 200 or not answer.headers["content-type"].startswith("image/"):
        raise Confused(f"no picture at {url}: {answer.status_code}")
    return opened(answer.content)


def rounds(most: int) -> Iterator[int]:
    """Turns of a polling loop, with a pause after each."""
    for turn in range(most):
        yield turn
        time.sleep(PAUSE_S)
    raise Confused(f"still no end after {most} looks")


@dataclass
class Row:
    """A task as a relay keeps it for the user who pays for it."""

    id: str
    progress: str = "0%"
    status: str = ""
    state: str = ""
    image_url: str = ""
    fail_reason: str = ""
    times: tuple[int, int, int] = (0, 0, 0)
    refunded: bool = False


class NewApi:
    """The relay new-api: passes submits on, and keeps its rows up to date with one list-by-condition for all that is unfinished."""

    poll_timeout_s = 15.0

    def __init__(self, base: str, key: str) -> None:
        self._base = base
        self._headers = {**JSON, "mj-api-secret": key}
        self.rows: dict[str, Row] = {}

    def relayed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What goes on to the service of a user's submit."""
        return {name: value for name, value in body.items() if name not in ("accountFilter", "notifyHook")}

    def submit(self, body: Mapping[str, Any]) -> Row:
        answer = send("POST", self._base + SWAP, headers=self._headers, json=self.relayed(body))
        said = decode(answer.content, SUBMITTED)
        if answer.status_code != 200 or said["code"] != 1:
            raise Failed(said["description"])  # not billed
        if not said["result"]:
            raise Confused("a billed task without an id")
        row = self.rows[said["result"]] = Row(said["result"])
        return row

    def poll(self) -> None:
        ids = [row.id for row in self.rows.values() if row.progress != "100%"]
        answer = send(
            "POST", self._base + "/mj/task/list-by-condition", headers=self._headers, json={"ids": ids}, timeout=self.poll_timeout_s
        )
        if answer.status_code != 200:
            raise Confused(f"status {answer.status_code}")
        for task in decode(answer.content, array(RELAYED_TASK)):
            if task["id"] not in ids:
                raise Confused(f"{task['id']} was not asked for: the relay dereferences nil")
            self._update(self.rows[task["id"]], task)

    def run(self) -> None:
        """Until every row has ended."""
        for _ in rounds(600):
            self.poll()
            if all(row.progress == "100%" for row in self.rows.values()):
                return

    def picture(self, row: Row) -> Image.Image:
        """The relay fetches it on its own server and hands it on."""
        return downloaded(row.image_url)

    def _update(self, row: Row, task: Mapping[str, Any]) -> None:
        row.progress, row.status, row.state = task["progress"], task["status"], task["state"]
        row.image_url, row.fail_reason = task["imageUrl"], task["failReason"]
        row.times = (task["submitTime"], task["startTime"], task["finishTime"])
        if (row.progress != "100%" and row.fail_reason) or (row.progress == "100%" and row.status == "FAILURE"):
            row.progress, row.refunded = "100%", True


class OneHub(NewApi):
    """The fork one-hub: always a mode of its own in accountFilter, and five seconds for each look."""

    poll_timeout_s = 5.0

    def relayed(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return {**super().relayed(body), "accountFilter": {"modes": ["FAST"]}}


_GEEK_TASK = struct(
    action=string,
    buttons=array(struct(customId=string, emoji=string, label=string, style=int64, type=int64)),
    description=string,
    failReason=string,
    finishTime=int64,
    id=string,
    imageUrl=string,
    progress=string,
    prompt=string,
    promptEn=string,
    properties=struct(),
    startTime=int64,
    state=string,
    status=string,
    submitTime=int64,
)


def geekai(base: str, key: str, source: bytes, target: bytes) -> Image.Image:
    """GeekAI: every picture is called a PNG, the submit has a mode prefix, the polling has none."""
    headers = {**JSON, "Authorization": f"Bearer {key}"}
    prefix = "data:image/png;base64,"
    body = {
        "sourceBase64": prefix + base64.b64encode(source).decode(),
        "targetBase64": prefix + base64.b64encode(target).decode(),
        "accountFilter": {"instanceId": ""},
        "state": "",
    }
    answer = send("POST", f"{base}/mj-fast{SWAP}", headers=headers, json=body)
    if answer.status_code != 200:
        raise Failed(answer.text)
    said = decode(answer.content, struct(code=int64, description=string, properties=struct(), result=string))
    if said["code"] not in (1, 22):
        raise Failed(said["description"])
    for _ in rounds(600):
        answer = send("GET", f"{base}/mj/task/{said['result']}/fetch", headers=headers)
        if answer.status_code != 200:
            raise Confused(answer.text)
        task = decode(answer.content, _GEEK_TASK)
        if task["failReason"]:
            raise Failed(task["failReason"])
        if int(task["progress"].replace("%", "")) >= 100:
            return downloaded(task["imageUrl"])
    raise AssertionError


def comfly(base: str, key: str, source: bytes, target: bytes) -> Image.Image:
    """The Comfly node, in Python: 300 s in all, the failure's reason in snake case."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    body = {"sourceBase64": as_png(source), "targetBase64": as_png(target), "seed": 7}
    until = time.monotonic() + 300
    answer = send("POST", base + SWAP, headers=headers, json=body)
    if answer.status_code != 200:
        raise Failed(answer.text)
    if "result" not in (said := answer.json()):
        raise Failed(str(said))
    while time.monotonic() < until:
        answer = send("GET", f"{base}/mj/task/{said['result']}/fetch", headers=headers)
        answer.raise_for_status()
        task = answer.json()
        int(task.get("progress", "0%").rstrip("%") or 0)
        if task.get("status") == "SUCCESS":
            return downloaded(task.get("imageUrl") or task.get("image_url") or task.get("url"))
        if task.get("status") == "FAILURE":
            raise Failed(task.get("fail_reason", "Unknown failure"))
        time.sleep(PAUSE_S)
    raise Failed("timeout")


def as_png(picture: bytes) -> str:
    out = io.BytesIO()
    opened(picture).save(out, "PNG")
    return data_url(out.getvalue())


CHATNIO_ANSWER = b'{"status":true}'
_CHATNIO_CALL = struct(id=string, action=string, status=string, imageUrl=string, failReason=string, progress=string)


class ChatNio:
    """ChatNio never asks: it submits with a hook, and believes what the hook hears."""

    def __init__(self, base: str, key: str) -> None:
        self._base = base
        self._headers = {"Content-Type": "application/json", "mj-api-secret": key}

    def submit(self, source: bytes, target: bytes, hook: str) -> str:
        body = {"sourceBase64": data_url(source), "targetBase64": data_url(target), "notifyHook": hook}
        said = decode(send("POST", self._base + SWAP, headers=self._headers, json=body).content, SUBMITTED)
        if said["code"] not in (1, 21, 22):
            raise Failed(said["description"])
        return str(said["result"])

    def picture(self, task: str, calls: list[bytes]) -> Image.Image:
        """From what its hook heard."""
        for call in (decode(data, _CHATNIO_CALL) for data in calls):
            if call["id"] != task or call["status"] not in ("IN_PROGRESS", "SUCCESS", "FAILURE"):
                continue
            if call["status"] == "FAILURE":
                raise Failed(call["failReason"])
            if call["status"] == "SUCCESS":
                return downloaded(call["imageUrl"])
        raise Confused("the hook never heard of an end")


@dataclass
class PlusPage:
    """The admin page of Midjourney-Proxy-Plus: watches what it submitted by list-by-ids; what is not in the answer is watched no more."""

    base: str
    key: str
    watched: dict[str, dict[str, Any]] = field(default_factory=dict)

    def submit(self, source: bytes, target: bytes) -> str:
        body = {"sourceBase64": data_url(source), "targetBase64": data_url(target), "state": "midjourney-proxy-admin"}
        said = self._post(SWAP, body)
        if said["code"] != 1:
            raise Failed(said["description"])
        self.watched[said["result"]] = {}
        return str(said["result"])

    def watch(self) -> dict[str, dict[str, Any]]:
        """Until everything has ended; all of it as it was last shown."""
        shown: dict[str, dict[str, Any]] = {}
        for _ in rounds(600):
            tasks = self._post("/mj/task/list-by-ids", {"ids": list(self.watched)})
            self.watched = {task["id"]: task for task in tasks}
            shown |= {task["id"]: self._card(task) for task in tasks}
            if all(task["status"] in ("SUCCESS", "FAILURE", "CANCEL") for task in tasks):
                return shown
        raise AssertionError

    def _card(self, task: dict[str, Any]) -> dict[str, Any]:
        """What the page draws; a member that is missing is an exception in the browser."""
        displays, properties = task["displays"], task["properties"]
        swap = properties["botType"] == "INSIGHT_FACE"
        return {
            "buttons": [button["label"] for button in task["buttons"]],
            "title": [displays[name] for name in ("status", "submitTime", "discordInstanceId", "action")],
            "cancellable": displays["action"] != "SWAP_FACE",
            "swap": swap,
            **{name: task[name] for name in ("status", "description", "progress", "imageUrl", "failReason", "state")},
        }

    def _post(self, path: str, body: object) -> Any:
        answer = send("POST", self.base + path, headers={**JSON, "mj-api-secret": self.key}, json=body)
        if answer.status_code != 200:
            raise Confused(answer.text)
        return answer.json()


class Browser:
    """A page of another origin: nothing is sent or read that CORS does not allow."""

    def __init__(self, origin: str = "https://chat.example") -> None:
        self.origin = origin

    def fetch(self, method: str, url: str, headers: Mapping[str, str], body: object = None) -> httpx2.Response:
        asked = sorted(name.lower() for name in headers)
        preflight = send(
            "OPTIONS",
            url,
            headers={
                "Origin": self.origin,
                "Access-Control-Request-Method": method,
                "Access-Control-Request-Headers": ",".join(asked),
            },
        )
        allowed = [name.strip().lower() for name in preflight.headers.get("access-control-allow-headers", "").split(",")]
        methods = [name.strip() for name in preflight.headers.get("access-control-allow-methods", "").split(",")]
        if not preflight.is_success or not set(asked) <= set(allowed) or method not in [*methods, "GET", "POST"]:
            raise Confused(f"the preflight allows {allowed} and {methods}")
        self._shared(preflight)
        data = None if body is None else json.dumps(body).encode()
        return self._shared(send(method, url, headers={"Origin": self.origin, **headers}, content=data))

    def image(self, url: str) -> Image.Image:
        """<img crossorigin="anonymous">: no key, no preflight."""
        answer = self._shared(send("GET", url, headers={"Origin": self.origin}))
        if answer.status_code != 200:
            raise Confused(f"no picture at {url}: {answer.status_code}")
        return opened(answer.content)

    def _shared(self, answer: httpx2.Response) -> httpx2.Response:
        if answer.headers.get_list("access-control-allow-origin") not in (["*"], [self.origin]):
            raise Confused(f"{answer.request.url} is not for {self.origin}")
        return answer


class WebProxy:
    """chatgpt-web-midjourney-proxy, which runs in the browser."""

    def __init__(self, base: str, key: str) -> None:
        self._base, self._key, self._browser = base, key, Browser()

    def swap(self, source: bytes, target: bytes) -> Image.Image:
        """Raises Failed with what the page would print."""
        said = self._fetch("POST", SWAP, {"sourceBase64": data_url(source, "image/jpeg"), "targetBase64": data_url(target, "image/jpeg")})
        if said["code"] == 21:
            raise Confused("the page opens a dialog of another command")
        if said["code"] not in (1, 22):
            raise Failed(json.dumps(said, ensure_ascii=False))
        for _ in rounds(600):
            task = self._fetch("GET", f"/mj/task/{said['result']}/fetch")
            if task["status"] == "FAILURE":
                raise Failed(task["failReason"])
            if task["status"] == "SUCCESS":
                return self._drawn(task)
        raise AssertionError

    def _drawn(self, task: Mapping[str, Any]) -> Image.Image:
        """In JavaScript an empty list is true, and the page would then draw a gallery of nothing; without buttons it invents some."""
        if any(task.get(name) is not None for name in ("videoUrls", "imageUrls")) or task["buttons"] != []:
            raise Confused("the page draws something else than the picture")
        if task["progress"] != "100%":
            raise Confused("the page still says that it is loading")
        return self._browser.image(task["imageUrl"])

    def _fetch(self, method: str, path: str, body: object = None) -> Any:
        headers = {"Content-Type": "application/json", "mj-api-secret": self._key}
        answer = self._browser.fetch(method, self._base + path, headers, body)
        try:
            said = answer.json()
        except ValueError:
            raise Failed("json_error") from None
        if not answer.is_success:
            raise Failed(said.get("error") or said)
        return said
