import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import {
  application,
  certificates,
  clientAuth,
  deviceScepProfile,
  ecKey,
  joinedDevice,
  keys,
  MovableClock,
  openTestMdm,
  requestFor,
  rsaKey,
  testCertificate,
} from '../../test/support/mdm-fixture.ts';
import { buildEnvelopedData, buildSignedData, parseCertificationRequest } from '../codec/index.ts';
import { buildChallenge, type ChallengePayload, parseChallenge } from './challenges.ts';
import type { OpenMdm } from './index.ts';
import { type ResultCode, resultCodes } from './result-codes.ts';
import {
  failureNotification,
  requestFaults,
  successNotification,
  validateRequest,
} from './validation-service.ts';

const clock = new MovableClock();
const HOUR_MS = 60 * 60 * 1000;
const user = { userId: randomUUID(), userPrincipalName: 'ada@example.com', userName: 'ada' };
const userProfile = {
  ...deviceScepProfile,
  profileId: 'user-certificate',
  certificateType: 'user',
  subjectNameFormat: 'CN={{UserPrincipalName}}',
  customSubjectAlternativeNames: [{ sanType: 'userPrincipalName', name: '{{UserPrincipalName}}' }],
} as const;

let opened: OpenMdm;
let names = 0;

before(async () => {
  opened = await openTestMdm({ clock });
});
after(() => opened.close());

const joined = () => {
  names += 1;
  return joinedDevice(opened, `device-${names}`);
};

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');

async function validate(request: Uint8Array | string, transactionId = 'transaction'): Promise<ResultCode> {
  const certificateRequest = typeof request === 'string' ? request : base64(request);
  const answer = await validateRequest(opened.mdm.validationService, {
    transactionId,
    certificateRequest,
    callerInfo: 'test',
  });
  assert.equal(answer.errorDescription === '', answer.code === 'Success');
  return answer.code;
}

async function payloadOf(challenge: string): Promise<ChallengePayload> {
  const reading = await parseChallenge(challenge, certificates.signer, {
    certificate: certificates.recipient,
    decrypt: keys.recipient.decrypt,
  });
  assert.equal(reading.code, 'Success');
  return reading.code === 'Success' ? reading.payload : assert.fail();
}

/** Seals a payload with the MDM's own keys: what only the MDM can do. */
const seal = (payload: ChallengePayload) =>
  buildChallenge(
    payload,
    { certificate: certificates.signer, sign: keys.signer.sign },
    certificates.recipient,
  );

const signed = async (content: Uint8Array) =>
  base64(
    await buildSignedData(
      { content, digest: 'sha256', signer: certificates.signer, certificates: [], attributes: [] },
      keys.signer.sign,
    ),
  );

const envelopeFor = (recipient: typeof certificates.recipient, content: string) =>
  buildEnvelopedData({
    content: Buffer.from(content),
    recipient,
    cipher: 'aes-256-cbc',
    keyTransport: { name: 'rsaes-oaep', digest: 'sha256' },
  });

// --- every code that can come, each provoked by a real request or a real state --------------------------------------------

