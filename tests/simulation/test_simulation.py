"""Some hundred runs; SEEDS=n in the environment makes them more. `make simulate SEED=n` replays one."""

import os
import subprocess
import sys
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from callctl.call.events import Extended
from callctl.store.memory.store import MemoryStore
from tests.simulation.faults import Faults
from tests.simulation.world import simulate

SEEDS = int(os.environ.get("SEEDS", "300"))
CHUNK = 10
FOUND = (200_045, 200_127, 200_198, 200_520, 201_175, 201_461, 201_511, 300_248, 400_120)
"""Seeds that the auditor objected to once, rightly or wrongly."""


@pytest.mark.parametrize("seeds", [*(range(n, min(n + CHUNK, SEEDS)) for n in range(0, SEEDS, CHUNK)), FOUND], ids=str)
def test_the_auditor_has_no_objections(seeds: Sequence[int]) -> None:
    for seed in seeds:
        world = simulate(seed)
        objections = world.auditor.objections
        if objections:
            print(world.story.text())
        assert not objections, f"make simulate SEED={seed} replays this:\n" + "\n".join(objections)


def test_without_faults_every_call_that_was_answered_is_recorded_to_the_millisecond() -> None:
    world = simulate(2, faults=Faults())
    assert not world.auditor.objections
    answered = [call for call in world.calls.values() if call.answered_ms is not None]
    assert len(answered) > 5
    assert not any(call.harmed for call in answered)


def test_late_ends_correct_what_counts_against_thresholds() -> None:
    late = Faults(events_late=0.7, kills=4, kill_on_write=0.02, clients_silent=0.2, wall_steps=2)
    corrected = 0
    for seed in range(20):
        world = simulate(seed, faults=late)
        assert not world.auditor.objections, (seed, world.auditor.objections)
        corrected += world.auditor.thresholds.corrected
    assert corrected


def test_nothing_else_of_a_running_call_changes_than_what_is_saved_of_it(monkeypatch) -> None:
    extend, saved, unlike = MemoryStore.extend, [], []

    async def compared(store, extensions):
        answers = await extend(store, extensions)
        for extension, answer in zip(extensions, answers, strict=True):
            if isinstance(answer, Extended):
                asked, stored = extension.session, await store.by_trace(extension.session.trace_id)
                saved.append(stored)
                granted = replace(asked, granted_s=asked.wanted_s, sliced_ms=asked.asked_ms)
                passing = {name: getattr(asked, name) for name in ("wanted_s", "asked_ms", "tries", "busy")}
                if replace(stored, levels=asked.levels, version=asked.version, **passing) != granted:
                    unlike.append((granted, stored))
        return answers

    monkeypatch.setattr(MemoryStore, "extend", compared)
    for seed in range(20):
        simulate(seed)
    assert not unlike
    assert len(saved) > 100


def test_a_seed_tells_the_same_story_in_every_process() -> None:
    stories = [
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "71"],
            env={**os.environ, "PYTHONHASHSEED": str(number)},
            capture_output=True,
            check=True,
        ).stdout
        for number in (1, 2)
    ]
    assert b"callctl is killed" in stories[0]
    assert stories[0] == stories[1]
