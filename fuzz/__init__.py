"""Every parser of what others send, under a fuzzer that sees which code an input reaches (atheris, libFuzzer).

`make fuzz` runs each check of `targets` for a while; the same checks run under hypothesis with every test run.
"""
