/** An MDM with keys, certificates, profiles and devices, for tests of it and of who calls it. */
import { constants, generateKeyPairSync, type KeyObject, privateDecrypt, sign } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  buildCertificate,
  buildCertificationRequest,
  buildPem,
  type Certificate,
  caBasicConstraintsExtension,
  type Decrypt,
  type Extension,
  extKeyUsageExtension,
  type GeneralName,
  type KeyUsage,
  keyUsageExtension,
  nameFromString,
  parseCertificate,
  type Sign,
  subjectAltNameExtension,
} from '../../src/codec/index.ts';
import { type MdmOptions, type OpenMdm, openMdm } from '../../src/mdm/index.ts';
import { type Clock, openLog } from '../../src/telemetry.ts';

/** A software key as the parts of the program see keys. */
export interface TestKey {
  readonly spki: Uint8Array;
  readonly sign: Sign;
  readonly decrypt: Decrypt;
  /** PKCS #8 PEM, for TLS servers. */
  readonly pem: string;
}

function testKeyFrom(publicKey: KeyObject, privateKey: KeyObject): TestKey {
  return {
    spki: publicKey.export({ format: 'der', type: 'spki' }),
    sign: async (algorithm, data) => sign(algorithm.split('-')[1] ?? 'sha256', data, privateKey),
    decrypt: async (transport, encryptedKey) =>
      privateDecrypt(
        transport.name === 'rsaes-oaep'
          ? { key: privateKey, padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: transport.digest }
          : { key: privateKey, padding: constants.RSA_PKCS1_PADDING },
        encryptedKey,
      ),
    pem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
  };
}

/** A new RSA key. */
export function rsaKey(bits = 2048): TestKey {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: bits });
  return testKeyFrom(publicKey, privateKey);
}

/** A new P-256 key. */
export function ecKey(): TestKey {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return testKeyFrom(publicKey, privateKey);
}

let serial = 1;

/** A certificate: of `subject` and `key`, by `issuer` or self-signed; a CA's, or one for TLS on 127.0.0.1. */
export async function testCertificate(fields: {
  readonly subject: string;
  readonly key: TestKey;
  readonly kind: 'ca' | 'tls' | 'other';
  readonly issuer?: { readonly certificate: Certificate; readonly key: TestKey };
}): Promise<Certificate> {
  const subject = nameFromString(fields.subject);
  const extensions: Extension[] = [];
  if (fields.kind === 'ca') {
    extensions.push(caBasicConstraintsExtension(), keyUsageExtension(['keyCertSign', 'cRLSign']));
  } else {
    extensions.push(keyUsageExtension(['digitalSignature', 'keyEncipherment']));
  }
  if (fields.kind === 'tls') {
    extensions.push(
      extKeyUsageExtension(['1.3.6.1.5.5.7.3.1']),
      subjectAltNameExtension([{ type: 'iPAddress', value: '127.0.0.1' }], subject),
    );
  }
  serial += 1;
  const der = await buildCertificate(
    {
      serialNumber: serial.toString(16).padStart(4, '0'),
      signatureAlgorithm: 'rsa-sha256',
      issuer: fields.issuer?.certificate.subject ?? subject,
      notBefore: new Date(Date.now() - 60_000),
      notAfter: new Date(Date.now() + 24 * 60 * 60 * 1000),
      subject,
      spki: fields.key.spki,
      extensions,
    },
    (fields.issuer?.key ?? fields.key).sign,
  );
  return parseCertificate(der);
}

/** What a certification request of a test says. */
export interface TestRequest {
  readonly subject: string;
  readonly subjectAltName?: readonly GeneralName[];
  readonly keyUsage?: readonly KeyUsage[];
  readonly extKeyUsage?: readonly string[];
  readonly challengePassword?: string | undefined;
}

/** DER of a certification request signed by `key`; empty lists leave their extension out. */
export function testRequest(key: TestKey, request: TestRequest): Promise<Uint8Array> {
  const subject = nameFromString(request.subject);
  const extensions: Extension[] = [];
  if (request.keyUsage?.length) extensions.push(keyUsageExtension(request.keyUsage));
  if (request.extKeyUsage?.length) extensions.push(extKeyUsageExtension(request.extKeyUsage));
  if (request.subjectAltName?.length) {
    extensions.push(subjectAltNameExtension(request.subjectAltName, subject));
  }
  const signatureAlgorithm = key.spki.length > 150 ? 'rsa-sha256' : 'ecdsa-sha256';
  return buildCertificationRequest(
    {
      subject,
      spki: key.spki,
      extensions,
      signatureAlgorithm,
      ...(request.challengePassword === undefined ? {} : { challengePassword: request.challengePassword }),
    },
    key.sign,
  );
}

/** A clock that a test can move; it runs with the machine's. */
export class MovableClock implements Clock {
  offsetMs = 0;
  now(): Date {
    return new Date(Date.now() + this.offsetMs);
  }
}

/** Keys take a moment to make: one set serves all tests of a process. */
export const keys = {
  root: rsaKey(),
  issuing: rsaKey(),
  signer: rsaKey(),
  recipient: rsaKey(),
  tls: rsaKey(),
  device: rsaKey(),
  other: rsaKey(),
};

