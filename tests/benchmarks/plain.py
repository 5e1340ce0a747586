"""A TLS server that sends the same frame again and again from memory: how fast such a log could arrive.

Run as ``python plain.py CERT KEY FRAMES < FRAME``; it prints its port, and leaves when it is connected no more.
"""

import asyncio
import ssl
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, serve


async def main(cert: str, key: str, count: int) -> None:
    frame = sys.stdin.buffer.read()
    over = asyncio.Event()

    async def send(connection: ServerConnection) -> None:
        for _ in range(count):
            await connection.send(frame, text=True)
            await asyncio.sleep(0)
        await connection.wait_closed()
        over.set()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    async with serve(send, "127.0.0.1", 0, ssl=context, compression=None) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await over.wait()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
