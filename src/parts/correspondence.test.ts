import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { requestOf } from '../../test/support/authorities-fixture.ts';
import { newSite } from '../../test/support/cli-fixture.ts';
import { application, openTestMdm, rootPem, tenant, tlsServer } from '../../test/support/mdm-fixture.ts';
import { nameToString, parseCertificationRequest } from '../codec/index.ts';
import { readConfig } from '../config.ts';
import { openLog, systemClock } from '../telemetry.ts';
import { openAuthorities } from './authorities.ts';
import { openCorrespondence } from './correspondence.ts';

test('one connector for the endpoints of an application; what Intune wants is revoked by itself, and it hears of it', async () => {
  const mdm = await openTestMdm({ tls: tlsServer });
  const { folder, config: path } = await newSite();
  const log = openLog('silent', 'test');
  try {
    const site = JSON.parse(readFileSync(path, 'utf8')) as { server: { endpoints: object[] } };
    const [first] = site.server.endpoints;
    for (const [name, appId] of [
      ['devices', application.appId],
      ['users', application.appId.toUpperCase()],
      ['quiet', 'another'],
    ] as const) {
      const intune = {
        tenant,
        appId,
        secret: 'file:intune.secret',
        authority: mdm.publicUrl,
        graph: mdm.publicUrl,
        extraCa: 'mdm.pem',
        ...(name === 'quiet' ? {} : { revocation: { every: '1s' } }),
      };
      site.server.endpoints.push({ ...first, name, paths: [`/scep/${name}`], validators: [{ intune }] });
    }
    writeFileSync(path, JSON.stringify(site));
    writeFileSync(join(folder, 'mdm.pem'), rootPem);
    writeFileSync(join(folder, 'intune.secret'), application.secret, { mode: 0o600 });
    const { server } = readConfig(path);
    assert.ok(server !== undefined);
    const authorities = await openAuthorities(server, log, systemClock);
    const begin = await openCorrespondence(server, authorities, log, systemClock);
    const correspondence = begin();
    try {
      const { serialNumber, issuer } = await authorities.ra.enrolService({
        issuer: 'issuing',
        template: 'client-authentication',
        csr: parseCertificationRequest(await requestOf({})),
        operator: 'test',
      });
      await mdm.mdm.requestRevocation({
        serialNumber: serialNumber.toUpperCase(),
        issuerName: nameToString(issuer),
        action: 'revoke',
      });
      for (let waitedMs = 0; mdm.mdm.revocationBacklog() > 0; waitedMs += 50) {
        assert.ok(waitedMs < 20_000, JSON.stringify(correspondence.state()));
        await sleep(50);
      }
      assert.equal((await authorities.ca.certificate('issuing', serialNumber))?.status, 'revoked');
      const { revocationRequests, notificationsWaiting } = correspondence.state();
      assert.deepEqual(
        revocationRequests.map(({ source }) => source),
        [`${tenant}/${application.appId}`],
      );
      assert.equal(notificationsWaiting, 0);
    } finally {
      await correspondence.close();
      await authorities.close();
    }
  } finally {
    rmSync(folder, { recursive: true });
    await mdm.close();
  }
});
