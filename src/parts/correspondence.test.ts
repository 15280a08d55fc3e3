import assert from 'node:assert/strict';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { requestOf } from '../../test/support/authorities-fixture.ts';
import { newSite } from '../../test/support/cli-fixture.ts';
import { IntunePeer, json } from '../../test/support/intune-peer.ts';
import {
  application,
  MovableClock,
  openTestMdm,
  rootPem,
  tenant,
  tlsServer,
} from '../../test/support/mdm-fixture.ts';
import { nameToString, parseCertificationRequest } from '../codec/index.ts';
import { readConfig } from '../config.ts';
import { openLog, systemClock } from '../telemetry.ts';
import { openAuthorities } from './authorities.ts';
import { correspondenceOnRecord, openCorrespondence } from './correspondence.ts';

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
    // What waits is seen by whoever looks, without the server that leads.
    const source = `${tenant}/${application.appId}`;
    const waiting = {
      source,
      requestContext: 'waits',
      serialNumber: '0a',
      issuerName: 'CN=Nobody',
      action: 'revoke' as const,
      reason: 'unspecified' as const,
      receivedAt: new Date('2030-01-01T00:00:00Z'),
    };
    const { store } = authorities;
    await store.keepRevocationRequests([waiting]);
    assert.deepEqual(await correspondenceOnRecord(server, authorities, systemClock), {
      notificationsWaiting: 0,
      revocationRequests: [{ source, backlog: 1, oldest: waiting.receivedAt }],
    });
    await store.forgetRevocationRequests(source, ['waits']);
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
      // Intune has heard of it a moment before the round is over.
      const isOver = () =>
        mdm.mdm.revocationBacklog() === 0 && correspondence.state().revocationRequests.length > 0;
      for (let waitedMs = 0; !isOver(); waitedMs += 50) {
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

test('a certificate that Intune does not take note of is counted for whoever looks, once it is no matter of seconds', async () => {
  const peer = await new IntunePeer().open();
  peer.respond = (path) =>
    path.endsWith('/validateRequest') ? json(200, { code: 'Success' }) : json(500, { error: { code: 'x' } });
  const { folder, config: path } = await newSite();
  const log = openLog('silent', 'test');
  const clock = new MovableClock();
  try {
    const site = JSON.parse(readFileSync(path, 'utf8')) as { server: { endpoints: object[] } };
    const intune = {
      tenant,
      appId: application.appId,
      secret: 'file:intune.secret',
      authority: peer.url,
      graph: peer.url,
      extraCa: 'mdm.pem',
    };
    const [first] = site.server.endpoints;
    site.server.endpoints.push({
      ...first,
      name: 'devices',
      paths: ['/scep/devices'],
      validators: [{ intune }],
    });
    writeFileSync(path, JSON.stringify(site));
    writeFileSync(join(folder, 'mdm.pem'), rootPem);
    writeFileSync(join(folder, 'intune.secret'), application.secret, { mode: 0o600 });
    const { server } = readConfig(path);
    assert.ok(server !== undefined);
    const authorities = await openAuthorities(server, log, clock);
    const challengePassword = 'a challenge';
    try {
      const outcome = await authorities.ra.enrol({
        endpoint: 'devices',
        transactionID: 'transaction',
        csr: parseCertificationRequest(await requestOf({ challengePassword })),
        challengePassword,
        source: '',
        receivedAt: clock.now(),
      });
      assert.partialDeepStrictEqual(outcome, { outcome: 'unavailable', code: 'notification_failed' });
      const waiting = async () =>
        (await correspondenceOnRecord(server, authorities, clock)).notificationsWaiting;
      assert.equal(await waiting(), 0);
      clock.offsetMs += 2 * 60_000;
      assert.equal(await waiting(), 1);
      peer.respond = () => json(200, { code: 'Success' });
      assert.equal(await authorities.ra.notifications.tellPending(), 0);
      assert.equal(await waiting(), 0);
    } finally {
      await authorities.close();
    }
  } finally {
    rmSync(folder, { recursive: true });
    await peer.close();
  }
});
