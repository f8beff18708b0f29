"""A simulated Asterisk: its manager interface on a real socket and scripted phone calls behind it.

`python -m callctl.simulators.ami` serves one for an integrator; tests and the demo use `AmiSimulator`.
"""

from callctl.simulators.ami.call import HeardWarning, Outcome, Script, SimCall
from callctl.simulators.ami.channel import ArmedLimit
from callctl.simulators.ami.exchange import Faults, Setup
from callctl.simulators.ami.server import User
from callctl.simulators.ami.simulator import AmiSimulator
from callctl.simulators.ended import EndedBy

__all__ = [
    "AmiSimulator",
    "ArmedLimit",
    "EndedBy",
    "Faults",
    "HeardWarning",
    "Outcome",
    "Script",
    "Setup",
    "SimCall",
    "User",
]
