import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  type EndpointName,
  openTestAuthorities,
  requestOf,
  type TestAuthorities,
} from '../../test/support/authorities-fixture.ts';
import {
  type Certificate,
  extensionValue,
  extKeyUsageOf,
  hex,
  keyUsageOf,
  oid,
  parseCertificate,
  parseCertificationRequest,
  securityIdentifierOf,
  templateInformationOf,
} from '../codec/index.ts';
import type { CertificateTemplate } from './template.ts';
import { resolveTemplates, type TemplateDefinition } from './template-definition.ts';

const DAY_MS = 86_400_000;
const sid = 'S-1-5-21-1-2-3-1104';
let authorities: TestAuthorities;
let count = 0;

/** The template that the endpoints of the fixture enrol for, changed. */
function templateOf(definition: Omit<TemplateDefinition, 'name'>): CertificateTemplate[] {
  const name = 'client-authentication';
  const { templates, faults } = resolveTemplates([{ extend: name, ...definition, name }]);
  assert.deepEqual(faults, []);
  return templates.filter((template) => template.name === name);
}

async function enrol(
  challengePassword: string,
  endpoint: EndpointName = 'one-time',
): Promise<Certificate | string> {
  count += 1;
  const outcome = await authorities.ra.enrol({
    endpoint,
    transactionID: String(count),
    csr: parseCertificationRequest(await requestOf({ challengePassword })),
    challengePassword,
    source: '192.0.2.1',
    receivedAt: authorities.clock.now(),
  });
  assert.ok(outcome.outcome !== 'pending', 'nobody was to be asked');
  return outcome.outcome === 'issued' ? parseCertificate(outcome.certificate) : outcome.code;
}

const issued = (result: Certificate | string): Certificate => {
  assert.ok(typeof result !== 'string', String(result));
  return result;
};

const challenge = async (securityIdentifier?: string) =>
  (
    await authorities.oneTime.create({
      endpoint: 'one-time',
      pinned: securityIdentifier === undefined ? {} : { securityIdentifier },
      device: 'device-1',
      lifetimeMs: DAY_MS,
    })
  ).challenge;

describe('a limit for each device', () => {
  before(async () => {
    authorities = await openTestAuthorities({
      templates: templateOf({
        certificatesPerDeviceMax: 2,
        validity: 90 * DAY_MS,
        renewalPeriod: 30 * DAY_MS,
      }),
    });
  });
  after(() => authorities.close());

  test('holds, and counts neither what is revoked nor what is due for renewal', async () => {
    const first = issued(await enrol(await challenge()));
    issued(await enrol(await challenge()));
    const spare = await challenge();
    assert.equal(await enrol(spare), 'issuance_limit');
    // A refusal spends no challenge, and leaves nothing that would count.
    await authorities.ca.revoke({
      issuer: 'issuing',
      serialNumber: first.serialNumber,
      reason: 'superseded',
      actor: 'test',
      text: 'test',
    });
    issued(await enrol(spare));
    assert.equal(await enrol(await challenge()), 'issuance_limit');
    authorities.clock.offsetMs += 61 * DAY_MS;
    issued(await enrol(await challenge()));
  });
});

describe('what a template adds', () => {
  before(async () => {
    authorities = await openTestAuthorities({
      templates: templateOf({
        keyUsage: ['digitalSignature', 'keyEncipherment'],
        keyUsageDefault: ['digitalSignature'],
        extKeyUsage: ['clientAuth', 'emailProtection'],
        extKeyUsageDefault: ['clientAuth'],
        securityIdentifier: 'required',
        templateInformation: { oid: '1.3.6.1.4.1.99999.7', majorVersion: 100, minorVersion: 3 },
      }),
    });
  });
  after(() => authorities.close());

  test('is there: the SID of the challenge, the identifier of the template, the defaults', async () => {
    const certificate = issued(await enrol(await challenge(sid)));
    assert.equal(securityIdentifierOf(certificate), sid);
    assert.deepEqual(templateInformationOf(certificate), {
      oid: '1.3.6.1.4.1.99999.7',
      majorVersion: 100,
      minorVersion: 3,
    });
    assert.deepEqual(keyUsageOf(certificate), ['digitalSignature']);
    assert.deepEqual(extKeyUsageOf(certificate), [oid.clientAuth]);
    // As the CA of Windows writes it: an other name of 1.3.6.1.4.1.311.25.2.1 with the SID's text in octets.
    assert.equal(
      hex(extensionValue(certificate, oid.microsoftSecurityIdentifier) ?? Uint8Array.of()),
      `3025a023060a2b060104018237190201a0150413${Buffer.from(sid).toString('hex')}`,
    );
  });

  test('is never left out: no certificate without a SID', async () => {
    assert.equal(await enrol(await challenge()), 'identity_unvouched');
    assert.equal(await enrol('any', 'scripted'), 'identity_unvouched');
  });
});