const provocations: readonly {
  readonly name: string;
  readonly code: ResultCode;
  readonly provoke: () => Promise<ResultCode>;
}[] = [
  {
    name: 'bytes that are no request',
    code: 'CertificateRequestDecodingFailed',
    provoke: () => validate(Buffer.from('no request')),
  },
  {
    name: 'text that is not base64',
    code: 'CertificateRequestDecodingFailed',
    provoke: async () => validate(`${base64(await requestFor((await joined()).profile))}\n`),
  },
  {
    name: 'a request that was changed after it was signed',
    code: 'CertificateRequestDecodingFailed',
    provoke: async () => {
      const request = Buffer.from(await requestFor((await joined()).profile));
      const last = request.length - 1;
      request.writeUInt8(request.readUInt8(last) ^ 1, last);
      return validate(request);
    },
  },
  {
    name: 'no challenge',
    code: 'ChallengePasswordMissing',
    provoke: async () =>
      validate(await requestFor((await joined()).profile, { challengePassword: undefined })),
  },
  {
    name: 'a password instead of a challenge',
    code: 'ChallengeDecodingError',
    provoke: async () =>
      validate(await requestFor((await joined()).profile, { challengePassword: 'password' })),
  },
  {
    name: 'base64 that is no CMS',
    code: 'ChallengeDecodingError',
    provoke: async () =>
      validate(
        await requestFor((await joined()).profile, { challengePassword: base64(Buffer.alloc(900, 7)) }),
      ),
  },
  {
    name: 'a challenge of another tenant',
    code: 'SignatureValidationFailed',
    provoke: async () => {
      const { profile } = await joined();
      const certificate = await testCertificate({
        subject: 'CN=Challenge Signer',
        key: keys.other,
        kind: 'other',
      });
      const challengePassword = await buildChallenge(
        await payloadOf(profile.challenge),
        { certificate, sign: keys.other.sign },
        certificates.recipient,
      );
      return validate(await requestFor(profile, { challengePassword }));
    },
  },
  {
    name: 'the same payload sealed anew: signed well, but not the one given out',
    code: 'SignatureValidationFailed',
    provoke: async () => {
      const { profile } = await joined();
      const challengePassword = await seal(await payloadOf(profile.challenge));
      return validate(await requestFor(profile, { challengePassword }));
    },
  },
  {
    name: 'signed well, encrypted to somebody else',
    code: 'ChallengeDecryptionError',
    provoke: async () => {
      const { profile } = await joined();
      const stranger = await testCertificate({ subject: 'CN=Stranger', key: keys.other, kind: 'other' });
      const challengePassword = await signed(envelopeFor(stranger, '{}'));
      return validate(await requestFor(profile, { challengePassword }));
    },
  },
  {
    name: 'signed well, not encrypted at all',
    code: 'ChallengeDecryptionError',
    provoke: async () => {
      const { profile } = await joined();
      const challengePassword = await signed(Buffer.from(JSON.stringify({ version: 1 })));
      return validate(await requestFor(profile, { challengePassword }));
    },
  },
  {
    name: 'a payload of an unknown version',
    code: 'ChallengeDeserializationError',
    provoke: async () => {
      const { profile } = await joined();
      const payload = { ...(await payloadOf(profile.challenge)), version: 2 };
      const challengePassword = await signed(envelopeFor(certificates.recipient, JSON.stringify(payload)));
      return validate(await requestFor(profile, { challengePassword }));
    },
  },
  {
    name: 'a challenge from the future',
    code: 'ChallengeInvalidTimestamp',
    provoke: async () => {
      const { profile } = await joined();
      clock.offsetMs -= 10 * 60 * 1000;
      try {
        return await validate(await requestFor(profile));
      } finally {
        clock.offsetMs += 10 * 60 * 1000;
      }
    },
  },
  {
    name: 'a challenge that lives longer than an hour',
    code: 'ChallengeInvalidTimestamp',
    provoke: async () => {
      const { profile } = await joined();
      const payload = await payloadOf(profile.challenge);
      const longer = {
        ...payload,
        challengeId: randomUUID(),
        expiresAt: new Date(payload.expiresAt.getTime() + 1),
      };
      return validate(await requestFor(profile, { challengePassword: await seal(longer) }));
    },
  },
  {
    name: 'an hour later',
    code: 'ChallengeExpired',
    provoke: async () => {
      const { profile } = await joined();
      clock.offsetMs += HOUR_MS;
      try {
        return await validate(await requestFor(profile));
      } finally {
        clock.offsetMs -= HOUR_MS;
      }
    },
  },
  {
    name: 'a challenge that the store does not know',
    code: 'BadCertificateRequestIdInChallenge',
    provoke: async () => {
      const { profile } = await joined();
      const payload = { ...(await payloadOf(profile.challenge)), challengeId: randomUUID() };
      return validate(await requestFor(profile, { challengePassword: await seal(payload) }));
    },
  },
  ...(['retired', 'wiped'] as const).map((state) => ({
    name: `a device that was ${state}`,
    code: 'BadDeviceIdInChallenge' as const,
    provoke: async () => {
      const { device, profile } = await joined();
      await opened.mdm.setDeviceState(device.deviceId, state);
      return validate(await requestFor(profile));
    },
  })),
  {
    name: 'a device that was given to somebody else',
    code: 'BadUserIdInChallenge',
    provoke: async () => {
      const { profile, device } = await userDevice();
      const other = { userId: randomUUID(), userPrincipalName: user.userPrincipalName };
      await opened.mdm.setDeviceUser(device.deviceId, other);
      return validate(await requestFor(profile));
    },
  },
  {
    name: 'a device that belongs to nobody any more',
    code: 'BadUserIdInChallenge',
    provoke: async () => {
      const { profile, device } = await userDevice();
      await opened.mdm.setDeviceUser(device.deviceId, undefined);
      return validate(await requestFor(profile));
    },
  },
  {
    name: 'a device that was excluded',
    code: 'ScepProfileNoLongerTargetedToTheClient',
    provoke: async () => {
      const { device, profile } = await joined();
      await opened.mdm.excludeDevice(profile.profileId, device.deviceId);
      return validate(await requestFor(profile));
    },
  },
  {
    name: 'a profile that was deleted',
    code: 'ScepProfileNoLongerTargetedToTheClient',
    provoke: async () => {
      const { profile } = await userDevice();
      await opened.mdm.deleteProfile(userProfile.profileId);
      return validate(await requestFor(profile));
    },
  },
  {
    name: 'no subject',
    code: 'SubjectNameMissing',
    provoke: async () => validate(await requestFor((await joined()).profile, { subject: '' })),
  },
  {
    name: 'another subject',
    code: 'SubjectNameMismatch',
    provoke: async () =>
      validate(await requestFor((await joined()).profile, { subject: 'CN=somebody,O=Test' })),
  },
  {
    name: 'another device’s challenge',
    code: 'BadCertificateRequestIdInChallenge',
    provoke: async () => {
      const a = await joined();
      const b = await joined();
      return validate(await requestFor(b.profile, { challengePassword: a.profile.challenge }));
    },
  },
  {
    name: 'no alternative names',
    code: 'SubjectAltNameMissing',
    provoke: async () => validate(await requestFor((await joined()).profile, { subjectAltName: [] })),
  },
  {
    name: 'one alternative name more',
    code: 'SubjectAltNameMismatch',
    provoke: async () => {
      const { profile } = await joined();
      const subjectAltName = [
        ...profile.subjectAltName,
        { type: 'dNSName', value: 'dc1.example.com' } as const,
      ];
      return validate(await requestFor(profile, { subjectAltName }));
    },
  },
  {
    name: 'the same alternative name as another kind',
    code: 'SubjectAltNameMismatch',
    provoke: async () => {
      const { profile } = await joined();
      const subjectAltName = profile.subjectAltName.map(({ value }) => ({ type: 'dNSName', value }) as const);
      return validate(await requestFor(profile, { subjectAltName }));
    },
  },
  {
    name: 'no key usage',
    code: 'KeyUsageMismatch',
    provoke: async () => validate(await requestFor((await joined()).profile, { keyUsage: [] })),
  },
  {
    name: 'one key usage more',
    code: 'KeyUsageMismatch',
    provoke: async () =>
      validate(
        await requestFor((await joined()).profile, {
          keyUsage: ['digitalSignature', 'keyEncipherment', 'keyCertSign'],
        }),
      ),
  },
  {
    name: 'no purpose',
    code: 'EnhancedKeyUsageMissing',
    provoke: async () => validate(await requestFor((await joined()).profile, { extKeyUsage: [] })),
  },
  {
    name: 'one purpose more',
    code: 'EnhancedKeyUsageMismatch',
    provoke: async () =>
      validate(
        await requestFor((await joined()).profile, { extKeyUsage: [clientAuth, '1.3.6.1.5.5.7.3.1'] }),
      ),
  },
  {
    name: 'a longer key',
    code: 'KeyLengthMismatch',
    provoke: async () => validate(await requestFor((await joined()).profile, {}, rsaKey(3072))),
  },
  {
    name: 'a shorter key',
    code: 'KeyLengthMismatch',
    provoke: async () => validate(await requestFor((await joined()).profile, {}, rsaKey(1024))),
  },
  {
    name: 'an EC key',
    code: 'KeyLengthMismatch',
    provoke: async () => validate(await requestFor((await joined()).profile, {}, ecKey())),
  },
];

