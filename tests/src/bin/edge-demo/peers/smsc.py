"""An SMPP server that accepts every bind and every message: smsc.py HOST PORT.

It prints how many messages it has had, every second.
"""

import asyncio
import sys

from smpp34 import Server, SubmitSmEvent

messages = 0


async def tell():
    while True:
        print(messages, flush=True)
        await asyncio.sleep(1)


async def main(host, port):
    global messages
    server = Server(host, port, inbound_capacity=10000)
    await server.start()
    print("listening", flush=True)
    telling = asyncio.create_task(tell())
    sessions = [telling]
    while True:
        event = await server.next()
        if isinstance(event, SubmitSmEvent):
            messages += 1
            event.accept(str(messages))
        else:
            # A session ends when nobody holds it any more.
            sessions.append(event)


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
