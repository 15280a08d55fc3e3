/** The judge of a chaos run: what it must not let pass. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ChaosEvidence, violationsIn } from './chaos-intune.ts';

const [FIRST, SECOND] = ['A'.repeat(40), 'B'.repeat(40)];

const told = (
  call: 'validateRequest' | 'successNotification',
  of: string,
  at: number,
  answer = 'Success',
) => ({
  call,
  transactionId: `t-${of}`,
  requestHash: of,
  ...(call === 'successNotification' ? { thumbprint: of } : {}),
  answer,
  at,
});

/** Two devices with a certificate each, one that was withheld from the second before, and a device that went away. */
const good: ChaosEvidence = {
  devices: [
    {
      deviceId: 'one',
      patience: 'keeps trying',
      delivered: [
        { transactionId: `t-${FIRST}`, thumbprint: FIRST, at: 10 },
        { transactionId: `t-${FIRST}`, thumbprint: FIRST, at: 90 },
      ],
    },
    {
      deviceId: 'two',
      patience: 'keeps trying',
      delivered: [
        { transactionId: `t-${SECOND}`, thumbprint: SECOND, at: 20 },
        { transactionId: `t-${SECOND}`, thumbprint: SECOND, at: 91 },
      ],
    },
    { deviceId: 'three', patience: 'quits', delivered: [] },
  ],
  told: [
    told('validateRequest', FIRST, 1),
    told('successNotification', FIRST, 2),
    told('validateRequest', SECOND, 11),
    told('successNotification', SECOND, 12, 'HTTP 500'),
    told('successNotification', SECOND, 13),
  ],
  validated: [`t-${FIRST}`, `t-${SECOND}`],
  notified: [
    { transactionId: `t-${FIRST}`, thumbprint: FIRST },
    { transactionId: `t-${SECOND}`, thumbprint: SECOND },
  ],
  records: [
    { serialNumber: '01', status: 'issued', device: 'one', thumbprint: FIRST },
    { serialNumber: '02', status: 'revoked', device: 'two', thumbprint: 'C'.repeat(40) },
    { serialNumber: '03', status: 'issued', device: 'two', thumbprint: SECOND },
  ],
  revoked: ['02'],
  oddities: [],
};

test('the judge finds nothing against a server that kept its promises', () => {
  assert.deepEqual(violationsIn(good), []);
});

const [one, two, three] = good.devices;
const [record, withheld, other] = good.records;
assert.ok(one && two && three && record && withheld && other);

const forgeries: readonly (readonly [name: string, change: Partial<ChaosEvidence>, says: RegExp])[] = [
  ['a certificate without a validation', { validated: [`t-${SECOND}`] }, /Intune has not validated it/],
  [
    'a server that went on without the yes of validateRequest',
    { told: good.told.slice(1) },
    /not been told that the request is valid/,
  ],
  [
    'a delivery before the yes of validateRequest',
    { told: [told('validateRequest', FIRST, 11), ...good.told.slice(1)] },
    /not been told that the request is valid/,
  ],
  [
    'a certificate that Intune does not know',
    { notified: good.notified.slice(1) },
    /Intune does not know it/,
  ],
  [
    'a delivery after a notification that failed',
    { told: good.told.slice(0, 4) },
    /not been told that successNotification was taken/,
  ],
  [
    'a delivery before the notification',
    { told: [...good.told.slice(0, 4), told('successNotification', SECOND, 21)] },
    /not been told that successNotification was taken/,
  ],
  [
    'a certificate on a device that is revoked',
    { records: [{ ...record, status: 'revoked' }, withheld, other], revoked: ['01', '02'] },
    /it is revoked/,
  ],
  ['a certificate that is not on record', { records: [withheld, other] }, /it is not on record/],
  [
    'another device’s certificate',
    { records: [{ ...record, device: 'two' }, withheld, { ...other, device: 'one' }] },
    /it is two’s/,
  ],
  [
    'two certificates for one device',
    { devices: [one, { ...two, delivered: [...one.delivered, ...two.delivered] }, three] },
    /two got 2 certificates/,
  ],
  [
    'a second live certificate on record',
    { records: [...good.records, { ...other, serialNumber: '04' }] },
    /two has 2 live certificates/,
  ],
  [
    'a device that goes away empty-handed',
    { devices: [one, two, { ...three, patience: 'keeps trying' }] },
    /three has no certificate/,
  ],
  [
    'a device that got nothing when it asked again',
    { devices: [{ ...one, delivered: one.delivered.slice(1) }, two, three] },
    /one was not answered a second time/,
  ],
  [
    'a withheld certificate that lives',
    { records: [record, { ...withheld, device: 'three', status: 'issued' }, other], revoked: [] },
    /02 is withheld and not revoked/,
  ],
  [
    'a notification that was lost',
    { records: [record, { ...withheld, device: 'three', status: 'issued' }, other], revoked: [] },
    /02 is neither known to Intune nor revoked/,
  ],
  ['a revocation that nobody can see', { revoked: [] }, /02 is revoked and not on the CRL/],
  ['a CRL that lists a good one', { revoked: ['01', '02'] }, /01 is issued and on the CRL/],
  [
    'an intent that nobody settles',
    { records: [...good.records, { serialNumber: '04', status: 'intent', device: 'three' }] },
    /04 is still an intent/,
  ],
  ['a serial number twice', { records: [...good.records, withheld] }, /02 is on record twice/],
  [
    'a notification twice',
    { notified: [...good.notified, ...good.notified.slice(0, 1)] },
    /Intune has 2 notifications of A+/,
  ],
  [
    'a notification of what was never signed',
    { notified: [...good.notified, { transactionId: 't', thumbprint: 'D'.repeat(40) }] },
    /Intune knows D+, which was never signed/,
  ],
  ['an answer that no device may get', { oddities: ['one: HTTP 500'] }, /HTTP 500/],
];
for (const [name, change, says] of forgeries) {
  test(`the judge sees ${name}`, () => {
    const found = violationsIn({ ...good, ...change });
    assert.ok(
      found.some((violation) => says.test(violation)),
      `it says: ${found.join('; ') || 'nothing'}`,
    );
  });
}
