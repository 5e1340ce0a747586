"""A server that `webhook` posts to: it appends the id of each event to a file, then answers; at times with an error.

``python webhook_server.py PORT FILE``. It may be killed at any moment: what it has not written, it has not taken.
"""

import json
import os
import random
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

FAILURES = 0.05  # of the posts


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        failed = random.random() < FAILURES
        if not failed:
            line = f"{content['id']} {content['event']['job']['id']}\n"
            os.write(taken, line.encode())
        self.send_response(503 if failed else 204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    taken = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
    print("ready", flush=True)
    server.serve_forever()
