"""A TLS server that sends so many frames like the one given, all of them in memory: how fast a log could arrive.

Run as ``python plain.py CERT KEY FRAMES text|binary < FRAME``; it prints its port and serves until it is killed. A
connection gets the frames when it has said something. They are as many objects: a log is not in the processor's
cache either, as one frame that is sent again and again would be.
"""

import asyncio
import contextlib
import ssl
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed


async def main(cert: str, key: str, count: int, *, text: bool) -> None:
    frame = sys.stdin.buffer.read()
    frames = [bytes(bytearray(frame)) for _ in range(count)]  # copies

    async def send(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            await connection.recv()
            for one in frames:
                await connection.send(one, text=text)
                await asyncio.sleep(0)
            await connection.wait_closed()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    async with serve(send, "127.0.0.1", 0, ssl=context, compression=None) as server:
        print(next(iter(server.sockets)).getsockname()[1], flush=True)
        await asyncio.Future()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), text=sys.argv[4] == "text"))
