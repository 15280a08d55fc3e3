// Answers the questions of Leafgate's `webhook` validator. DEVICES is a JSON file: { "CHALLENGE": { "device": "mac-7", "subject": "CN=mac-7" } }
import { createHmac, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';

const { WEBHOOK_SECRET, TLS_CERT, TLS_KEY, DEVICES, PORT } = process.env;
const server = createServer({ cert: readFileSync(TLS_CERT), key: readFileSync(TLS_KEY) });
server.on('request', async (request, response) => {
  const body = Buffer.concat(await request.toArray()).toString();
  const timestamp = request.headers['leafgate-timestamp'] ?? '';
  const mac = createHmac('sha256', WEBHOOK_SECRET).update(`${timestamp}.${body}`).digest();
  const given = Buffer.from((request.headers['leafgate-signature'] ?? '').replace(/^v1=/, ''), 'hex');
  const isFresh = Math.abs(Date.now() / 1000 - Number(timestamp)) <= 300;
  if (!isFresh || given.length !== mac.length || !timingSafeEqual(given, mac))
    return response.writeHead(401).end();
  const { id, type, challenge, subject } = JSON.parse(body);
  const known = new Map(Object.entries(JSON.parse(readFileSync(DEVICES, 'utf8')))).get(challenge);
  let answer = { id, decision: 'refuse', reason: 'unknown challenge, or not this subject' };
  if (type === 'notify') answer = { id, decision: 'noted' };
  else if (known?.subject === subject) answer = { id, decision: 'accept', device: known.device };
  response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
});
server.listen(Number(PORT), '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
