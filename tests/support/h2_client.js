// h2_client: channels over HTTP/2 CONNECT with node's own http2 module.
// Input (JSON on stdin): {host, port, servername, cert, key, channels: [{target, bytes}], hold}
// Output: one JSON object a line: {channel, status, proxyStatus, ok, error}; then {done: true}.
// A channel sends `bytes` random bytes, ends its half, and wants the same bytes back.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const http2 = require('http2');
const tls = require('tls');

const plan = JSON.parse(fs.readFileSync(0, 'utf8'));
const print = (object) => process.stdout.write(JSON.stringify(object) + '\n');
const socket = tls.connect({
  host: plan.host, port: plan.port, servername: plan.servername,
  cert: fs.readFileSync(plan.cert), key: fs.readFileSync(plan.key),
  rejectUnauthorized: false, ALPNProtocols: ['h2'],
});
const session = http2.connect('https://' + plan.servername, {createConnection: () => socket});
session.on('error', (error) => { print({error: String(error.code || error)}); process.exit(1); });

function channel(index, target, size) {
  return new Promise((resolve) => {
    const data = crypto.randomBytes(size);
    const sent = crypto.createHash('sha256').update(data).digest('hex');
    const got = crypto.createHash('sha256');
    const result = {channel: index, status: 0, proxyStatus: '', ok: false};
    const request = session.request({':method': 'CONNECT', ':authority': target},
                                    {endStream: false});
    request.on('response', (headers) => {
      result.status = headers[':status'];
      result.proxyStatus = headers['proxy-status'] || '';
      if (result.status === 200)
        request.end(data);
      else
        request.end();
    });
    request.on('data', (piece) => got.update(piece));
    request.on('error', (error) => { result.error = String(error.code || error); });
    request.on('close', () => {
      result.ok = result.status === 200 && got.digest('hex') === sent;
      print(result);
      resolve();
    });
  });
}

session.on('connect', async () => {
  await Promise.all(plan.channels.map((c, i) => channel(i, c.target, c.bytes)));
  session.close(() => print({done: true}));
});
