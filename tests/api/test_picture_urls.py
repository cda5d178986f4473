"""api/submission.py: pictures that come as URLs are fetched before the task is accepted, from where strangers may send us only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from serve_app.api.config import DefaultLimits
from serve_app.api.errors import Answer
from serve_app.egress.client import Egress
from tests.api.site import NAMES, Site
from tests.api.support import LEFT_OUT, SWAP, MakeService, Service, sample
from tests.egress.common import OUTSIDE, POLICY, Names, trap, website


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    files = {
        "/face.png": sample(5),
        "/target.jpg": sample(6, "JPEG"),
        "/page.html": b"<html>no</html>",
        "/large.png": sample(7) + bytes(9_000),
    }
    found = Site(0, files)
    async with website(found.answer) as port:
        found.port = port
        yield found


@pytest.fixture
async def service(make_service: MakeService) -> Service:
    limits = DefaultLimits(max_image_bytes=9_000)
    return await make_service(egress=Egress(POLICY, resolver=Names(NAMES)), limits=limits, picture_timeout_s=0.5)


async def refusal(service: Service, answer: Answer, member: str, url: str) -> str:
    """Submit this URL, expect this answer for it and that nothing was kept; returns the reason, which tells nothing private."""
    body = await service.submit(**{f"{member.removesuffix('Url')}Base64": LEFT_OUT, member: url})
    assert (body["code"], body["description"], body["result"]) == (answer.code, answer.description, None)
    assert body["properties"]["field"] == member
    assert service.rows() == len(service.stored()) == len(service.accepted) == 0
    reason = body["properties"]["reason"]
    assert isinstance(reason, str)
    for word in ("user", "pass", "token", "/face", "/gone"):
        assert word not in reason
    return reason


async def test_both_pictures_by_url(service: Service, site: Site) -> None:
    body = await service.submit(
        sourceBase64=LEFT_OUT, targetBase64="", sourceUrl=site.url(), targetUrl=f"  http://{OUTSIDE}:{site.port}/target.jpg\n"
    )
    assert body["code"] == 1
    assert await service.blobs.get_inputs(body["result"]) == (site.files["/face.png"], site.files["/target.jpg"])
    assert sorted(site.asked) == ["/face.png", "/target.jpg"]


async def test_further_pictures_by_url(service: Service, site: Site) -> None:
    sources = [{"url": site.url(), "target": 1}, {"url": site.url("/target.jpg"), "target": 2}]
    body = await service.submit(options={"faces": [0], "sources": sources})
    assert await service.blobs.get_more(body["result"]) == [site.files["/face.png"], site.files["/target.jpg"]]
    rows = service.rows()
    faults = {"/page.html": Answer.SOURCE_FORMAT, "/large.png": Answer.SOURCE_SIZE, "/gone": Answer.SOURCE_URL}
    for path, answer in faults.items():
        body = await service.submit(options={"faces": [0], "sources": [{"url": site.url(path), "target": 1}]})
        assert (body["description"], body["properties"]["field"]) == (answer.description, "options.sources.0.url")
        assert "`options.sources.0.base64`" in body["properties"]["reason"] or answer is not Answer.SOURCE_URL
    assert service.rows() == rows


@pytest.mark.parametrize("member", ["sourceUrl", "targetUrl"])
async def test_one_picture_by_url(service: Service, site: Site, member: str) -> None:
    side = member.removesuffix("Url")
    body = await service.submit(**{f"{side}Base64": None, member: site.url()})
    assert body["code"] == 1
    assert await service.blobs.get(f"inputs/{body['result']}/{side}") == site.files["/face.png"]


async def test_base64_goes_before_the_url(service: Service, site: Site) -> None:
    assert (await service.submit(sourceUrl=site.url(), targetUrl="ftp://nonsense"))["code"] == 1
    assert site.asked == []


async def test_a_redirect_is_followed(service: Service, site: Site) -> None:
    site.moved["/old"] = site.url()
    assert (await service.submit(sourceBase64="", sourceUrl=site.url("/old")))["code"] == 1
    assert site.asked == ["/old", "/face.png"]


@pytest.mark.parametrize("member", ["sourceUrl", "targetUrl"])
async def test_what_is_not_there(service: Service, site: Site, member: str) -> None:
    side = member.removesuffix("Url").upper()
    assert "answered HTTP 404" in await refusal(service, Answer[f"{side}_URL"], member, site.url("/gone.png"))


@pytest.mark.parametrize("member", ["sourceUrl", "targetUrl"])
async def test_what_is_no_picture(service: Service, site: Site, member: str) -> None:
    side = member.removesuffix("Url").upper()
    assert "HTML" in await refusal(service, Answer[f"{side}_FORMAT"], member, site.url("/page.html"))


@pytest.mark.parametrize("member", ["sourceUrl", "targetUrl"])
async def test_what_is_too_large(service: Service, site: Site, member: str) -> None:
    side = member.removesuffix("Url").upper()
    assert "larger than 9000 bytes" in await refusal(service, Answer[f"{side}_SIZE"], member, site.url("/large.png"))


async def test_what_never_ends(service: Service, site: Site) -> None:
    assert "longer than 0.5 s" in await refusal(service, Answer.SOURCE_URL, "sourceUrl", site.url("/slow.png"))


async def test_one_keys_slow_urls_are_bounded(service: Service, site: Site) -> None:
    slow = {"sourceBase64": "", "targetBase64": "", "sourceUrl": site.url("/slow.png?1"), "targetUrl": site.url("/slow.png?2")}
    answers = await asyncio.gather(*(service.client.post(SWAP, json=slow) for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] * 8 + [503] * 4, "16 pictures of a key at a time"
    assert {answer.json()["code"] for answer in answers} == {4, 23}
    assert (await service.submit(sourceUrl=site.url()))["code"] == 1, "pictures in the body wait for nobody"


async def test_a_server_that_is_not_there(service: Service, site: Site) -> None:
    assert "no address" in await refusal(service, Answer.SOURCE_URL, "sourceUrl", "http://nowhere.example/face.png")
    assert "does not accept connections" in await refusal(service, Answer.SOURCE_URL, "sourceUrl", f"http://{OUTSIDE}:9/face.png")


async def test_one_picture_at_two_urls(service: Service, site: Site) -> None:
    body = await service.submit(sourceBase64="", targetBase64="", sourceUrl=site.url(), targetUrl=site.url() + "&again=1")
    assert (body["code"], body["description"]) == (4, "人脸图片和目标图片不能相同")
    site.asked.clear()
    body = await service.submit(sourceBase64="", targetBase64="", sourceUrl=site.url(), targetUrl=site.url())
    assert (body["code"], body["description"]) == (4, "人脸图片和目标图片不能相同")
    assert site.asked == []
    assert service.rows() == len(service.stored()) == 0


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "inside.example", "both.example", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1", "127.1", "0.0.0.0"],
)
async def test_nothing_inside_is_called(service: Service, host: str) -> None:
    async with trap() as inside:
        reason = await refusal(service, Answer.TARGET_URL, "targetUrl", f"http://{host}:{inside.port}/face.png")
        assert inside.caught == 0
    assert "127.0.0.1" not in reason or host in ("127.0.0.1", "[::ffff:127.0.0.1]")


async def test_a_redirect_to_the_inside_is_not_followed(service: Service, site: Site) -> None:
    async with trap() as inside:
        site.moved["/old"] = f"http://127.0.0.1:{inside.port}/"
        assert "loopback" in await refusal(service, Answer.SOURCE_URL, "sourceUrl", site.url("/old"))
        assert inside.caught == 0


@pytest.mark.parametrize("host", ["169.254.169.254", "10.0.0.1", "192.168.1.1", "100.64.0.1", "[fe80::1]", "[fd00:ec2::254]", "224.0.0.1"])
async def test_networks_that_are_nobodys_business(service: Service, host: str) -> None:
    assert "are not called" in await refusal(service, Answer.SOURCE_URL, "sourceUrl", f"http://{host}/latest/meta-data/")


@pytest.mark.parametrize(
    "url",
    [
        "ftp://pictures.example/a.png",
        "file:///etc/passwd",
        "http://",
        "/a.png",
        "face.png",
        "http://a b/",
        "http://[bad/",
        "http://x/" + "a" * 2048,
    ],
)
async def test_what_is_no_url_of_a_picture(service: Service, url: str) -> None:
    assert "http or https URL" in await refusal(service, Answer.SOURCE_URL, "sourceUrl", url)


@pytest.mark.parametrize("side", ["source", "target"])
async def test_a_url_in_the_place_of_base64(service: Service, site: Site, side: str) -> None:
    body = await service.submit(**{f"{side}Base64": f" {site.url()}"})
    assert (body["code"], body["description"]) == (4, Answer[f"{side.upper()}_URL"].description)
    assert f"{side}Url" in body["properties"]["reason"]
    assert site.asked == []