/** Certificates over `keys`. */
export const certificates = await (async () => {
  const root = await testCertificate({ subject: 'CN=Test Root,O=Test', key: keys.root, kind: 'ca' });
  return {
    root,
    issuing: await testCertificate({
      subject: 'CN=Test Issuing CA,O=Test',
      key: keys.issuing,
      kind: 'ca',
      issuer: { certificate: root, key: keys.root },
    }),
    signer: await testCertificate({ subject: 'CN=Challenge Signer', key: keys.signer, kind: 'other' }),
    recipient: await testCertificate({
      subject: 'CN=Validation Service',
      key: keys.recipient,
      kind: 'other',
    }),
    tls: await testCertificate({
      subject: 'CN=mdm',
      key: keys.tls,
      kind: 'tls',
      issuer: { certificate: root, key: keys.root },
    }),
  };
})();

/** PEM of the root, to be trusted by TLS clients. */
export const rootPem = buildPem('CERTIFICATE', certificates.root.raw);

/** TLS certificate for 127.0.0.1 under the test root. */
export const tlsServer = { cert: buildPem('CERTIFICATE', certificates.tls.raw), key: keys.tls.pem };

export const tenant = '11111111-2222-4333-8444-555555555555';
export const application = { appId: '99999999-8888-4777-8666-555555555555', secret: 'application-secret-~.' };

export const clientAuth = '1.3.6.1.5.5.7.3.2';

/** The root's profile. */
export const rootProfile = {
  kind: 'trustedCertificate',
  profileId: 'root',
  displayName: 'Root',
  trustedRootCertificate: Buffer.from(certificates.root.raw).toString('base64'),
  destinationStore: 'computerCertStoreRoot',
} as const;

/** The issuing CA's profile. */
export const intermediateProfile = {
  kind: 'trustedCertificate',
  profileId: 'intermediate',
  displayName: 'Issuing CA',
  trustedRootCertificate: Buffer.from(certificates.issuing.raw).toString('base64'),
  destinationStore: 'computerCertStoreIntermediate',
} as const;

/** A device certificate's profile. */
export const deviceScepProfile = {
  kind: 'scep',
  profileId: 'device-certificate',
  displayName: 'Device certificate',
  certificateType: 'device',
  subjectNameFormat: 'CN={{DeviceId}},OU={{DeviceName}},O=Test',
  customSubjectAlternativeNames: [
    { sanType: 'universalResourceIdentifier', name: 'IntuneDeviceId://{{DeviceId}}' },
    { sanType: 'domainNameService', name: '{{DeviceName}}.devices.example.com' },
  ],
  keyUsage: ['digitalSignature', 'keyEncipherment'],
  keySize: 2048,
  extendedKeyUsages: [{ name: 'Client Authentication', objectIdentifier: clientAuth }],
  certificateValidityPeriodValue: 1,
  certificateValidityPeriodScale: 'years',
  scepServerUrls: ['https://scep.example.com/scep/devices'],
  rootCertificate: 'intermediate',
} as const;

/** A temporary folder that `remove` deletes. */
export async function temporaryFolder(): Promise<{
  readonly path: string;
  readonly remove: () => Promise<void>;
}> {
  const path = await mkdtemp(join(tmpdir(), 'leafgate-mdm-'));
  return { path, remove: () => rm(path, { recursive: true, force: true }) };
}

/** An MDM on 127.0.0.1, with the three profiles; close it. */
export async function openTestMdm(options: Partial<MdmOptions> = {}): Promise<OpenMdm> {
  const folder = await temporaryFolder();
  const opening = openMdm({
    databaseFile: join(folder.path, 'mdm.db'),
    host: '127.0.0.1',
    port: 0,
    tenant,
    applications: [application],
    challengeSigner: { certificate: certificates.signer, sign: keys.signer.sign },
    challengeRecipient: { certificate: certificates.recipient, decrypt: keys.recipient.decrypt },
    log: openLog('silent', 'mdm'),
    ...options,
  });
  opening.catch(folder.remove);
  const opened = await opening;
  await opened.mdm.upsertProfile(rootProfile);
  await opened.mdm.upsertProfile(intermediateProfile);
  await opened.mdm.upsertProfile(deviceScepProfile);
  return {
    ...opened,
    close: async () => {
      await opened.close();
      await folder.remove();
    },
  };
}

/** Lets a device join and gives its SCEP profile, with a challenge in it. */
export async function joinedDevice({ mdm }: Pick<OpenMdm, 'mdm'>, deviceName: string) {
  const { token } = await mdm.createEnrolmentToken();
  const { device, deviceToken } = await mdm.join({
    token,
    deviceName,
    platform: 'linux',
    serialNumber: `SN-${deviceName}`,
  });
  const { profiles } = await mdm.checkIn(device, []);
  const profile = profiles.find((each) => each.kind === 'scep');
  if (profile?.kind !== 'scep' || profile.challenge === undefined) {
    throw new Error('the check-in brought no challenge');
  }
  return { device, deviceToken, profile: { ...profile, challenge: profile.challenge } };
}

/** DER of the request that a profile asks for, or of one that differs from it in `changes`. */
export function requestFor(
  profile: TestRequest & { readonly challenge: string },
  changes: Partial<TestRequest> = {},
  key: TestKey = keys.device,
): Promise<Uint8Array> {
  return testRequest(key, {
    subject: profile.subject,
    subjectAltName: profile.subjectAltName ?? [],
    keyUsage: profile.keyUsage ?? [],
    extKeyUsage: profile.extKeyUsage ?? [],
    challengePassword: profile.challenge,
    ...changes,
  });
}