/** A device with a user, and the user's profile with a challenge. */
async function userDevice() {
  const { token } = await opened.mdm.createEnrolmentToken({ user });
  await opened.mdm.upsertProfile(userProfile);
  const { device } = await opened.mdm.join({
    token,
    deviceName: 'users-laptop',
    platform: 'windows',
    serialNumber: '1',
  });
  const { profiles } = await opened.mdm.checkIn(device, []);
  const profile = profiles.find(({ profileId }) => profileId === userProfile.profileId);
  if (profile?.kind !== 'scep' || profile.challenge === undefined) assert.fail('no challenge');
  return { device, profile: { ...profile, challenge: profile.challenge } };
}

for (const { name, code, provoke } of provocations) {
  test(`validateRequest: ${name}: ${code}`, async () => {
    assert.equal(await provoke(), code);
  });
}

test('every code of the table is provoked', () => {
  const provoked = new Set<string>(provocations.map(({ code }) => code));
  assert.deepEqual(
    Object.keys(resultCodes).filter((code) => code !== 'Success' && !provoked.has(code)),
    [],
  );
});

test('validateRequest: the request that the profile asks for: Success, also the second time', async () => {
  const { device, profile } = await joined();
  const request = await requestFor(profile);
  assert.equal(await validate(request), 'Success');
  assert.equal(await validate(request), 'Success');
  const [state] = opened.mdm.profileStates(device.deviceId);
  assert.equal(state?.issuanceState, 'challengeValidationSucceeded');
});

