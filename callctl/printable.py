"""Text from outside made safe to show: a caller name may carry anything, terminal commands included."""


def printable(text: str) -> str:
    r"""`text` with every character that does not print written out, as in "\x1b[2J"."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
