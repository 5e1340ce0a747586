"""Fork until the kernel refuses, print how many children there were, and end them."""

import os
import signal

children: list[int] = []
try:
    while len(children) < 100:
        pid = os.fork()
        if not pid:
            signal.pause()
        children.append(pid)
except OSError:
    pass
for child in children:
    os.kill(child, signal.SIGKILL)
print(len(children))