test('validateRequest: the order of names, usages and purposes does not matter', async () => {
  const { profile } = await joined();
  const request = await requestFor(profile, {
    subjectAltName: [...profile.subjectAltName].reverse(),
    keyUsage: [...profile.keyUsage].reverse(),
  });
  assert.equal(await validate(request), 'Success');
});

test('validateRequest: several faults: the first is the code, all are described', async () => {
  const { profile } = await joined();
  const request = await requestFor(profile, { subject: 'CN=x', keyUsage: [], extKeyUsage: [] });
  const answer = await validateRequest(opened.mdm.validationService, {
    transactionId: 't',
    certificateRequest: base64(request),
    callerInfo: 'test',
  });
  assert.equal(answer.code, 'SubjectNameMismatch');
  assert.match(answer.errorDescription, /SubjectNameMismatch.*KeyUsageMismatch.*EnhancedKeyUsageMissing/);
  assert.doesNotMatch(answer.errorDescription, /CN=x/);
});

test('validateRequest: a challenge with any octet changed is never accepted', async () => {
  const { profile } = await joined();
  assert.equal(await validate(await requestFor(profile)), 'Success');
  const challenge = Buffer.from(profile.challenge, 'base64');
  const codes = new Set<ResultCode>();
  for (let at = 0; at < challenge.length; at += 3) {
    const changed = Buffer.from(challenge);
    changed.writeUInt8(changed.readUInt8(at) ^ (1 << (at % 8)), at);
    const code = await validate(await requestFor(profile, { challengePassword: changed.toString('base64') }));
    assert.notEqual(code, 'Success', `octet ${at}`);
    codes.add(code);
  }
  // Both kinds of failure were met: octets that break the structure, and octets that break the signature alone.
  assert.ok(codes.has('ChallengeDecodingError') && codes.has('SignatureValidationFailed'), [...codes].join());
});

test('validateRequest: a challenge cut at any length, or with something after it, is never accepted', async () => {
  const { profile } = await joined();
  const { challenge } = profile;
  for (let length = 1; length < challenge.length; length += 97) {
    const request = await requestFor(profile, { challengePassword: challenge.slice(0, length) });
    assert.notEqual(await validate(request), 'Success', `length ${length}`);
  }
  for (const more of ['=', '\n', 'AAAA', ' ']) {
    const request = await requestFor(profile, { challengePassword: challenge + more });
    assert.notEqual(await validate(request), 'Success', JSON.stringify(more));
  }
});

