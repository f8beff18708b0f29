"""Tokens, requests and the websocket of `ThreeCxLink`, over the simulated 3CX."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from callctl.adapters.threecx.calls import Mode
from callctl.adapters.threecx.link import NotDone, ThreeCxLink, Unanswered, path_of
from callctl.adapters.threecx.tokens import CredentialsRefused, Grant, Tokens
from callctl.clock import Instant, SystemClock
from callctl.errors import SwitchUnavailable
from callctl.ports import Clock
from callctl.simulators.threecx import Setup, ThreeCxSimulator
from tests.certificates import certify
from tests.patient import PatientClock
from tests.threecx_desk import NUMBER, SOON, at, laid
from tests.waiting import until


class HandClock(SystemClock):
    """Stands until it is moved."""

    ms = 0

    def now(self) -> Instant:
        return Instant(self.ms, self.ms)


@asynccontextmanager
async def linked(
    simulator: ThreeCxSimulator, secret: str = "secret", clock: Clock | None = None
) -> AsyncIterator[ThreeCxLink]:
    clock = clock or PatientClock()
    link = ThreeCxLink(simulator.url, simulator.setup.client_id, secret, clock=clock, times=SOON)
    await link.open()
    try:
        yield link
    finally:
        await link.close()


@pytest.fixture
async def simulator() -> AsyncIterator[ThreeCxSimulator]:
    async with ThreeCxSimulator(clock=PatientClock()) as simulator:
        yield simulator


# -------------------------------------------------------------------- tokens


async def test_a_hundred_requests_at_once_ask_for_one_token(simulator: ThreeCxSimulator) -> None:
    async with linked(simulator) as link:
        await asyncio.gather(*(link.get(path_of()) for _ in range(100)))
    assert (simulator.doorkeeper.issued, link.counts.tokens) == (1, 1)


@pytest.mark.parametrize("unit", ["seconds", "minutes"])
@pytest.mark.parametrize("opaque", [True, False])
async def test_a_token_is_renewed_before_it_runs_out(unit: str, opaque: bool) -> None:
    """Of 60 minutes: when 59 are over, not before; `expires_in` is 60 or 3600."""
    clock = HandClock()
    async with ThreeCxSimulator(clock=clock) as simulator:
        simulator.faults.expires_in_unit, simulator.faults.opaque_token = unit, opaque  # type: ignore[assignment]
        async with linked(simulator, clock=clock) as link:
            for after_s, issued in ((0, 1), (59 * 60 - 1, 1), (59 * 60, 2)):
                clock.ms = after_s * 1_000
                await link.get(path_of())
                assert simulator.doorkeeper.issued == issued
            assert link.counts.superseded == 0


async def test_a_token_that_was_superseded_is_replaced_once_and_counted(simulator: ThreeCxSimulator) -> None:
    async with linked(simulator) as link:
        await link.get(path_of())
        simulator.doorkeeper.supersede()
        await asyncio.gather(*(link.get(path_of()) for _ in range(50)))
    assert simulator.doorkeeper.issued == 3
    assert link.counts.superseded == 1


async def test_a_request_that_stays_unauthorized_is_not_tried_for_ever(simulator: ThreeCxSimulator) -> None:
    async with linked(simulator) as link:
        simulator.faults.unauthorized = 99
        with pytest.raises(NotDone, match="401"):
            await link.get(path_of())
        assert simulator.faults.unauthorized == 97


@pytest.mark.parametrize("status", [400, 401])
async def test_wrong_credentials_are_told_and_not_tried_at_every_request(
    simulator: ThreeCxSimulator, status: int
) -> None:
    simulator.faults.bad_client_status = status  # type: ignore[assignment]
    async with linked(simulator, "wrong") as link:
        for _ in range(5):
            with pytest.raises(CredentialsRefused, match=f"{status} Client authentication failed"):
                await link.get(path_of())
        assert link.counts.tokens == 1


async def test_who_is_refused_a_token_asks_again_after_ever_longer_pauses() -> None:
    """A PBX that is starting refuses for a moment; but 3CX bars whoever goes on guessing."""
    clock = HandClock()
    asked_s: list[int] = []

    async def ask() -> Grant:
        asked_s.append(clock.ms // 1_000)
        if clock.ms < 300_000:
            raise CredentialsRefused("no token: 400")
        return Grant("token", 0)

    tokens = Tokens(ask, clock)
    for clock.ms in range(0, 400_000, 500):
        with contextlib.suppress(CredentialsRefused):
            await tokens.current()
    assert asked_s == [0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303]


@pytest.mark.parametrize(
    "fault", [{"include_refresh_token": True}, {"accept_multipart": False}, {"opaque_token": True}]
)
async def test_tokens_of_every_kind_are_taken(simulator: ThreeCxSimulator, fault: dict[str, bool]) -> None:
    for name, value in fault.items():
        setattr(simulator.faults, name, value)
    async with linked(simulator) as link:
        assert isinstance(await link.get(path_of()), list)


async def test_no_secret_and_no_token_is_logged() -> None:
    with capture_logs() as logs:
        async with laid() as desk:
            token = await desk.switch._link.tokens.current()
            desk.simulator.doorkeeper.supersede()
            desk.simulator.phone_dials("112", NUMBER)
            await desk.offered()
            await desk.simulator.drop_websockets()
            await until(lambda: desk.relinked == 2)
        async with ThreeCxSimulator(clock=PatientClock()) as other, at(other, secret="very secret indeed") as refused:
            await until(lambda: "no token" in refused.switch.state().detail)
    assert logs
    assert token not in str(logs)
    assert "very secret" not in str(logs)


async def test_a_websocket_that_is_up_outlives_its_token(simulator: ThreeCxSimulator) -> None:
    async with at(simulator) as desk:
        await until(lambda: desk.relinked)
        simulator.doorkeeper.supersede()
        simulator.phone_dials("112", NUMBER)
        await desk.offered()
        assert desk.switch.counts.connections == 1


async def test_a_websocket_with_a_stale_token_gets_a_new_one(simulator: ThreeCxSimulator) -> None:
    async with at(simulator) as desk:
        await until(lambda: desk.relinked)
        simulator.doorkeeper.supersede()
        await simulator.drop_websockets()
        await until(lambda: desk.relinked == 2)


async def test_a_websocket_that_was_up_for_a_while_is_made_again_at_once(simulator: ThreeCxSimulator) -> None:
    """However often that was: while nobody listens, nobody refuses."""
    times = replace(SOON, retry_first_ms=10, retry_longest_ms=60_000)
    async with at(simulator, times=times) as desk:
        for nth in range(1, 12):
            await until(lambda nth=nth: desk.relinked == nth)
            began_s = time.monotonic()
            await until(lambda began_s=began_s: time.monotonic() - began_s > 2 * times.retry_first_ms / 1_000)
            await simulator.drop_websockets()
        assert desk.switch.counts.connections == 11


async def test_a_websocket_with_a_stale_token_is_not_waited_for(simulator: ThreeCxSimulator) -> None:
    async with at(simulator, times=replace(SOON, retry_first_ms=60_000)) as desk:
        simulator.faults.unauthorized = 1
        await until(lambda: desk.relinked)


async def test_a_question_before_the_start_does_not_delay_it(simulator: ThreeCxSimulator) -> None:
    link = ThreeCxLink(simulator.url, "900", "secret", clock=PatientClock(), times=SOON)
    with pytest.raises(SwitchUnavailable):
        await link.get(path_of())
    await link.open()
    await link.get(path_of())
    await link.close()


async def test_wrong_credentials_show_in_the_state(simulator: ThreeCxSimulator) -> None:
    async with at(simulator, secret="wrong") as desk:
        await until(lambda: "401" in desk.switch.state().detail)
        assert not desk.switch.state().up
        assert desk.relinked == 0


# -------------------------------------------------------------------- requests


async def test_nobody_there_is_unanswered() -> None:
    async with ThreeCxSimulator(clock=PatientClock()) as simulator, linked(simulator) as link:
        await simulator.stop_listening()
        with pytest.raises(Unanswered):
            await link.get(path_of())


async def test_no_answer_in_time_is_unanswered(simulator: ThreeCxSimulator) -> None:
    call = simulator.phone_dials("112", NUMBER)
    assert call is not None
    async with linked(simulator) as link:
        simulator.faults.reply_delay_ms = 10_000
        with pytest.raises(Unanswered):
            await link.post(path_of("112", "participants", str(call.caller.id), "drop"), None)
        assert call.ended is not None  # it was done all the same


async def test_a_link_that_does_not_run_is_unavailable() -> None:
    link = ThreeCxLink("http://127.0.0.1:1", "900", "secret", clock=PatientClock(), times=SOON)
    with pytest.raises(SwitchUnavailable):
        await link.get(path_of())


async def test_paths_are_encoded() -> None:
    assert (
        path_of("900", "devices", "sip:900@127.0.0.1:5483") == "/callcontrol/900/devices/sip%3A900%40127.0.0.1%3A5483"
    )
    assert path_of("../x", "a/b") == "/callcontrol/..%2Fx/a%2Fb"


async def test_the_simulator_is_a_3cx_to_whoever_asks(simulator: ThreeCxSimulator) -> None:
    """Bodies and statuses of the endpoints that callctl itself does not use."""
    async with linked(simulator) as link:
        (device,) = await link.get(path_of("900", "devices"))
        assert await link.get(path_of("900", "devices", device["device_id"])) == device
        for path, status in [
            (path_of("115"), 403), (path_of("999"), 404), (path_of("900", "devices", "sip:x"), 404),
            (path_of("900", "participants", "77"), 404),
        ]:  # fmt: skip
            with pytest.raises(NotDone) as refused:
                await link.get(path)
            assert refused.value.status == status
        made = await link.post(path_of("900", "devices", device["device_id"], "makecall"), {"destination": "112"})
        assert (made["finalstatus"], made["result"]["status"]) == ("Success", "Dialing")
        leg = path_of("112", "participants", str(made["result"]["id"] + 1))
        for action, body, status in [
            ("answer", {}, 422), ("divert", {}, 400), ("transferto", {"destination": "113"}, 422), ("dance", {}, 404),
            ("stream", {}, 424),
        ]:  # fmt: skip
            with pytest.raises(NotDone) as refused:
                await link.post(f"{leg}/{action}", body)
            assert refused.value.status == status, action
        assert (await link.post(f"{leg}/divert", {"destination": "113"}))["finalstatus"] == "Success"
        assert [it["dn"] for it in await link.get(path_of("113", "participants"))] == ["113"]


async def test_beyond_its_licence_the_simulator_has_no_channel() -> None:
    async with ThreeCxSimulator(Setup(sim_calls=1)) as simulator, linked(simulator) as link:
        assert simulator.phone_dials("112", NUMBER) is not None
        assert simulator.phone_dials("113", NUMBER) is None
        told = await link.post(path_of("900", "makecall"), {"destination": "113"})
        assert (told["finalstatus"], told["reasontext"]) == ("Failed", "No free channels")
        simulator.faults.refuse_by_removal = True
        told = await link.post(path_of("900", "makecall"), {"destination": "113"})
        assert told["finalstatus"] == "Success"
        assert await link.get(path_of("900", "participants")) == []


# -------------------------------------------------------------------- TLS


async def test_over_tls_with_the_authority_that_was_named(tmp_path: Path) -> None:
    certificate, key = certify(tmp_path, "pbx")
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(certificate, key)
    trusting = ssl.create_default_context(cafile=certificate)
    async with ThreeCxSimulator(tls=server) as simulator:
        async with at(simulator, tls=trusting) as desk:
            await until(lambda: desk.relinked)
        async with at(simulator, Mode.OBSERVE) as distrustful:
            await until(lambda: "certificate" in distrustful.switch.state().detail.lower())
