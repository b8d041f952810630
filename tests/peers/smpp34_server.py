#!/usr/bin/env python3
"""An SMSC (PyPI smpp34, Rust): accepts every bind and message. The counts go to --report as smpp_server.py's do."""

import argparse
import asyncio
import collections
import json
import os
import signal
import time

import smpp34


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, default=2775)
    parser.add_argument("--report", required=True)
    arguments = parser.parse_args()
    started = time.monotonic()
    submits_at = []
    submits_to = collections.Counter()

    def write():
        temporary = f"{arguments.report}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            report = {"commands": {"submit_sm": len(submits_at)}, "submits_at": submits_at, "submits_to": submits_to}
            json.dump(report, file)
        os.replace(temporary, arguments.report)

    async def report_forever():
        while True:
            write()
            await asyncio.sleep(0.2)

    server = smpp34.Server(arguments.host, arguments.port, system_id="smpp34")
    await server.start()
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    tasks = [asyncio.create_task(report_forever())]

    async def serve():
        while True:
            event = await server.next()
            if isinstance(event, smpp34.SubmitSmEvent):
                submits_at.append(time.monotonic() - started)
                submits_to[event.destination_addr] += 1
                accepted = event.accept(str(len(submits_at)))
                if asyncio.iscoroutine(accepted) or asyncio.isfuture(accepted):
                    await accepted

    tasks.append(asyncio.create_task(serve()))
    await stop.wait()
    for task in tasks:
        task.cancel()
    write()


asyncio.run(main())
