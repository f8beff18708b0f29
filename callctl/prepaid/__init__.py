"""Credit that is held before it is spent."""
