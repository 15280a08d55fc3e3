/** What an Intune administrator sets up in the lab's MDM, and the devices that join it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Device, joinDevice, openDevice } from '../src/agent/index.ts';
import { oid, parsePem } from '../src/codec/index.ts';
import { readConfig } from '../src/config.ts';
import type { Mdm } from '../src/mdm/index.ts';
import { withMdm } from '../src/parts/mdm.ts';
import { openLog, systemClock } from '../src/telemetry.ts';
import type { Tenant } from './tenant.ts';

/** Works on the tenant's MDM as its administrator, beside the running MDM. */
export async function asMdmAdministrator<T>(tenant: Tenant, work: (mdm: Mdm) => Promise<T>): Promise<T> {
  const { mdm } = readConfig(tenant.configs.mdm);
  if (mdm === undefined) throw new Error('the tenant has no MDM');
  return await withMdm(mdm, openLog('warn', 'lab'), systemClock, work);
}

/** Name of the lab's SCEP profile. */
export const SCEP_PROFILE = 'scep-device';

/** Makes the three profiles of a two-tier PKI: trusted root, trusted intermediate, SCEP. Does nothing if they are there. */
export async function assignProfiles(tenant: Tenant): Promise<void> {
  const [issuing, root] = parsePem(await readFile(tenant.chainFile, 'utf8'), 'CERTIFICATE');
  if (root === undefined) throw new Error('the chain has no root');
  await asMdmAdministrator(tenant, async (mdm) => {
    if (mdm.profiles().some(({ profile }) => profile.profileId === SCEP_PROFILE)) return;
    await mdm.upsertProfile({
      kind: 'trustedCertificate',
      profileId: 'root',
      displayName: 'LAB Root CA',
      trustedRootCertificate: Buffer.from(root).toString('base64'),
      destinationStore: 'computerCertStoreRoot',
    });
    await mdm.upsertProfile({
      kind: 'trustedCertificate',
      profileId: 'intermediate',
      displayName: 'LAB Issuing CA',
      trustedRootCertificate: Buffer.from(issuing).toString('base64'),
      destinationStore: 'computerCertStoreIntermediate',
    });
    await mdm.upsertProfile({
      kind: 'scep',
      profileId: SCEP_PROFILE,
      displayName: 'LAB device certificate',
      certificateType: 'device',
      subjectNameFormat: 'CN={{DeviceId}},O=LAB',
      customSubjectAlternativeNames: [
        { sanType: 'domainNameService', name: '{{DeviceName}}.lab.test' },
        { sanType: 'universalResourceIdentifier', name: 'IntuneDeviceId://{{DeviceId}}' },
      ],
      keyUsage: ['digitalSignature', 'keyEncipherment'],
      keySize: 2048,
      extendedKeyUsages: [{ name: 'Client Authentication', objectIdentifier: oid.clientAuth }],
      certificateValidityPeriodValue: 1,
      certificateValidityPeriodScale: 'years',
      scepServerUrls: [tenant.urls.scep],
      rootCertificate: 'root',
    });
  });
}

/** The device of this name in the tenant's folder; it joins first if it has not. */
export async function deviceNamed(tenant: Tenant, name: string): Promise<Device> {
  const folder = join(tenant.folder, 'devices', name);
  try {
    return await openDevice(folder);
  } catch {
    const { token } = await asMdmAdministrator(tenant, (mdm) =>
      mdm.createEnrolmentToken({ lifetimeMs: 600_000 }),
    );
    return await joinDevice({
      folder,
      mdmUrl: tenant.urls.mdm,
      mdmCaPem: await readFile(tenant.rootFile, 'utf8'),
      token,
      deviceName: name,
      platform: 'windows',
      serialNumber: `LAB-${name.toUpperCase()}`,
    });
  }
}

/** Name of the lab's PKCS profile. */
export const PKCS_PROFILE = 'pkcs-device';

/** Assigns the PKCS profile to one device: a key that the connector makes. The profiles of the PKI must be there. */
export async function assignPkcsProfile(tenant: Tenant, deviceId: string): Promise<void> {
  await asMdmAdministrator(tenant, async (mdm) => {
    await mdm.upsertProfile(
      {
        kind: 'pkcs',
        profileId: PKCS_PROFILE,
        displayName: 'LAB device certificate by PKCS',
        certificateType: 'device',
        subjectNameFormat: 'CN={{DeviceId}},OU=PKCS,O=LAB',
        customSubjectAlternativeNames: [
          { sanType: 'universalResourceIdentifier', name: 'IntuneDeviceId://{{DeviceId}}' },
        ],
        keyUsage: ['digitalSignature'],
        extendedKeyUsages: [{ name: 'Client Authentication', objectIdentifier: oid.clientAuth }],
        certificationAuthorityName: 'issuing',
        certificateTemplateName: 'client-authentication',
        rootCertificate: 'intermediate',
      },
      [],
    );
    await mdm.setAssignments(PKCS_PROFILE, [{ intent: 'include', target: { kind: 'device', id: deviceId } }]);
  });
}