test('requestFaults: any single changed expectation is a fault, and only its own', async () => {
  const { profile } = await joined();
  const csr = parseCertificationRequest(await requestFor(profile));
  const expected = {
    subject: profile.subject,
    subjectAltName: [...profile.subjectAltName],
    keyUsage: [...profile.keyUsage],
    extKeyUsage: [...profile.extKeyUsage],
    keyLength: profile.keyLength,
  };
  assert.deepEqual(requestFaults(csr, expected), []);

  const text = fc.string({ minLength: 1, maxLength: 30 });
  const nameTypes = ['dNSName', 'rfc822Name', 'uniformResourceIdentifier', 'userPrincipalName'] as const;
  const change = fc.oneof(
    text.map((subject) => ({ change: { subject }, code: 'SubjectNameMismatch' })),
    fc.nat(profile.subject.length - 1).map((at) => ({
      change: { subject: profile.subject.slice(0, at) + profile.subject.slice(at + 1) },
      code: 'SubjectNameMismatch',
    })),
    fc
      .array(fc.record({ type: fc.constantFrom(...nameTypes), value: text }), { maxLength: 3 })
      .map((subjectAltName) => ({ change: { subjectAltName }, code: 'SubjectAltNameMismatch' })),
    fc
      .subarray([...expected.subjectAltName], { maxLength: 1 })
      .map((subjectAltName) => ({ change: { subjectAltName }, code: 'SubjectAltNameMismatch' })),
    fc
      .subarray(['digitalSignature', 'nonRepudiation', 'keyEncipherment', 'cRLSign'] as const)
      .filter((keyUsage) => keyUsage.join() !== 'digitalSignature,keyEncipherment')
      .map((keyUsage) => ({ change: { keyUsage }, code: 'KeyUsageMismatch' })),
    fc
      .array(fc.constantFrom(clientAuth, '1.3.6.1.5.5.7.3.1', '2.5.29.37.0'), { maxLength: 3 })
      .filter((extKeyUsage) => extKeyUsage.join() !== clientAuth)
      .map((extKeyUsage) => ({ change: { extKeyUsage }, code: 'EnhancedKeyUsageMismatch' })),
    fc
      .integer()
      .filter((keyLength) => keyLength !== 2048)
      .map((keyLength) => ({ change: { keyLength }, code: 'KeyLengthMismatch' })),
  );
  fc.assert(
    fc.property(change, ({ change, code }) => {
      assert.deepEqual(requestFaults(csr, { ...expected, ...change }), [code]);
    }),
    { numRuns: 500 },
  );
});

// --- notifications ----------------------------------------------------------------------------------------------------

const success = {
  transactionId: 'transaction',
  certificateThumbprint: 'ab'.repeat(20),
  certificateSerialNumber: '0a1b',
  certificateExpirationDateUtc: '2031-02-03T04:05:06.000Z',
  issuingCertificateAuthority: 'CN=Test Issuing CA,O=Test',
  callerInfo: 'test',
  caConfiguration: null,
  certificateAuthority: null,
};
const failure = {
  transactionId: 'transaction',
  hResult: 0x80090020,
  errorDescription: 'the key is away',
  callerInfo: 'test',
};

test('notifications: refused for a request that was never validated, or under another transaction', async () => {
  const { device, profile } = await joined();
  const certificateRequest = base64(await requestFor(profile));
  const parts = opened.mdm.validationService;
  const code = 'BadCertificateRequestIdInChallenge';
  assert.equal((await successNotification(parts, { ...success, certificateRequest })).code, code);
  assert.equal((await failureNotification(parts, { ...failure, certificateRequest })).code, code);
  assert.equal(await validate(certificateRequest, 'another'), 'Success');
  assert.equal((await successNotification(parts, { ...success, certificateRequest })).code, code);
  // The same challenge with another key is another request.
  assert.equal(await validate(certificateRequest, 'transaction'), 'Success');
  const other = base64(await requestFor(profile, {}, keys.other));
  assert.equal((await successNotification(parts, { ...success, certificateRequest: other })).code, code);
  assert.deepEqual(opened.mdm.notifications(device.deviceId), []);
});

