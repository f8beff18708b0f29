"""What truly happens to each call: the fake switches write it, the auditor reads it."""

from dataclasses import dataclass, field

from callctl.call.events import CallKey
from tests.simulation.clock import VirtualLoop


class Story:
    """The readable log of a run: who, at what virtual time, did what."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.lines: list[tuple[int, str, tuple[object, ...]]] = []

    def tell(self, what: str, *about: object) -> None:
        self.lines.append((self._loop.now_ms, what, about))

    def text(self) -> str:
        return "\n".join(f"{ms / 1000:10.3f}  {what} {' '.join(map(str, about))}" for ms, what, about in self.lines)


@dataclass
class TrueCall:
    """A call as it is, in virtual ms. `harmed`: what went wrong for it, so that callctl cannot know everything.

    `granted_s`: what its switch has armed from the answer on; `longest_s`: the most that callctl ever held for.
    `told_...`: the wall ms that callctl was told, `heard_...` by which of its monotonic clocks and when, `kept_...`:
    the store or the journal has it too. `told_end_lives`: lives that heard the end and did not die of it.
    """

    key: CallKey
    account: str | None
    dialled: str
    attended: bool
    stated: bool
    emergency: bool = False
    offered_ms: list[int] = field(default_factory=list)
    decided: list[str] = field(default_factory=list)
    admitted_ms: int | None = None
    answered_ms: int | None = None
    ended_ms: int | None = None
    timer_ms: int | None = None
    granted_s: int = 0
    hang_up_asked: bool = False
    told_answer: int | None = None
    told_end: int | None = None
    told_end_lives: set[int] = field(default_factory=set)
    heard_answer: tuple[int, int] | None = None
    heard_end: tuple[int, int] | None = None
    kept_answer: bool = False
    kept_end: bool = False
    longest_s: int = 0
    harmed: set[str] = field(default_factory=set)

    def granted_until(self, seconds: int) -> None:
        self.longest_s = max(self.longest_s, seconds)

    @property
    def alive(self) -> bool:
        return self.admitted_ms is not None and self.ended_ms is None

    @property
    def lasted_ms(self) -> int:
        assert self.answered_ms is not None
        assert self.ended_ms is not None
        return self.ended_ms - self.answered_ms
