"""The `callctl` command as a user starts it: a process of its own."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.servers import mortal
from tests.waiting import PATIENCE_S

CALLCTL = Path(sys.executable).with_name("callctl")


class Ended(NamedTuple):
    """How a command ended, and what it said."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def jsons(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


async def callctl(*arguments: str | Path, cwd: Path, stdin: str = "", **environ: str) -> Ended:
    """Runs it in `cwd`, with nothing of this process's configuration."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("CALLCTL_")}
    process = await asyncio.create_subprocess_exec(
        *mortal([CALLCTL, *arguments]),
        cwd=cwd,
        env=clean | environ,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            out, err = await process.communicate(stdin.encode())
    except BaseException:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())
