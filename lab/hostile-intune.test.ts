/** Each fault of the hostile Intune, before a real stand-in: what its caller sees, and whether anything is done. */
import assert from 'node:assert/strict';
import { Agent, request } from 'node:https';
import { after, before, describe, test } from 'node:test';
import type { OpenMdm } from '../src/mdm/index.ts';
import {
  application,
  joinedDevice,
  openTestMdm,
  requestFor,
  rootPem,
  tenant,
  tlsServer,
} from '../test/support/mdm-fixture.ts';
import { type Fault, failingCodes, HostileIntune, type Percentages } from './hostile-intune.ts';
import { freePort } from './ports.ts';

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  // biome-ignore lint/suspicious/noExplicitAny: whatever a service answers
  readonly body: any;
}

const GRAPH = '/v1.0/servicePrincipals/appId=0000000a-0000-0000-c000-000000000000/endpoints';
const agent = new Agent({ ca: rootPem, keepAlive: false });

/** One call; `undefined` if its connection ends without an answer. */
function ask(url: string, headers: Record<string, string>, body?: string): Promise<Answer | undefined> {
  return new Promise((resolve) => {
    const outgoing = request(
      url,
      { agent, method: body === undefined ? 'GET' : 'POST', headers },
      (incoming) => {
        let text = '';
        incoming.on('data', (chunk) => (text += chunk));
        incoming.on('end', () =>
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            body: JSON.parse(text) as unknown,
          }),
        );
      },
    );
    outgoing.on('error', () => resolve(undefined));
    outgoing.end(body);
  });
}

let port: number;
let mdm: OpenMdm;
before(async () => {
  port = await freePort();
  mdm = await openTestMdm({ tls: tlsServer, publicUrl: `https://127.0.0.1:${port}` });
});
after(async () => {
  agent.destroy();
  await mdm.close();
});

async function withHostile<T>(
  percentages: Percentages,
  work: (hostile: HostileIntune) => Promise<T>,
  seed = 7,
): Promise<T> {
  const hostile = await HostileIntune.start({
    target: `https://127.0.0.1:${mdm.address.port}`,
    port,
    tls: { ...tlsServer, passphrase: '' },
    ca: rootPem,
    seed,
    percentages,
    slowMsMax: 50,
  });
  try {
    return await work(hostile);
  } finally {
    await hostile.close();
  }
}

async function tokenFor(hostile: HostileIntune, scope: string): Promise<string> {
  const form = new URLSearchParams({
    grant_type: 'client_credentials',
    client_id: application.appId,
    client_secret: application.secret,
    scope,
  });
  const answer = await ask(
    `${hostile.url}/${tenant}/oauth2/v2.0/token?client-request-id=1`,
    { 'content-type': 'application/x-www-form-urlencoded' },
    form.toString(),
  );
  assert.equal(answer?.status, 200);
  return answer.body.access_token;
}

async function discover(hostile: HostileIntune): Promise<Record<string, string>> {
  const token = await tokenFor(hostile, `${hostile.url}/.default`);
  const answer = await ask(`${hostile.url}${GRAPH}`, { authorization: `Bearer ${token}` });
  assert.equal(answer?.status, 200);
  const found = answer.body.value.find(
    (each: { providerName: string }) =>
      each.providerName.toLowerCase() === 'scepRequestValidationFEService'.toLowerCase(),
  );
  assert.ok(found);
  return found;
}

/** A device of its own, and what comes of validating its request. */
async function validate(hostile: HostileIntune, percentages: Percentages) {
  hostile.spoil({});
  const token = await tokenFor(hostile, 'https://api.manage.microsoft.com//.default');
  const { uri } = await discover(hostile);
  const { device, profile } = await joinedDevice(mdm, `device-${Math.random()}`.slice(0, 20));
  const csr = Buffer.from(await requestFor(profile)).toString('base64');
  hostile.spoil(percentages);
  const answer = await ask(
    `${uri}/ScepActions/validateRequest`,
    {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      'api-version': '2018-02-20',
    },
    JSON.stringify({ request: { transactionId: 't-1', certificateRequest: csr, callerInfo: 'test' } }),
  );
  const state = mdm.mdm
    .profileStates(device.deviceId)
    .find(({ profileId }) => profileId === 'device-certificate');
  return { answer, isDone: state?.issuanceState === 'challengeValidationSucceeded' };
}

