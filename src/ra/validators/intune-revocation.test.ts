import assert from 'node:assert/strict';
import { afterEach, describe, test } from 'node:test';
import {
  auditIn,
  certificates as caCertificates,
  openTestAuthorities,
  publishedCrl,
  requestOf,
  type TestAuthorities,
} from '../../../test/support/authorities-fixture.ts';
import { StoreFailures } from '../../../test/support/failing-store.ts';
import { IntunePeer, json, type PeerReply } from '../../../test/support/intune-peer.ts';
import { application, openTestMdm, rootPem, tenant, tlsServer } from '../../../test/support/mdm-fixture.ts';
import { nameToString, parseCertificate, parseCertificationRequest, parseCrl } from '../../codec/index.ts';
import { openLog } from '../../telemetry.ts';
import { type IntuneRevocation, intuneRevocation } from './intune-revocation.ts';

const issuerName = nameToString(caCertificates.issuing.subject);
const source = `${tenant}/${application.appId}`;
const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

async function open(options: Parameters<typeof openTestAuthorities>[0] = {}): Promise<TestAuthorities> {
  const authorities = await openTestAuthorities(options);
  closers.push(() => authorities.close());
  return authorities;
}

function connectorTo(url: string, { ca, store }: TestAuthorities): IntuneRevocation {
  const connector = intuneRevocation({
    tenant,
    appId: application.appId,
    credential: { secret: application.secret },
    authority: url,
    graph: url,
    extraCa: rootPem,
    timeoutMs: 1000,
    ca,
    store,
    issuers: ['issuing'],
    actor: 'svc-connector',
    log: openLog('silent', 'test'),
  });
  closers.push(() => connector.close());
  return connector;
}

let number = 0;
async function issued({ ra, clock }: TestAuthorities): Promise<string> {
  number += 1;
  const challengePassword = `challenge-${number}`;
  const outcome = await ra.enrol({
    endpoint: 'scripted',
    transactionID: challengePassword,
    csr: parseCertificationRequest(await requestOf({ challengePassword })),
    challengePassword,
    source: '',
    receivedAt: clock.now(),
  });
  assert.ok(outcome.outcome === 'issued', JSON.stringify(outcome));
  return parseCertificate(outcome.certificate).serialNumber;
}

async function statusOf({ ca }: TestAuthorities, serialNumber: string): Promise<string | undefined> {
  const record = await ca.certificate('issuing', serialNumber);
  return record?.status === 'revoked' ? `revoked: ${record.revocationReason}` : record?.status;
}

async function listed({ ca }: TestAuthorities): Promise<string[]> {
  return parseCrl((await publishedCrl(ca)).crl).revoked.map(({ serialNumber }) => serialNumber);
}

/** A service that hands out `requests`, and takes results as it is told. */
async function peerWith(requests: readonly unknown[], uploads: PeerReply[] = []): Promise<IntunePeer> {
  const peer = await new IntunePeer().open();
  closers.push(() => peer.close());
  peer.respond = (path) =>
    path.endsWith('/downloadRevocationRequests')
      ? json(200, { value: requests })
      : (uploads.shift() ?? json(200, { value: true }));
  return peer;
}

const uploaded = (peer: IntunePeer): unknown[] =>
  peer
    .calls('/uploadRevocationResults')
    .flatMap(({ body }) => (JSON.parse(body) as { results: unknown[] }).results);

describe('against the stand-in', () => {
  test('what the MDM wants is revoked, held, released, on the CRL, and answered; a second round does nothing', async () => {
    const mdm = await openTestMdm({ tls: tlsServer });
    closers.push(() => mdm.close());
    const authorities = await open();
    const [gone, lost, found] = [
      await issued(authorities),
      await issued(authorities),
      await issued(authorities),
    ];
    const ask = (serialNumber: string, action: 'revoke' | 'hold' | 'release') =>
      mdm.mdm.requestRevocation({
        serialNumber: serialNumber.toUpperCase(),
        issuerName,
        action,
        ...(action === 'revoke' ? { reason: 'privilegeWithdrawn' as const } : {}),
      });
    await ask(gone, 'revoke');
    await ask(lost, 'hold');
    await ask(found, 'hold');
    await ask(found, 'release');
    await mdm.mdm.requestRevocation({
      serialNumber: gone.toUpperCase(),
      issuerName: 'CN=Other',
      action: 'revoke',
    });
    const connector = connectorTo(mdm.publicUrl, authorities);
    const state = await connector.work();
    assert.deepEqual({ ...state, succeededAt: undefined }, { source, backlog: 0, succeededAt: undefined });
    assert.ok(state.succeededAt !== undefined);
    assert.equal(await statusOf(authorities, gone), 'revoked: privilegeWithdrawn');
    assert.equal(await statusOf(authorities, lost), 'revoked: certificateHold');
    assert.equal(await statusOf(authorities, found), 'issued');
    assert.deepEqual((await listed(authorities)).sort(), [gone, lost].sort());
    // The other CA's request is nobody's business here.
    assert.equal(mdm.mdm.revocationBacklog(), 1);
    const [entry] = await auditIn(authorities);
    assert.equal(entry?.actor, 'svc-connector');
    assert.match(entry?.text ?? '', /asked for by Intune/);
    const before = (await auditIn(authorities)).length;
    await connector.work();
    assert.equal((await auditIn(authorities)).length, before);
  });
});

