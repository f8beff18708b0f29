"""What can go wrong, and whose fault it is. A refusal is not here: it is a value (`causes.Refusal`).

CallctlError
  PortError               a neighbour did not do its part; retryable
    SwitchUnavailable     the link to a switch is down, or an action timed out
    StoreUnavailable      Redis did not answer; the outcome of a take is unknown until it is repeated
    SinkUnavailable       a CDR sink did not accept a batch
  ConfigError             wrong key or value; names the place and what was expected
  DeckError               wrong row in a tariff deck; names the line
  UnknownCall             the call id was never seen, or was forgotten
  CallConflict            the id stands for something else already
  Contradiction           a definition contradicts another one; names the key at fault
  InvariantViolation      our own fault: something that must not be is
"""


class CallctlError(Exception):
    """Anything callctl raises on purpose."""


class PortError(CallctlError):
    """A neighbour (switch, store, sink) failed. The same request may be repeated."""


class SwitchUnavailable(PortError):
    """The switch cannot be reached or did not answer in time. Nothing is re-sent: decide afresh."""


class StoreUnavailable(PortError):
    """The store did not answer in time, or refuses writes. Repeating the same take is safe: it is idempotent."""


class SinkUnavailable(PortError):
    """The sink did not accept the batch. It stays in the outbox."""


class ConfigError(CallctlError):
    """A setting is wrong. `place` is the key or file; the message says what was expected."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place}: {message}")
        self.place = place


class DeckError(CallctlError):
    """A row of a deck is wrong. `line` counts from 1, the header included."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line


class InvariantViolation(CallctlError):
    """Something that must never be true is. Reported, never hidden."""


class UnknownCall(CallctlError):
    """No such call."""


class CallConflict(CallctlError):
    """The id stands for something else already, or an account with a call up was to change its root."""


class Contradiction(CallctlError, ValueError):
    """A definition contradicts another one, or names one that does not exist. `field` is its key at fault."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
