#!/usr/bin/env python3
"""An SMSC: answers every request with status 0 and counts PDUs by command.

The counts go to --report as one JSON object, written anew (atomically) five times a second and at the end:
{"commands": {name: count}, "submits_at": [seconds since start of each submit_sm], "submits_to": {number: count}}.
"""

import argparse
import asyncio
import collections
import itertools
import json
import os
import signal
import struct
import time

NAMES = {
    0x01: "bind_receiver", 0x02: "bind_transmitter", 0x03: "query_sm", 0x04: "submit_sm", 0x06: "unbind",
    0x07: "replace_sm", 0x08: "cancel_sm", 0x09: "bind_transceiver", 0x15: "enquire_link",
    0x21: "submit_multi", 0x103: "data_sm", 0x80000005: "deliver_sm_resp", 0x80000015: "enquire_link_resp",
}
RESPONSE = 0x80000000
BINDS = (0x01, 0x02, 0x09)


class Smsc:
    def __init__(self, report, mute, reject, silent, asks, statuses):
        self.report = report
        self.mute = mute
        self.reject = reject
        self.silent = silent
        self.asks = asks
        self.statuses = itertools.cycle(statuses)
        self.commands = collections.Counter()
        self.submits_at = []
        self.submits_to = collections.Counter()
        self.started = time.monotonic()

    async def serve(self, reader, writer):
        try:
            while True:
                length, command, _, sequence = struct.unpack(">LLLL", await reader.readexactly(16))
                body = await reader.readexactly(length - 16)
                self.commands[NAMES.get(command, f"0x{command:08x}")] += 1
                if command == 0x04:
                    self.submits_at.append(time.monotonic() - self.started)
                    self.submits_to[destination(body)] += 1
                if self.reject and command in BINDS:
                    writer.write(struct.pack(">LLLL", 16, command | RESPONSE, 0x0E, sequence))
                    await writer.drain()
                elif self.silent and command == 0x04:
                    pass
                elif command & RESPONSE == 0 and not (self.mute and command == 0x15):
                    status = next(self.statuses) if command == 0x04 else 0
                    writer.write(answer(command, status, sequence, body))
                    if self.asks and command in BINDS:
                        writer.write(struct.pack(">LLLL", 16, 0x15, 0, 1))
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def write_report(self):
        temporary = f"{self.report}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(
                {"commands": self.commands, "submits_at": self.submits_at, "submits_to": self.submits_to}, file
            )
        os.replace(temporary, self.report)

    async def report_forever(self):
        while True:
            self.write_report()
            await asyncio.sleep(0.2)


def destination(body):
    # service_type, source_addr_ton, source_addr_npi, source_addr, dest_addr_ton, dest_addr_npi, destination_addr.
    _, rest = body.split(b"\0", 1)
    _, rest = rest[2:].split(b"\0", 1)
    return rest[2:].split(b"\0", 1)[0].decode("latin-1")


def answer(command, status, sequence, body):
    if status:
        content = b""
    elif command in BINDS:
        content = body[: body.index(b"\0") + 1]
    elif command in (0x04, 0x21, 0x103):
        content = b"%d\0" % sequence
        content += b"\0" if command == 0x21 else b""
    else:
        content = b""
    return struct.pack(">LLLL", 16 + len(content), command | RESPONSE, status, sequence) + content


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, default=2775)
    parser.add_argument("--report", required=True)
    parser.add_argument("--mute", action="store_true", help="leave every enquire_link unanswered")
    parser.add_argument("--reject", action="store_true", help="answer every bind with ESME_RINVPASWD")
    parser.add_argument("--silent", action="store_true", help="leave every submit_sm unanswered")
    parser.add_argument("--asks", action="store_true", help="send an enquire_link behind the answer to a bind")
    parser.add_argument("--statuses", default="0", help="of answers to submit_sm, in turn: 0,0x58")
    arguments = parser.parse_args()
    statuses = [int(status, 0) for status in arguments.statuses.split(",")]
    smsc = Smsc(arguments.report, arguments.mute, arguments.reject, arguments.silent, arguments.asks, statuses)
    server = await asyncio.start_server(smsc.serve, arguments.host, arguments.port)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    reports = asyncio.create_task(smsc.report_forever())
    await stop.wait()
    reports.cancel()
    server.close()
    smsc.write_report()


asyncio.run(main())
