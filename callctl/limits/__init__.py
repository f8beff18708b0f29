"""How much at once, how much a day, and where to: what a call takes of it, and what refuses. Pure."""
