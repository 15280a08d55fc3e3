import assert from 'node:assert/strict';
import { test } from 'node:test';
import { openLog } from '../telemetry.ts';
import { openTarget } from './target.ts';

const options = { timeoutMs: 1_000, log: openLog('silent', 'test') };

const refusedTargets = [
  '',
  '127.0.0.1:8080',
  'https://127.0.0.1:8443',
  'file:///etc/passwd',
  'http://192.0.2.1',
  'http://8.8.8.8:8080',
  'http://172.32.0.1',
  'http://scep.example.com',
  'http://localhost.example.com',
  'http://169.254.169.254',
  'http://0.0.0.0:8080',
  'http://[2001:db8::1]',
  'http://[::]',
  'http://[fe80::1]',
  'http://[::ffff:8.8.8.8]',
  'http://127.0.0.1:8080/scep',
  'http://127.0.0.1:8080/?a',
  'http://127.0.0.1:8080/#a',
  'http://user:secret@127.0.0.1:8080',
];

for (const target of refusedTargets) {
  test(`refuses the target "${target}"`, () => {
    assert.throws(() => openTarget(target, options), { code: 'config_invalid' });
  });
}

const acceptedTargets = [
  'http://127.0.0.1:8080',
  'http://127.0.0.1',
  'http://localhost:8080/',
  'http://10.1.2.3',
  'http://172.31.255.255:81',
  'http://192.168.1.1',
  'http://[::1]:8080',
  'http://[fd00::1]',
];

for (const target of acceptedTargets) {
  test(`accepts the target ${target}`, () => openTarget(target, options).close());
}