test('successNotification: refused if the device was retired or the profile withdrawn since', async () => {
  const parts = opened.mdm.validationService;
  const retired = await joined();
  const one = base64(await requestFor(retired.profile));
  assert.equal(await validate(one), 'Success');
  await opened.mdm.setDeviceState(retired.device.deviceId, 'retired');
  assert.equal(
    (await successNotification(parts, { ...success, certificateRequest: one })).code,
    'BadDeviceIdInChallenge',
  );

  const excluded = await joined();
  const two = base64(await requestFor(excluded.profile));
  assert.equal(await validate(two), 'Success');
  await opened.mdm.excludeDevice(excluded.profile.profileId, excluded.device.deviceId);
  assert.equal(
    (await successNotification(parts, { ...success, certificateRequest: two })).code,
    'ScepProfileNoLongerTargetedToTheClient',
  );
  // A failure is taken down all the same.
  assert.equal((await failureNotification(parts, { ...failure, certificateRequest: two })).code, 'Success');
});

test('successNotification: kept with all its fields, once, also after the challenge has expired', async () => {
  const { device, profile } = await joined();
  const certificateRequest = base64(await requestFor(profile));
  assert.equal(await validate(certificateRequest), 'Success');
  clock.offsetMs += 2 * HOUR_MS;
  try {
    const parts = opened.mdm.validationService;
    const notification = {
      ...success,
      caConfiguration: 'ca',
      certificateAuthority: 'issuing',
      certificateRequest,
    };
    assert.deepEqual(await successNotification(parts, notification), {
      code: 'Success',
      errorDescription: '',
    });
    await opened.mdm.report(device, { profileId: profile.profileId, issuanceState: 'installed' });
    assert.equal((await successNotification(parts, notification)).code, 'Success');
  } finally {
    clock.offsetMs -= 2 * HOUR_MS;
  }
  const [record, ...more] = opened.mdm.notifications(device.deviceId);
  assert.equal(more.length, 0);
  assert.equal(record?.kind, 'success');
  assert.equal(record?.profileId, profile.profileId);
  assert.deepEqual(record?.notification, {
    ...success,
    caConfiguration: 'ca',
    certificateAuthority: 'issuing',
  });
  const [state] = opened.mdm.profileStates(device.deviceId);
  // The repeated notification did not undo what the device had reported meanwhile.
  assert.equal(state?.issuanceState, 'installed');
  assert.equal(state?.thumbprint, 'AB'.repeat(20));
  assert.equal(state?.serialNumber, '0A1B');
  assert.deepEqual(state?.notAfter, new Date('2031-02-03T04:05:06Z'));
});

test('failureNotification: kept, and shown as issueFailed with its HRESULT', async () => {
  const { device, profile } = await joined();
  const certificateRequest = base64(await requestFor(profile));
  assert.equal(await validate(certificateRequest), 'Success');
  const parts = opened.mdm.validationService;
  assert.equal((await failureNotification(parts, { ...failure, certificateRequest })).code, 'Success');
  const [record] = opened.mdm.notifications(device.deviceId);
  assert.deepEqual(record?.notification, failure);
  const [state] = opened.mdm.profileStates(device.deviceId);
  assert.equal(state?.issuanceState, 'issueFailed');
  assert.equal(state?.errorCode, 0x80090020);
});

test('a failed validation is shown on the device, and an unauthentic challenge leaves no trace', async () => {
  const { device, profile } = await joined();
  await validate(await requestFor(profile, { challengePassword: `${application.appId}` }));
  assert.equal(opened.mdm.profileStates(device.deviceId)[0]?.issuanceState, 'challengeIssued');
  await validate(await requestFor(profile, { subject: 'CN=x' }));
  assert.equal(opened.mdm.profileStates(device.deviceId)[0]?.issuanceState, 'challengeValidationFailed');
});
