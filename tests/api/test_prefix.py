"""api/prefix.py: the base URLs that people paste all lead to the one path of a route."""

from __future__ import annotations

import pytest

from serve_app.api.prefix import plain_path

FETCH = "/mj/task/1/fetch"


@pytest.mark.parametrize(
    ("path", "mode"),
    [
        (FETCH, None),
        ("/mj-fast" + FETCH, "fast"),
        ("/mj-relax" + FETCH, "relax"),
        ("/mj-turbo" + FETCH, "turbo"),
        ("/fast" + FETCH, "fast"),
        ("/relax" + FETCH, "relax"),
        ("/mj-turbo-relay" + FETCH, "turbo"),
        ("/mj-fast-origin" + FETCH, "fast"),
        ("/mj-relax-proxy" + FETCH, "relax"),
        ("/mj-proxy" + FETCH, None),
        ("/any_Segment-1" + FETCH, None),
        ("/" + FETCH, None),
        ("//mj-fast//mj//task//1/fetch", "fast"),
        ("/mj" + FETCH, None),
        ("/mj/mj" + FETCH, None),
        ("/mj/mj-fast" + FETCH, "fast"),
        ("/mj-fast/mj" + FETCH, "fast"),
        (FETCH + "/", None),
        ("/mj-turbo" + FETCH + "//", "turbo"),
    ],
)
def test_a_path_that_is_one_of_ours(path: str, mode: str | None) -> None:
    assert plain_path(path) == (FETCH, mode)


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("/", "/"),
        ("", ""),
        ("/health", "/health"),
        ("/health/", "/health"),
        ("//docs/", "/docs"),
        ("/mj", "/mj"),
        ("/mjx/task", "/mjx/task"),
        ("/a/b/mj/task/1/fetch", "/a/b/mj/task/1/fetch"),
        ("/mj/task/mj/fetch", "/mj/task/mj/fetch"),
        ("/mj-fast/insight-face/swap", "/mj-fast/insight-face/swap"),
        ("/快/mj/task/1/fetch", "/快/mj/task/1/fetch"),
    ],
)
def test_a_path_that_stays(path: str, plain: str) -> None:
    assert plain_path(path) == (plain, None)


def test_a_path_of_many_parts_takes_no_time() -> None:
    assert plain_path("/mj" * 20_000) == ("/mj", None)
    assert plain_path("/mj/mj-a" * 20_000)[1] is None
