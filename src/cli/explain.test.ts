import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { leafgate, newSite } from '../../test/support/cli-fixture.ts';
import { readConfig } from '../config.ts';
import { errorTable, PkiError } from '../errors.ts';
import { openAuthorities } from '../parts/authorities.ts';
import { openLog, systemClock } from '../telemetry.ts';

let folder: string;
let config: string;
let reference: string;
let other: string;
let ofIntune: string;
let ofEntra: string;

before(async () => {
  ({ folder, config } = await newSite());
  const { server } = readConfig(config);
  assert.ok(server);
  const { ra, close } = await openAuthorities(server, openLog('silent', 'test'), systemClock);
  const context = { endpoint: 'static', transactionID: 'transaction-7', source: '192.0.2.7' };
  const refuse = async (...[code, detail, about]: Parameters<typeof ra.refuse>) =>
    (await ra.refuse(code, detail, about)).reference;
  other = await refuse('validator_unreachable', 'no answer', context);
  reference = await refuse('challenge_expired', 'made at noon \u001b[31m', context);
  await refuse('challenge_unknown', 'another device', { ...context, transactionID: 'transaction-8' });
  await refuse('challenge_unknown', 'another endpoint', { ...context, endpoint: 'one-time' });
  const [refused, silent] = [
    'SubjectNameMismatch (client-request-id 5b1c)',
    'token: invalid_client AADSTS7000222 (client-request-id 5b1c)',
  ];
  ofIntune = await refuse('subject_mismatch', refused, { ...context, transactionID: 'transaction-9' });
  ofEntra = await refuse('validator_unreachable', silent, { ...context, transactionID: 'transaction-10' });
  await close();
});
after(() => rm(folder, { recursive: true, force: true }));

describe('leafgate explain REF', () => {
  test('refuses what is on no record', async () => {
    await assert.rejects(
      leafgate('explain', 'LG-00000000', '--config', config),
      (thrown) => thrown instanceof PkiError && thrown.code === 'reference_unknown',
    );
  });

  test('tells reason, cause, way out and the rest of the transaction', async () => {
    const out = await leafgate('explain', reference.toLowerCase(), '--config', config);
    const { cause, mend } = errorTable.challenge_expired;
    for (const part of [
      reference,
      'challenge_expired',
      cause,
      mend,
      'transaction-7',
      '192.0.2.7',
      'made at noon',
    ])
      assert.ok(out.includes(part), `${part} in ${out}`);
    assert.ok(out.includes(`validator_unreachable  ${other}`), out);
    assert.doesNotMatch(out, /challenge_unknown|transaction-8/);
    // A device's words do not steer the terminal.
    assert.ok(!out.includes('\u001b'));
  });

  test('explains what Intune and Entra said, by their own words', async () => {
    const named = await leafgate('explain', ofIntune, '--config', config);
    assert.match(named, /^Detail +SubjectNameMismatch \(client-request-id 5b1c\)$/m);
    assert.match(named, /^Intune +SubjectNameMismatch: The subject of the request is not/m);
    assert.match(named, /^What to do +A comma, plus, semicolon or equals sign.*\.$/m);
    const expired = await leafgate('explain', ofEntra, '--config', config);
    assert.match(expired, /^What to do +The client secret has expired\./m);
    const told = JSON.parse(await leafgate('explain', ofIntune, '--config', config, '--json'));
    assert.equal(told.intune.word, 'SubjectNameMismatch');
  });

  test('--json tells the same', async () => {
    const told = JSON.parse(await leafgate('explain', reference, '--config', config, '--json'));
    assert.equal(told.entry.code, 'challenge_expired');
    assert.equal(told.mend, errorTable.challenge_expired.mend);
    assert.deepEqual(
      told.others.map((entry: { code: string }) => entry.code),
      ['validator_unreachable'],
    );
  });
});

describe('leafgate explain CODE', () => {
  test('needs no configuration', async () => {
    const out = await leafgate('explain', '0x8010002C');
    assert.match(out, /SCARD_E_NO_SUCH_CERTIFICATE/);
    assert.match(out, /Certificate Request Agent or serverAuth/);
    assert.match(await leafgate('explain', '-2146435028'), /SCARD_E_NO_SUCH_CERTIFICATE/);
    assert.match(await leafgate('explain', 'MCSCEPErrorDomain', '22013'), /invalid response/);
    assert.match(await leafgate('explain', 'challenge_expired'), /60 minutes by default/);
  });

  test('knows the words of Intune and the numbers of Entra', async () => {
    assert.match(
      await leafgate('explain', 'ChallengeExpired'),
      /^Intune ChallengeExpired\n\nCause {8}More than an hour.*\nWhat to do {3}Sync.*\nOur code {5}challenge_expired/,
    );
    assert.match(
      await leafgate('explain', 'AADSTS7000222'),
      /^Entra AADSTS7000222\n\nWhat to do {3}The client/,
    );
    assert.match(await leafgate('explain', 'AADSTS1'), /Look it up at https/);
  });

  test('says honestly that it does not know, with what looks alike', async () => {
    const before = process.exitCode;
    const out = await leafgate('explain', '0x8010002d');
    assert.equal(process.exitCode, 1);
    process.exitCode = before;
    assert.match(out, /not in Leafgate’s table/);
    assert.match(out, /Windows 0x8010002c/);
  });
});
