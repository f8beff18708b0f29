"""The house rules of the simulated callctl: shorter waits than by default, so that a run meets their ends."""

from callctl.call.admission import Policy

POLICY = Policy(setup_timeout_s=60, longest_unattended_s=600, blind_s=60)
