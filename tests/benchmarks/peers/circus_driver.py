"""Drive circus: a program for the Python that circus is installed in. Lines on stdin are calls, as are its answers.

`run LANE`, `status` or `start NUMBER`; the answer repeats the line, or says what went wrong.
"""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from circus.client import CircusClient  # type: ignore[import-not-found]

local = threading.local()  # a client belongs to one thread


def send(command: str, name: str) -> str:
    if not hasattr(local, "client"):
        local.client = CircusClient(endpoint=sys.argv[1], timeout=30)
    answer = local.client.send_message(command, name=name, **({"waiting": True} if command == "start" else {}))
    if answer["status"] == "error":
        raise RuntimeError(answer)
    return str(answer["status"])


def carry(line: str) -> None:
    try:
        match line.split():
            case ["run", lane]:
                send("start", f"true{lane}")
                while send("status", f"true{lane}") == "active":
                    pass
            case ["status"]:
                send("status", "true0")
            case ["start", number]:
                send("start", f"sleep{number}")
            case _:
                line = f"unknown: {line}"
    except Exception as error:
        line = f"{line}: {error!r}"
    print(line, flush=True)


def main() -> None:
    with ThreadPoolExecutor(16) as threads:
        for line in sys.stdin:
            threads.submit(carry, line.strip())


if __name__ == "__main__":
    main()
