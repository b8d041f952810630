#!/usr/bin/env python3
"""Kannel's SMPP server (drive_smpp of the package kannel-extras): accepts transmitters and every message.

It writes what it reads to its log, from which the counts go to --report as smpp_server.py's do. It ends when a client
leaves, and calls itself lost where no bearerbox takes its connection: one is listened for here.
"""

import argparse
import collections
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

PDU = "Handling SMPP PDU of type "


class Report:
    def __init__(self, path):
        self.path = path
        self.started = time.monotonic()
        self.commands = collections.Counter()
        self.submits_at = []

    def read(self, line):
        _, found, command = line.partition(PDU)
        if found:
            self.commands[command.strip()] += 1
        if found and command.strip() == "submit_sm":
            self.submits_at.append(time.monotonic() - self.started)

    def write(self):
        temporary = f"{self.path}.new"
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump({"commands": self.commands, "submits_at": self.submits_at, "submits_to": {}}, file)
        os.replace(temporary, self.path)


def listens(port):
    with open("/proc/self/net/tcp", encoding="utf-8") as table:
        return any(f":{port:04X} 00000000:0000 0A" in line for line in table)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", required=True, help="it listens on every address")
    parser.add_argument("--port", type=int, default=2775)
    parser.add_argument("--report", required=True)
    parser.add_argument("--program", required=True)
    arguments = parser.parse_args()
    report = Report(arguments.report)
    bearerbox = socket.create_server(("127.0.0.1", 13001))
    # Level 0: of all that it says.
    command = [arguments.program, "-v", "0", "-p", str(arguments.port)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, errors="replace")

    def read():
        for line in server.stderr:
            report.read(line)
            sys.stderr.write(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    while not listens(arguments.port):
        if server.poll() is not None:
            sys.exit("Kannel's server ended")
        time.sleep(0.02)
    while not stop.wait(0.2):
        report.write()
    server.kill()
    reader.join()
    bearerbox.close()
    report.write()


main()
