"""A simulated 3CX: its Call Control API, a part of XAPI, and its CDR socket on real sockets, with phones behind it.

`python -m callctl.simulators.threecx` serves one for an integrator; tests and the demo use `ThreeCxSimulator`.
"""

from callctl.simulators.threecx.calls import EndedBy, Far, Leg, SimCall
from callctl.simulators.threecx.setup import Faults, Setup
from callctl.simulators.threecx.simulator import ThreeCxSimulator

__all__ = ["EndedBy", "Far", "Faults", "Leg", "Setup", "SimCall", "ThreeCxSimulator"]
