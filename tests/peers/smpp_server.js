#!/usr/bin/env node
// An SMSC (npm smpp): accepts every bind and message. The counts go to --report as smpp_server.py's do.
// With --throttle RATE it takes that many messages a second at most, as many at once, and answers the others
// ESME_RTHROTTLED by itself. With --receipts STATE,STATE each message that it takes has a delivery receipt, of one state
// after the other.
'use strict';

const fs = require('fs');
const smpp = require('smpp');

const argument = (name, otherwise) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? otherwise : process.argv[at + 1];
};
const report = argument('report');
const started = process.hrtime.bigint();
const commands = {};
const submitsAt = [];
const submitsTo = {};

const rate = Number(argument('throttle', 'Infinity'));
let tokens = rate;
let earned = started;
const isOver = () => {
  if (rate === Infinity) return false;
  const now = process.hrtime.bigint();
  tokens = Math.min(rate, tokens + rate * Number(now - earned) / 1e9);
  earned = now;
  if (tokens < 1) return true;
  tokens -= 1;
  return false;
};

const states = argument('receipts', '').split(',').filter(Boolean);
let receipts = 0;
const receipt = (session, pdu) => {
  const state = states[receipts % states.length];
  receipts += 1;
  session.deliver_sm({
    source_addr_ton: 1,
    source_addr_npi: 1,
    source_addr: pdu.destination_addr,
    destination_addr: pdu.source_addr,
    esm_class: 4,
    short_message: `id:${pdu.sequence_number} sub:001 dlvrd:001 submit date:2611271100 done date:2611271101 `
      + `stat:${state} err:000 text:hello`,
  });
};

const write = () => {
  fs.writeFileSync(`${report}.new`, JSON.stringify({ commands, submits_at: submitsAt, submits_to: submitsTo }));
  fs.renameSync(`${report}.new`, report);
};

const server = smpp.createServer((session) => {
  session.on('error', () => {});
  session.on('pdu', (pdu) => {
    if (pdu.command === 'submit_sm' && isOver()) {
      session.send(pdu.response({ command_status: smpp.ESME_RTHROTTLED }));
      return;
    }
    commands[pdu.command] = (commands[pdu.command] || 0) + 1;
    if (pdu.command === 'submit_sm') {
      submitsAt.push(Number(process.hrtime.bigint() - started) / 1e9);
      submitsTo[pdu.destination_addr] = (submitsTo[pdu.destination_addr] || 0) + 1;
    }
    // The session answers an enquire_link by itself only where it is told to.
    if (!pdu.isResponse()) {
      session.send(pdu.response(pdu.command === 'submit_sm' ? { message_id: String(pdu.sequence_number) } : {}));
    }
    if (pdu.command === 'submit_sm' && states.length) receipt(session, pdu);
  });
});
server.listen(Number(argument('port', '2775')), argument('host'), () => {
  write();
  setInterval(write, 200);
});
process.on('SIGTERM', () => {
  write();
  process.exit(0);
});
