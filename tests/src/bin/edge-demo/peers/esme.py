"""An SMPP client that binds once and submits at the rates it is told:

    esme.py HOST PORT SYSTEM_ID [SECONDS,PER_SEC,NUMBERS_FILE]...

One message a PDU, one PDU a segment. Ends by printing {"sent": N, "ok": N} as JSON.
"""

import itertools
import json
import logging
import sys
import threading
import time

import smpplib.client
import smpplib.consts

# How long to wait for the last answers.
LINGER_SECS = 6


def main(host, port, system_id, phases):
    logging.disable(logging.WARNING)
    client = smpplib.client.Client(host, port, timeout=10)
    counts = {"sent": 0, "ok": 0}

    def answered(pdu, **_):
        if pdu.command == "submit_sm_resp" and pdu.status == smpplib.consts.SMPP_ESME_ROK:
            counts["ok"] += 1

    client.set_message_sent_handler(answered)
    client.set_error_pdu_handler(lambda pdu: None)
    client.connect()
    client.bind_transceiver(system_id=system_id, password="secret")
    print("bound", file=sys.stderr, flush=True)

    done = threading.Event()

    def read():
        while not done.is_set():
            try:
                client.read_once(auto_send_enquire_link=False)
            except Exception as error:
                if not done.is_set():
                    print("reader:", error, file=sys.stderr, flush=True)
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()

    due = time.monotonic()
    for seconds, per_sec, file in phases:
        with open(file) as lines:
            numbers = itertools.cycle(lines.read().split())
        end = due + seconds
        while due < end:
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            client.send_message(
                source_addr_ton=smpplib.consts.SMPP_TON_ALNUM,
                source_addr="EDGE",
                dest_addr_ton=smpplib.consts.SMPP_TON_INTL,
                dest_addr_npi=smpplib.consts.SMPP_NPI_ISDN,
                destination_addr=next(numbers),
                short_message=b"hello",
            )
            counts["sent"] += 1
            due += 1 / per_sec

    until = time.monotonic() + LINGER_SECS
    while counts["ok"] < counts["sent"] and time.monotonic() < until:
        time.sleep(0.1)
    done.set()
    print(json.dumps(counts), flush=True)


def phase(text):
    seconds, per_sec, file = text.split(",")
    return float(seconds), float(per_sec), file


main(sys.argv[1], int(sys.argv[2]), sys.argv[3], [phase(text) for text in sys.argv[4:]])
