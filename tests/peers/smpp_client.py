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

# ESME_RTHROTTLED.
THROTTLED = 0x58
# Seconds between a message that was throttled and the answer to the next one, from which on they are told.
PAUSE = 0.5


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
    parser.add_argument("--bind", default="transceiver", choices=["transceiver", "transmitter"])
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
    return pdu.sequence, pdu.generate()


class Answers(threading.Thread):
    """Reads answers and notes which messages passed and which were throttled when."""

    def __init__(self, esme):
        super().__init__(daemon=True)
        self.esme = esme
        self.got = collections.Counter()
        self.passed = []
        self.statuses = collections.Counter()
        self.answered_at = None
        self.throttled_at = []
        self.changed = threading.Condition()
        self.error = None

    def run(self):
        try:
            while True:
                pdu = self.esme.read_pdu()
                if pdu.command in ("deliver_sm", "enquire_link"):
                    response = smpplib.smpp.make_pdu(f"{pdu.command}_resp", client=self.esme)
                    response.sequence = pdu.sequence
                    self.esme.send_pdu(response)
                with self.changed:
                    self.got[pdu.command] += 1
                    if pdu.command == "submit_sm_resp":
                        self.statuses[f"0x{pdu.status:02x}"] += 1
                        self.answered_at = time.monotonic()
                        if pdu.status == 0:
                            self.passed.append(pdu.sequence)
                        if pdu.status == THROTTLED:
                            self.throttled_at.append((pdu.sequence, self.answered_at))
                    self.changed.notify_all()
                if pdu.command == "unbind_resp":
                    return
        except Exception as error:  # The connection ended; the counts say how far it came.
            with self.changed:
                self.error = repr(error)
                self.changed.notify_all()


def throttling(sent_at, passed, throttled_at):
    """When it began and ended, and its pauses: a message was judged after it was sent and before its answer was read."""
    if not throttled_at:
        return None
    spans = [(sent_at[sequence], read) for sequence, read in throttled_at]
    first = min(sequence for sequence, _ in throttled_at)
    between = [(before[0], after[1]) for before, after in zip(spans, spans[1:])]
    return {
        "passed_before": sum(sequence < first for sequence in passed),
        "first_read_at": spans[0][1],
        "last_sent_at": spans[-1][0],
        "pauses": [(sent, read) for sent, read in between if read - sent > PAUSE],
    }


def main():
    arguments = parse_arguments()
    esme = Esme(arguments.source, arguments.host, arguments.port, timeout=30, allow_unknown_opt_params=True)
    esme.connect()
    getattr(esme, f"bind_{arguments.bind}")(system_id=arguments.system_id, password="secret")
    esme._socket.settimeout(arguments.seconds + 30)
    answers = Answers(esme)
    answers.start()

    started = time.monotonic()
    deadline = started + arguments.seconds
    submitted = 0
    sent_at = {}
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
        sequence, octets = submit_bytes(esme, arguments.destination)
        sent_at[sequence] = time.monotonic()
        waiting += octets
        submitted += 1
        size = arguments.write_size or len(waiting)
        while len(waiting) >= size > 0:
            esme._socket.sendall(waiting[:size])
            waiting = waiting[size:]
    if waiting:
        esme._socket.sendall(waiting)

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
                "ok": len(answers.passed),
                "statuses": dict(answers.statuses),
                "started_at": started,
                "answered_at": answers.answered_at,
                "throttling": throttling(sent_at, answers.passed, answers.throttled_at),
                "error": answers.error,
            }
        ),
        flush=True,
    )
    esme._socket.close()
    esme._socket = None


if __name__ == "__main__":
    main()