describe('what the hostile Intune lets pass', () => {
  test('is the stand-in’s own answer, and noted', async () => {
    await withHostile({}, async (hostile) => {
      const { answer, isDone } = await validate(hostile, {});
      assert.deepEqual(answer?.body, { code: 'Success', errorDescription: '' });
      assert.ok(isDone);
      assert.equal(hostile.count('token', 'calls'), 2);
      assert.equal(hostile.count('discovery', 'calls'), 1);
      const [told, ...more] = hostile.told;
      assert.deepEqual(more, []);
      assert.equal(told?.answer, 'Success');
      assert.equal(told.transactionId, 't-1');
      assert.match(told.requestHash, /^[0-9a-f]{64}$/);
    });
  });
});

describe('a fault', () => {
  const rows: readonly {
    readonly fault: Fault;
    readonly status: number | undefined;
    readonly isDone: boolean;
    readonly check?: (answer: Answer) => void;
  }[] = [
    { fault: 'unauthorized', status: 401, isDone: false },
    {
      fault: 'throttled',
      status: 429,
      isDone: false,
      check: ({ headers }) => assert.equal(headers['retry-after'], '1'),
    },
    {
      fault: 'failedBefore',
      status: 500,
      isDone: false,
      check: ({ body }) => assert.equal(body.error.code, 'InternalError'),
    },
    { fault: 'failedAfter', status: 500, isDone: true },
    { fault: 'cutAfter', status: undefined, isDone: true },
    {
      fault: 'refused',
      status: 200,
      isDone: false,
      check: ({ body }) => assert.ok(failingCodes.includes(body.code)),
    },
    {
      fault: 'unknownCode',
      status: 200,
      isDone: false,
      check: ({ body }) => assert.ok(body.code !== 'Success' && !failingCodes.includes(body.code)),
    },
    {
      fault: 'slow',
      status: 200,
      isDone: true,
      check: ({ body }) => assert.equal(body.code, 'Success'),
    },
    { fault: 'moved', status: 404, isDone: false },
  ];
  for (const { fault, status, isDone, check } of rows) {
    test(`${fault} is ${status ?? 'no answer'}, and the request is ${isDone ? '' : 'not '}judged`, async () => {
      await withHostile({}, async (hostile) => {
        const seen = await validate(hostile, { [fault]: 100 });
        assert.equal(seen.answer?.status, status);
        assert.equal(seen.isDone, isDone);
        if (seen.answer !== undefined) check?.(seen.answer);
        assert.equal(hostile.count('validateRequest', fault), 1);
      });
    });
  }

  test('that is ordered comes once, whatever the unit', async () => {
    await withHostile({}, async (hostile) => {
      hostile.answerNext('validateRequest', 'Unknown');
      const first = await validate(hostile, {});
      assert.equal(first.answer?.body.code, 'Unknown');
      assert.equal(first.isDone, false);
      assert.equal((await validate(hostile, {})).answer?.body.code, 'Success');
    });
  });

  test('mixedCase spells the name anew and names the same thing', async () => {
    await withHostile({}, async (hostile) => {
      hostile.spoil({ mixedCase: 100 });
      const { providerName } = await discover(hostile);
      assert.notEqual(providerName, 'ScepRequestValidationFEService');
      assert.equal(providerName?.toLowerCase(), 'scepRequestValidationFEService'.toLowerCase());
    });
  });

  test('moved: the address before is gone for good, the next one serves', async () => {
    await withHostile({}, async (hostile) => {
      const { uri: before } = await discover(hostile);
      const json = { 'content-type': 'application/json' };
      hostile.move();
      const { uri: now } = await discover(hostile);
      assert.notEqual(now, before);
      const gone = await ask(`${before}/ScepActions/validateRequest`, json, '{}');
      assert.equal(gone?.status, 404);
      const here = await ask(`${now}/ScepActions/validateRequest`, json, '{}');
      assert.equal(here?.status, 401);
    });
  });

  test('befalls the same calls for the same seed, and others for another', async () => {
    const run = (seed: number) =>
      withHostile(
        { unauthorized: 20, throttled: 20, failedBefore: 20 },
        async (hostile) => {
          const statuses: (number | undefined)[] = [];
          for (let count = 0; count < 20; count += 1)
            statuses.push((await ask(`${hostile.url}${GRAPH}`, { authorization: 'Bearer x' }))?.status);
          return statuses;
        },
        seed,
      );
    const first = await run(1);
    assert.deepEqual(await run(1), first);
    assert.notDeepEqual(await run(2), first);
    assert.ok(new Set(first).size > 2, String(first));
  });
});
