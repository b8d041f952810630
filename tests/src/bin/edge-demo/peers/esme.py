"""An SMPP client that binds once and submits at the rates it is told:

    esme.py HOST PORT SYSTEM_ID [SECONDS,PER_SEC,NUMBERS_FILE]...

One message a PDU, one PDU a segment. Logs every message that is refused, with the status it was told. Ends by printing
[{"sent": N, "ok": N, "refused": N, "secs": S}, ...] as JSON: one a phase, from its first message to its last.
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
NAMES = {value: name.removeprefix("SMPP_") for name, value in vars(smpplib.consts).items() if "_ESME_R" in name}


def main(host, port, system_id, phases):
    logging.basicConfig(format="%(asctime)s.%(msecs)03d %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    client = smpplib.client.Client(host, port, timeout=10, allow_unknown_opt_params=True)
    counts = [{"sent": 0, "ok": 0, "refused": 0, "secs": 0.0} for _ in phases]
    phase_of = {}

    def answered(pdu, **_):
        if pdu.command == "submit_sm_resp" and pdu.status == smpplib.consts.SMPP_ESME_ROK:
            counts[phase_of[pdu.sequence]]["ok"] += 1

    def refused(pdu):
        said = smpplib.consts.DESCRIPTIONS.get(pdu.status, "unknown")
        name = NAMES.get(pdu.status, "unknown")
        logging.warning("%s %d: 0x%02x %s: %s", pdu.command, pdu.sequence, pdu.status, name, said)
        if pdu.status == smpplib.consts.SMPP_ESME_RTHROTTLED:
            counts[phase_of[pdu.sequence]]["refused"] += 1

    client.set_message_sent_handler(answered)
    client.set_error_pdu_handler(refused)
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
    for index, (seconds, per_sec, file) in enumerate(phases):
        with open(file) as lines:
            numbers = itertools.cycle(lines.read().split())
        first = last = None
        end = due + seconds
        while due < end:
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            # The answer may be read before this call returns.
            phase_of[client.sequence + 1] = index
            last = time.monotonic()
            first = first or last
            client.send_message(
                source_addr_ton=smpplib.consts.SMPP_TON_ALNUM,
                source_addr="EDGE",
                dest_addr_ton=smpplib.consts.SMPP_TON_INTL,
                dest_addr_npi=smpplib.consts.SMPP_NPI_ISDN,
                destination_addr=next(numbers),
                short_message=b"hello",
            )
            counts[index]["sent"] += 1
            due += 1 / per_sec
        counts[index]["secs"] = last - first

    until = time.monotonic() + LINGER_SECS
    while any(phase["ok"] + phase["refused"] < phase["sent"] for phase in counts) and time.monotonic() < until:
        time.sleep(0.1)
    done.set()
    print(json.dumps(counts), flush=True)


def phase(text):
    seconds, per_sec, file = text.split(",")
    return float(seconds), float(per_sec), file


main(sys.argv[1], int(sys.argv[2]), sys.argv[3], [phase(text) for text in sys.argv[4:]])
