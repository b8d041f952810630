#!/usr/bin/env python3
"""An ESME (smpplib): binds, submits, asks for the link, unbinds. Prints one JSON object of what it sent and got.

The stream of submit_sm is written in pieces of --write-size bytes, whatever the PDU boundaries, so that
segments hold many PDUs or parts of one. --rate paces it (messages per second, 0: as fast as it goes);
--window bounds the requests that wait for an answer (0: no bound); --seconds ends the run early.
"""

import argparse
import collections
import json
import socket
import threading
import time

import smpplib.client
import smpplib.consts
import smpplib.smpp


class Esme(smpplib.client.Client):
    """smpplib's client from a source address of our choice, counting what it writes."""

    def __init__(self, source, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.source = source
        self.sent = collections.Counter()

    def _create_socket(self):
        raw = super()._create_socket()
        raw.bind((self.source, 0))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return raw

    def send_pdu(self, pdu):
        self.sent[pdu.command] += 1
        return super().send_pdu(pdu)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, default=2775)
    parser.add_argument("--system-id", default="acme")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--rate", type=float, default=0)
    parser.add_argument("--window", type=int, default=10)
    parser.add_argument("--write-size", type=int, default=0)
    parser.add_argument("--destination", default="441632960123")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--enquire-links", type=int, default=0)
    return parser.parse_args()


def submit_bytes(esme, destination):
    pdu = smpplib.smpp.make_pdu(
        "submit_sm",
        client=esme,
        source_addr_ton=smpplib.consts.SMPP_TON_ALNUM,
        source_addr="acme",
        dest_addr_ton=smpplib.consts.SMPP_TON_INTL,
        dest_addr_npi=smpplib.consts.SMPP_NPI_ISDN,
        destination_addr=destination,
        short_message=b"hello",
    )
    return pdu.generate()


class Answers(threading.Thread):
    """Reads answers and counts those with status 0."""

    def __init__(self, esme):
        super().__init__(daemon=True)
        self.esme = esme
        self.got = collections.Counter()
        self.ok = 0
        self.statuses = collections.Counter()
        self.changed = threading.Condition()
        self.error = None

    def run(self):
        try:
            while True:
                pdu = self.esme.read_pdu()
                with self.changed:
                    self.got[pdu.command] += 1
                    self.ok += pdu.command == "submit_sm_resp" and pdu.status == 0
                    if pdu.command == "submit_sm_resp":
                        self.statuses[f"0x{pdu.status:02x}"] += 1
                    self.changed.notify_all()
                if pdu.command == "unbind_resp":
                    return
        except Exception as error:  # The connection ended; the counts say how far it came.
            with self.changed:
                self.error = repr(error)
                self.changed.notify_all()


def main():
    arguments = parse_arguments()
    esme = Esme(arguments.source, arguments.host, arguments.port, timeout=30, allow_unknown_opt_params=True)
    esme.connect()
    esme.bind_transceiver(system_id=arguments.system_id, password="secret")
    esme._socket.settimeout(arguments.seconds + 30)
    answers = Answers(esme)
    answers.start()

    started = time.monotonic()
    deadline = started + arguments.seconds
    submitted = 0
    waiting = b""
    while submitted < arguments.count and answers.error is None and time.monotonic() < deadline:
        if arguments.rate:
            time.sleep(max(0, started + submitted / arguments.rate - time.monotonic()))
        if arguments.window:
            with answers.changed:
                room = answers.changed.wait_for(
                    lambda: answers.error or submitted - answers.got["submit_sm_resp"] < arguments.window,
                    timeout=max(0, deadline - time.monotonic()),
                )
                if not room:
                    break
        waiting += submit_bytes(esme, arguments.destination)
        submitted += 1
        size = arguments.write_size or len(waiting)
        while len(waiting) >= size > 0:
            esme._socket.sendall(waiting[:size])
            waiting = waiting[size:]
    if waiting:
        esme._socket.sendall(waiting)
    sent_for = time.monotonic() - started

    for _ in range(arguments.enquire_links):
        esme.send_pdu(smpplib.smpp.make_pdu("enquire_link", client=esme))
    with answers.changed:
        answers.changed.wait_for(
            lambda: answers.error or answers.got["submit_sm_resp"] >= submitted,
            # What was dropped is sent again by TCP, later and later: closing now would cut it off.
            timeout=30,
        )
    if answers.got["submit_sm_resp"] >= submitted:
        esme.send_pdu(smpplib.smpp.make_pdu("unbind", client=esme))
        answers.join(timeout=10)
    answered = dict(answers.got)
    print(
        json.dumps(
            {
                "sent": {**esme.sent, "submit_sm": submitted},
                "answered": answered,
                "ok": answers.ok,
                "statuses": dict(answers.statuses),
                "seconds": time.monotonic() - started,
                "sent_for_seconds": sent_for,
                "error": answers.error,
            }
        ),
        flush=True,
    )
    esme._socket.close()
    esme._socket = None


if __name__ == "__main__":
    main()
