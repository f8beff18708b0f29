"""One room per kind of switch: a pure translator, and the switch itself. They know nothing of money.

`line` is what their links have in common, `switch_time` how far a switch's clock is from ours.
"""
