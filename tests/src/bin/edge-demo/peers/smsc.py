"""An SMPP server that accepts every bind and every message: smsc.py HOST PORT."""

import asyncio
import sys

from smpp34 import Server, SubmitSmEvent


async def main(host, port):
    server = Server(host, port, inbound_capacity=10000)
    await server.start()
    print("listening", flush=True)
    messages = 0
    sessions = []
    while True:
        event = await server.next()
        if isinstance(event, SubmitSmEvent):
            messages += 1
            event.accept(str(messages))
        else:
            # A session ends when nobody holds it any more.
            sessions.append(event)


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
