"""`python -m deploy.stack up|status|down|remove`."""

from __future__ import annotations

import subprocess
import sys
import time

from deploy.stack.programs import MissingProgramError
from deploy.stack.stack import Stack, StackError
from jude.errors import JudeError


def main(verb: str) -> int:
    """Run one verb; 0 where the stack is then as wanted."""
    stack = Stack()
    began = time.monotonic()
    try:
        if verb == "up":
            stack.up()
            print(f"The stack is up after {time.monotonic() - began:.0f} s. jude stream run --conf {stack.conf}")
        elif verb == "status":
            states = stack.status()
            print("\n".join(f"{name:<9} {state}" for name, state in states.items()))
            return int(not all(state.startswith("answers") for state in states.values()))
        else:
            stack.down(remove=verb == "remove")
    except (MissingProgramError, StackError, JudeError) as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"{error}\n{error.stderr!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ("up", "status", "down", "remove"):
        raise SystemExit("usage: python -m deploy.stack up|status|down|remove")
    raise SystemExit(main(sys.argv[1]))