describe('against a service that misbehaves', () => {
  test('exact paths, headers and bodies', async () => {
    const authorities = await open();
    const serialNumber = await issued(authorities);
    const peer = await peerWith([
      {
        requestContext: 'a+b/c==',
        serialNumber: serialNumber.toUpperCase(),
        issuerName,
        caConfiguration: null,
      },
    ]);
    await connectorTo(peer.url, authorities).work();
    const [download] = peer.calls('/downloadRevocationRequests');
    assert.equal(download?.path, '/pki/CertificateAuthorityRequests/downloadRevocationRequests');
    assert.equal(download?.headers['api-version'], '5019-05-05');
    assert.match(String(download?.headers['client-request-id']), /^[0-9a-f-]{36}$/);
    assert.deepEqual(JSON.parse(download?.body ?? ''), {
      downloadParameters: { maxRequests: 100, issuerName },
    });
    assert.deepEqual(uploaded(peer), [
      { requestContext: 'a+b/c==', succeeded: true, errorCode: 'None', errorMessage: null },
    ]);
    assert.equal(await statusOf(authorities, serialNumber), 'revoked: unspecified');
  });

  test('a reason that only people may give, or none, is none', async () => {
    const authorities = await open();
    const reasons = ['cACompromise', 'aACompromise', 'keyCompromise', 'removeFromCRL', 'constructor', 7];
    const serialNumbers: string[] = [];
    for (const _ of reasons) serialNumbers.push(await issued(authorities));
    const peer = await peerWith(
      reasons.map((reason, index) => ({
        requestContext: `${index}`,
        serialNumber: serialNumbers[index],
        issuerName,
        reason,
      })),
    );
    assert.equal((await connectorTo(peer.url, authorities).work()).backlog, 0);
    for (const [index, serialNumber] of serialNumbers.entries())
      assert.equal(await statusOf(authorities, serialNumber), 'revoked: unspecified', `${reasons[index]}`);
  });

  test('duplicates, unknown and unreadable serials, another issuer, rubbish', async () => {
    const authorities = await open();
    const serialNumber = await issued(authorities);
    const other = await issued(authorities);
    const peer = await peerWith([
      { requestContext: '1', serialNumber, issuerName },
      { requestContext: '1', serialNumber, issuerName },
      { requestContext: '2', serialNumber: `0x${serialNumber}`, issuerName },
      { requestContext: '3', serialNumber: '77', issuerName },
      { requestContext: '4', serialNumber: 'no number', issuerName },
      { requestContext: '5', serialNumber: other, issuerName: 'CN=Other CA' },
      { requestContext: 6, serialNumber: other, issuerName },
      { requestContext: '7', serialNumber: other },
      { requestContext: '8', serialNumber: other, issuerName, action: 'release' },
      null,
      'x',
    ]);
    await connectorTo(peer.url, authorities).work();
    const said = (uploaded(peer) as { requestContext: string; errorCode: string }[]).map(
      ({ requestContext, errorCode }) => `${requestContext} ${errorCode}`,
    );
    assert.deepEqual(said, [
      '1 None',
      '2 None',
      '3 CertificateNotFoundError',
      '4 ParameterDataInvalidError',
      '8 None',
    ]);
    assert.equal(await statusOf(authorities, other), 'issued');
  });

  const refusals: readonly (readonly [name: string, reply: PeerReply])[] = [
    ['HTTP 200 with value false', json(200, { value: false })],
    ['HTTP 200 with value "true"', json(200, { value: 'true' })],
    ['HTTP 200 with nothing', json(200, '')],
    ['HTTP 500', json(500, { error: { code: 'InternalError' } })],
    ['a dropped connection', 'drop'],
    ['no answer', 'hang'],
  ];
  for (const [name, reply] of refusals) {
    test(`results that end in ${name} stay on record and are uploaded again, also by another process`, async () => {
      const authorities = await open();
      const serialNumber = await issued(authorities);
      const requests = [{ requestContext: 'once', serialNumber, issuerName }];
      const peer = await peerWith(requests, [reply, reply, reply]);
      const first = connectorTo(peer.url, authorities);
      const state = await first.work();
      assert.equal(state.backlog, 1);
      assert.ok(state.lastError !== undefined && state.oldest !== undefined);
      assert.equal(await statusOf(authorities, serialNumber), 'revoked: unspecified');
      // Intune hands out each request once, and the process ends.
      requests.length = 0;
      const again = await peerWith([]);
      const second = await connectorTo(again.url, authorities).work();
      assert.deepEqual([second.backlog, second.lastError], [0, undefined]);
      assert.deepEqual(uploaded(again), [
        { requestContext: 'once', succeeded: true, errorCode: 'None', errorMessage: null },
      ]);
    });
  }

  for (const [name, refusal] of [
    ['HTTP 200 with value false', json(200, { value: false })],
    ['HTTP 400', json(400, { error: { code: 'BadRequest' } })],
  ] as const) {
    test(`one result that Intune never takes (${name}) keeps no other waiting, nor a later request`, async () => {
      const authorities = await open();
      const [first, poisoned, last, later] = [
        await issued(authorities),
        await issued(authorities),
        await issued(authorities),
        await issued(authorities),
      ];
      const requests = [
        { requestContext: 'first', serialNumber: first, issuerName },
        // What follows about the same certificate waits with it: together they come again in their order.
        { requestContext: 'poisoned', serialNumber: poisoned, issuerName, action: 'hold' },
        { requestContext: 'after', serialNumber: poisoned, issuerName, action: 'release' },
        { requestContext: 'last', serialNumber: last, issuerName },
      ];
      const peer = await peerWith(requests);
      const respond = peer.respond;
      const taken: string[] = [];
      peer.respond = (path, body) => {
        if (!path.endsWith('/uploadRevocationResults')) return respond(path, body);
        const contexts = (JSON.parse(body) as { results: { requestContext: string }[] }).results.map(
          ({ requestContext }) => requestContext,
        );
        if (contexts.includes('poisoned')) return refusal;
        taken.push(...contexts);
        return respond(path, body);
      };
      const connector = connectorTo(peer.url, authorities);
      const state = await connector.work();
      assert.equal(state.backlog, 2);
      assert.match(state.lastError?.text ?? '', /the results were not taken/);
      assert.deepEqual(taken, ['first', 'last']);
      requests.splice(0, 4, { requestContext: 'later', serialNumber: later, issuerName });
      assert.equal((await connector.work()).backlog, 2);
      assert.deepEqual(taken, ['first', 'last', 'later']);
      for (const serialNumber of [first, last, later])
        assert.equal(await statusOf(authorities, serialNumber), 'revoked: unspecified');
      assert.equal(await statusOf(authorities, poisoned), 'issued');
    });
  }

  test('a service that takes no result at all is not asked for ever', async () => {
    const authorities = await open();
    const requests = Array.from({ length: 100 }, (_, index) => ({
      requestContext: `request-${index}`,
      // Each is about another certificate: none of them waits for another.
      serialNumber: (0x7700 + index).toString(16),
      issuerName,
    }));
    const peer = await peerWith(
      requests,
      Array.from({ length: 1000 }, () => json(200, { value: false })),
    );
    const state = await connectorTo(peer.url, authorities).work();
    assert.equal(state.backlog, 100);
    assert.ok(peer.calls('/uploadRevocationResults').length < 50);
  });

  test('nothing is answered before it is revoked and listed', async () => {
    for (const write of ['revoke', 'reserveCrlNumber'] as const) {
      const failures = new StoreFailures();
      const authorities = await open({ storeOf: failures.wrap });
      const serialNumber = await issued(authorities);
      const requests = [{ requestContext: 'x', serialNumber, issuerName }];
      const peer = await peerWith(requests);
      const connector = connectorTo(peer.url, authorities);
      await publishedCrl(authorities.ca);
      failures.plan(write, 'not persisted');
      const state = await connector.work();
      assert.equal(failures.pending, 0, write);
      assert.equal(state.backlog, 1, write);
      assert.deepEqual(uploaded(peer), [], write);
      requests.length = 0;
      assert.equal((await connector.work()).backlog, 0, write);
      assert.equal(uploaded(peer).length, 1, write);
      assert.deepEqual(await listed(authorities), [serialNumber], write);
    }
  });

  for (const [name, reply] of [
    ['HTTP 403', json(403, '')],
    ['no list', json(200, { value: {} })],
    ['HTTP 429 for ever', json(429, '', { 'retry-after': '0' })],
  ] as const) {
    test(`requests that end in ${name} change nothing`, async () => {
      const authorities = await open();
      const peer = await new IntunePeer().open();
      closers.push(() => peer.close());
      peer.respond = () => reply;
      const state = await connectorTo(peer.url, authorities).work();
      assert.equal(state.backlog, 0);
      assert.ok(state.lastError !== undefined && !state.lastError.text.includes(application.secret));
    });
  }
});
