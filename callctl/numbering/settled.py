"""How much of a number a pattern of the library looks at.

Plans tell numbers apart by what they begin with: from the third to the eighth digit on, any will do.
"""

import re

TOKENS = re.compile(r"\\[dZ]|\[[^]]*\]|\d|\(\?[:=]|[(|)?]|\{\d+(?:,\d+)?\}")
"""What the patterns are made of: any digit, some digits, groups, what comes how often, and the end."""


def settled_by(pattern: str) -> int:
    """How many first digits settle whether, and by which group, it takes a number: those behind may be any.

    Of numbers of one length: a pattern that may be longer or shorter is one that ends where the number does.
    """
    settled = 0
    at = last = furthest = 0  # so many digits are read; before what was read last; by the longest alternative so far
    choosy = False  # whether that takes some digits only
    groups: list[tuple[str, int, int, int]] = []  # that are open: how; and what was known when they began
    for token in TOKENS.findall(f"(?:{pattern})"):
        if token.startswith("("):
            groups.append((token, at, furthest, settled))
            furthest, settled = at, 0
        elif token == "|":
            at, furthest = groups[-1][1], max(furthest, at)
        elif token == ")":
            end, choosy = max(furthest, at), settled > 0
            opened, last, furthest, before = groups.pop()
            at, settled = last if opened == "(?=" else end, max(settled, before)
        elif token.startswith(("{", "?")):
            most = 1 if token == "?" else int(token[1:-1].split(",")[-1])
            at = last + (at - last) * most
            settled = max(settled, at) if choosy else settled
        elif token != r"\Z":
            last, at, choosy = at, at + 1, token != r"\d"
            settled = max(settled, at) if choosy else settled
    return settled
