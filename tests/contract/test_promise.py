"""Promises: kept before or after somebody waits, heard in the turn in which they are kept."""

import asyncio
import contextlib
from typing import Any

import pytest

from callctl.errors import StoreUnavailable
from callctl.promise import Promise
from tests.waiting import until

FAILED = StoreUnavailable("away")


@pytest.fixture
def promise() -> Promise[Any]:
    return Promise()


@pytest.mark.parametrize("kept", ["kept", None, FAILED])
async def test_it_is_heard_in_the_turn_in_which_it_is_kept(promise, kept) -> None:
    heard: list[Any] = []
    promise.hear(heard.append)
    assert not heard
    promise.keep(kept)
    assert heard == [kept]


@pytest.mark.parametrize("kept", ["kept", None, FAILED])
async def test_kept_before_it_is_heard_it_is_told_in_the_next_turn(promise, kept) -> None:
    heard: list[Any] = []
    promise.keep(kept)
    promise.hear(heard.append)
    assert not heard
    await until(lambda: heard)
    assert heard == [kept]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("kept", ["kept", None])
async def test_it_is_awaited(promise, kept, first) -> None:
    if first:
        promise.keep(kept)
    else:
        asyncio.get_running_loop().call_soon(promise.keep, kept)
    assert await promise == kept


@pytest.mark.parametrize("first", [True, False])
async def test_what_went_wrong_is_raised(promise, first) -> None:
    if first:
        promise.keep(FAILED)
    else:
        asyncio.get_running_loop().call_soon(promise.keep, FAILED)
    with pytest.raises(StoreUnavailable, match="away"):
        await promise


async def test_a_fault_of_who_hears_it_does_not_reach_who_keeps_it(promise) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: told.append(fault))
    promise.hear(lambda kept: kept.missing)
    promise.keep("kept")
    assert [type(fault["exception"]) for fault in told] == [AttributeError]


async def test_it_is_given_up_by_who_is_cancelled(promise) -> None:
    waiting = asyncio.ensure_future(promise)
    await asyncio.sleep(0)
    assert not promise.given_up
    waiting.cancel()
    assert promise.given_up
    promise.keep("kept")
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    assert waiting.cancelled()
