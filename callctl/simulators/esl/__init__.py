"""A simulated FreeSWITCH: its event socket on a real port and scripted phone calls behind it.

`python -m callctl.simulators.esl` serves one for an integrator; tests and the demo use `EslSimulator`.
"""

from callctl.simulators.ended import EndedBy
from callctl.simulators.esl.call import HeardWarning, Outcome, Script, SimCall
from callctl.simulators.esl.core import Faults, Setup
from callctl.simulators.esl.server import User
from callctl.simulators.esl.simulator import EslSimulator

__all__ = ["EndedBy", "EslSimulator", "Faults", "HeardWarning", "Outcome", "Script", "Setup", "SimCall", "User"]
