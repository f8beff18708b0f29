"""Switches without SIP, sound or root, true to their protocols: for the tests, the demo and integrators."""
