#!/usr/bin/env node
// An SMSC (npm smpp): accepts every bind and message. The counts go to --report as smpp_server.py's do.
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

const write = () => {
  fs.writeFileSync(`${report}.new`, JSON.stringify({ commands, submits_at: submitsAt }));
  fs.renameSync(`${report}.new`, report);
};

const server = smpp.createServer((session) => {
  session.on('error', () => {});
  session.on('pdu', (pdu) => {
    commands[pdu.command] = (commands[pdu.command] || 0) + 1;
    if (pdu.command === 'submit_sm') {
      submitsAt.push(Number(process.hrtime.bigint() - started) / 1e9);
    }
    // The session answers an enquire_link by itself only where it is told to.
    if (!pdu.isResponse()) {
      session.send(pdu.response(pdu.command === 'submit_sm' ? { message_id: String(pdu.sequence_number) } : {}));
    }
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
