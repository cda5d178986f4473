"""api/rate.py: who asks too often is told when to come again, and nobody else notices."""

from __future__ import annotations

import pytest

from serve_app.api import rate
from serve_app.api.config import DefaultRates
from serve_app.api.errors import Answer, ApiError
from serve_app.api.rate import Rates
from serve_app.settings import CurrentRates, Settings, change


async def refused(awaitable: object) -> ApiError:
    with pytest.raises(ApiError) as caught:
        # Any awaitable; typed object so that a test need not name which.
        await awaitable  # type: ignore[misc]
    assert caught.value.answer is Answer.RATE_LIMITED
    assert 1 <= int(caught.value.headers["Retry-After"]) <= 86_400
    return caught.value


async def test_submits_of_an_address() -> None:
    rates = Rates(DefaultRates(submits_per_address="3/day"))
    for _ in range(3):
        await rates.submit("", "1.2.3.4")
    error = await refused(rates.submit("", "1.2.3.4"))
    assert error.reason == "Too many submits from your address: the limit is 3 per 1 day. Try again later."
    await rates.submit("", "1.2.3.5")


async def test_submits_of_a_key_from_wherever() -> None:
    rates = Rates(DefaultRates(submits_per_key="3/day"))
    for number in range(3):
        await rates.submit("one", f"1.2.3.{number}")
    assert "with this key" in str((await refused(rates.submit("one", "9.9.9.9"))).reason)
    await rates.submit("two", "1.2.3.1")


async def test_a_limit_changes_while_it_is_counted() -> None:
    now = CurrentRates(submits_per_address="1/day")
    rates = Rates(now)
    await rates.submit("", "1.2.3.4")
    await refused(rates.submit("", "1.2.3.4"))
    change(now, Settings().rates)
    await rates.submit("", "1.2.3.4")
    now.submits_per_address = "1/day"
    await refused(rates.submit("", "1.2.3.4"))


async def test_no_limit_is_none() -> None:
    rates = Rates(DefaultRates(None, None, None))
    for _ in range(100):
        await rates.submit("one", "1.2.3.4")
        await rates.wrong("1.2.3.4", b"wrong")
    await rates.may_try("1.2.3.4", b"guess")


async def test_keys_cannot_be_guessed() -> None:
    rates = Rates(DefaultRates(wrong_keys="3/day"))
    for number in range(3):
        await rates.may_try("1.2.3.4", b"guess %d" % number)
        await rates.wrong("1.2.3.4", b"guess %d" % number)
    await refused(rates.may_try("1.2.3.4", b"the right one"))
    await refused(rates.wrong("1.2.3.4", b"one more"))
    await rates.may_try("1.2.3.5", b"the right one")


async def test_a_wrong_key_does_not_lock_out_a_right_one_of_the_same_address() -> None:
    rates = Rates(DefaultRates(wrong_keys="1/day"))
    rates.right("1.2.3.4", b"right")
    await rates.wrong("1.2.3.4", b"wrong")
    await rates.may_try("1.2.3.4", b"right")
    assert await rates.may_try("1.2.3.4", b"of another service", b"right") == [b"right"]  # a right key does not carry guesses
    await refused(rates.may_try("1.2.3.4", b"another"))
    rates.right("1.2.3.5", b"another")
    await refused(rates.may_try("1.2.3.4", b"another"))  # what is right elsewhere tells nothing here


async def test_very_many_addresses_take_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "_MAX_COUNTED", 50)
    monkeypatch.setattr(rate, "_MAX_KNOWN", 50)
    rates = Rates(DefaultRates(submits_per_key="1/day"))
    await rates.submit("one", "0")
    for number in range(500):
        await rates.submit("", str(number))
        rates.right(str(number), b"right")
    assert len(rates._addresses._storage.storage) <= 51
    assert len(rates._known) == 50
    await refused(rates.submit("one", "x"))  # keys are counted apart: strangers cannot make them forgotten


async def test_the_same_wrong_key_again_is_no_guess() -> None:
    rates = Rates(DefaultRates(wrong_keys="2/day"))
    for _ in range(50):  # a client that shows another service's key beside ours, or an old one, with each poll
        await rates.wrong("1.2.3.4", b"stale")
    assert await rates.may_try("1.2.3.4", b"new") == [b"new"]


async def test_who_shows_no_key_is_not_refused_for_the_wrong_keys_of_others() -> None:
    rates = Rates(DefaultRates(wrong_keys="1/day"))
    await rates.wrong("1.2.3.4", b"wrong")
    assert await rates.may_try("1.2.3.4") == []


async def test_a_key_over_its_limit_takes_nothing_from_its_neighbours() -> None:
    rates = Rates(DefaultRates(submits_per_key="2/day", submits_per_address="5/day"))
    for _ in range(2):
        await rates.submit("noisy", "1.2.3.4")
    for _ in range(8):
        await refused(rates.submit("noisy", "1.2.3.4"))
    await rates.submit("quiet", "1.2.3.4")
