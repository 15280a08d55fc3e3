import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { messageOf, requestOf } from '../../test/support/authorities-fixture.ts';
import { leafgate, newSite } from '../../test/support/cli-fixture.ts';
import { PkiError } from '../errors.ts';
import { buildMessageQuery } from '../scep/index.ts';

const challengePassword = 'a challenge that nobody may read';
let folder: string;
let config: string;
let message: Uint8Array;
let file: string;

before(async () => {
  ({ folder, config } = await newSite());
  message = await messageOf({ csr: await requestOf({ challengePassword }) });
  file = join(folder, 'message.der');
  writeFileSync(file, message);
});
after(() => rm(folder, { recursive: true, force: true }));

describe('leafgate scep decode', () => {
  test('refuses a file that is not there', async () => {
    await assert.rejects(
      leafgate('scep', 'decode', join(folder, 'absent.der')),
      (thrown) => thrown instanceof PkiError && /cannot read/.test(thrown.message),
    );
  });

  test('without a key: the outside', async () => {
    const out = await leafgate('scep', 'decode', file);
    assert.match(out, /^PKCSReq, \d+ octets\n/);
    assert.match(out, /transactionID +transaction-1\n/);
    assert.match(out, /Nothing is wrong with what is not encrypted\. --config opens a request/);
    assert.doesNotMatch(out, /Inside/);
  });

  test('with the RA’s keys: the inside, and the challenge only if asked for by name', async () => {
    const out = await leafgate('scep', 'decode', file, '--config', config);
    assert.match(out, /Inside: certification request\n +subject +CN=device-1,O=Test\n/);
    assert.match(out, /challenge password +32 characters, not shown\n/);
    assert.doesNotMatch(out, /not encrypted/);
    assert.ok(!out.includes(challengePassword));
    const named = ['--file', join(folder, 'ra-encryption.key.pem')];
    const passphrase = ['--passphrase', `file:${join(folder, 'ra-encryption.passphrase')}`];
    const shown = await leafgate('scep', 'decode', file, ...named, ...passphrase, '--danger-show-challenge');
    assert.ok(shown.includes(challengePassword));
  });

  test('--json, and a URL in the place of a file', async () => {
    const told = JSON.parse(
      await leafgate('scep', 'decode', `http://scep.test/scep?${buildMessageQuery(message)}`, '--json'),
    );
    assert.equal(told.kind, 'PKCSReq');
    assert.deepEqual(told.findings, []);
    assert.match(told.wrappings.join(), /URL of PKIOperation/);
  });

  test('an error in the message is the exit status', async () => {
    const cut = join(folder, 'cut.der');
    writeFileSync(cut, message.subarray(0, 1000));
    const before_ = process.exitCode;
    const out = await leafgate('scep', 'decode', cut);
    assert.equal(process.exitCode, 1);
    process.exitCode = before_;
    assert.match(out, /error +the message is cut off/);
    assert.match(out, /RFC 8894 §4\.1/);
  });
});
