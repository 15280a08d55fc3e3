import assert from 'node:assert/strict';
import { chmod, mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import {
  ContainerSASPermissions,
  generateBlobSASQueryParameters,
  StorageSharedKeyCredential,
} from '@azure/storage-blob';
import { certificates } from '../../test/support/authorities-fixture.ts';
import {
  azuriteAccount,
  azuriteConnectionString,
  azuriteKey,
  newContainer,
  newCrl,
  type StorageServer,
  s3Key,
  startAzurite,
  startConditionalS3,
  startS3,
} from '../../test/support/storage-fixture.ts';
import { PkiError } from '../errors.ts';
import { azureBlobTarget } from './azure-blob.ts';
import { folderTarget } from './folder.ts';
import { caCertificateObjects, cacheControlOf, crlObject } from './objects.ts';
import { s3Target } from './s3.ts';
import { compareAll, publishAll, publishObject, sha256Of, type Target } from './target.ts';

const signal = () => AbortSignal.timeout(60_000);
const publish = (target: Target, object: ReturnType<typeof crlObject>) =>
  publishObject(target, object, new Date(), signal());

/** Ends with `publish_failed` in words that hold none of the secrets. */
async function failing(
  work: () => Promise<unknown>,
  words: RegExp,
  secrets: readonly string[] = [],
): Promise<void> {
  await assert.rejects(work, (thrown) => {
    assert.ok(thrown instanceof PkiError, String(thrown));
    assert.equal(thrown.code, 'publish_failed');
    assert.match(thrown.message, words);
    // Whatever a log would make of it.
    const everything = `${thrown.stack}${JSON.stringify(thrown, Object.getOwnPropertyNames(thrown))}${thrown.cause}`;
    for (const secret of secrets) assert.ok(!everything.includes(secret), everything);
    return true;
  });
}

let azurite: StorageServer;
let s3: StorageServer;
let conditionalS3: Awaited<ReturnType<typeof startConditionalS3>>;
let folder: string;
let sasUrl: string;
/** Targets of every kind, each empty, by a name of their own. */
const targets = new Map<string, Target>();
/** Where anyone fetches what is there; absent for a folder. */
const publicUrls = new Map<string, string>();

const s3Options = (name: string, url: string, prefix: string, secretAccessKey = s3Key) => ({
  name,
  bucket: 'pki',
  region: 'eu-central-1',
  endpoint: url,
  addressing: 'path' as const,
  prefix,
  accessKeyId: s3Key,
  secretAccessKey,
});

before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leafgate-publish-'));
  [azurite, s3] = await Promise.all([startAzurite(), startS3()]);
  conditionalS3 = await startConditionalS3(s3.url);
  await newContainer(azurite.url, 'pki');
  const { url } = await newContainer(azurite.url, 'signed');
  const signature = generateBlobSASQueryParameters(
    {
      containerName: 'signed',
      permissions: ContainerSASPermissions.parse('rcw'),
      expiresOn: new Date(Date.now() + 3_600_000),
    },
    new StorageSharedKeyCredential(azuriteAccount, azuriteKey),
  );
  sasUrl = `${url}?${signature}`;
  const connectionString = azuriteConnectionString(azurite.url);
  const made = await Promise.all([
    folderTarget({ name: 'folder', folder: join(folder, 'deep', 'published') }),
    azureBlobTarget({
      name: 'azure',
      credential: { type: 'connectionString', connectionString, container: 'pki' },
      prefix: 'ca/',
    }),
    azureBlobTarget({ name: 'azure by SAS', credential: { type: 'sasUrl', sasUrl }, prefix: '' }),
    s3Target(s3Options('s3', s3.url, 'ca/')),
    s3Target(s3Options('s3 with conditions', conditionalS3.url, '')),
  ]);
  for (const target of made) targets.set(target.name, target);
  publicUrls.set('azure', `${azurite.url}/${azuriteAccount}/pki/ca/`);
  publicUrls.set('azure by SAS', `${url}/`);
  publicUrls.set('s3', `${s3.url}/pki/ca/`);
  publicUrls.set('s3 with conditions', `${s3.url}/pki/`);
});
after(async () => {
  await conditionalS3.stop();
  await Promise.all([azurite.remove(), s3.remove(), rm(folder, { recursive: true, force: true })]);
});

const kinds = ['folder', 'azure', 'azure by SAS', 's3', 's3 with conditions'] as const;
const targetOf = (kind: string) => targets.get(kind) as Target;

for (const kind of kinds) {
  describe(kind, () => {
    test('does not tell its credentials where it says where it is', () => {
      const { place } = targetOf(kind);
      if (kind !== 'folder') assert.ok(URL.canParse(place), place);
      for (const secret of [azuriteKey, 'sig=', s3Key]) assert.ok(!place.includes(secret), place);
    });

    test('holds nothing at first', async () => {
      const target = targetOf(kind);
      assert.equal(await target.held('a.crl', signal()), undefined);
      assert.equal(await target.read('a.crl', signal()), undefined);
      const [missing] = await compareAll(target, [crlObject('a', await newCrl(1))], signal());
      assert.equal(missing?.outcome, 'different');
    });

    test('holds what was published, octet for octet', async () => {
      const target = targetOf(kind);
      const objects = [
        crlObject('issuing', await newCrl(5, { entries: 1000 })),
        ...caCertificateObjects('issuing', [certificates.issuing.raw, certificates.root.raw]),
      ];
      const first = await publishAll(target, objects, new Date(), signal());
      assert.deepEqual(
        first.map(({ object, outcome }) => `${object} ${outcome}`),
        objects.map(({ name }) => `${name} published`),
      );
      for (const { name, bytes } of objects) {
        assert.deepEqual(Buffer.from((await target.read(name, signal())) ?? []), Buffer.from(bytes), name);
      }
      for (const again of [
        await publishAll(target, objects, new Date(), signal()),
        await compareAll(target, objects, signal()),
      ]) {
        assert.deepEqual(
          again.map(({ outcome }) => outcome),
          objects.map(() => 'unchanged'),
        );
      }
      const held = await target.held('issuing.crl', signal());
      assert.equal(held?.number, 5n);
      assert.deepEqual(held.nextUpdate, objects[0]?.nextUpdate);
      assert.equal(held.sha256, sha256Of(objects[0]?.bytes ?? new Uint8Array()));
    });

    test('serves it with its headers', async () => {
      const base = publicUrls.get(kind);
      const object = crlObject('headers', await newCrl(1));
      await publish(targetOf(kind), object);
      if (base === undefined) {
        // Another account must be able to serve the file.
        const { mode } = await stat(join(folder, 'deep', 'published', object.name));
        assert.equal(mode & 0o777, 0o644);
        return;
      }
      const response = await fetch(`${base}${object.name}`);
      assert.equal(response.status, 200);
      assert.deepEqual(Buffer.from(await response.arrayBuffer()), Buffer.from(object.bytes));
      assert.equal(response.headers.get('content-type'), 'application/pkix-crl');
      assert.equal(response.headers.get('cache-control'), 'public, max-age=3600');
      // Nearer to its end it may be kept less long, though its octets are the same.
      const later = new Date((object.nextUpdate?.getTime() ?? 0) - 1_800_000);
      assert.equal(await publishObject(targetOf(kind), object, later, signal()), 'published');
      const shorter = await fetch(`${base}${object.name}`);
      assert.equal(shorter.headers.get('cache-control'), cacheControlOf(object, later));
      assert.notEqual(shorter.headers.get('cache-control'), 'public, max-age=3600');
      await shorter.body?.cancel();
    });

    test('an older CRL never replaces a newer one', async () => {
      const target = targetOf(kind);
      const [older, newer, resigned] = [
        crlObject('order', await newCrl(9)),
        crlObject('order', await newCrl(10)),
        crlObject('order', await newCrl(10, { entries: 2 })),
      ];
      assert.equal(await publish(target, older), 'published');
      assert.equal(await publish(target, newer), 'published');
      await failing(() => publish(target, older), /order\.crl has the number 10 there, ours is 9/);
      assert.deepEqual(
        Buffer.from((await target.read('order.crl', signal())) ?? []),
        Buffer.from(newer.bytes),
      );
      assert.equal(await publish(target, resigned), 'published');
      assert.deepEqual(
        Buffer.from((await target.read('order.crl', signal())) ?? []),
        Buffer.from(resigned.bytes),
      );
    });

    test('one object that fails does not hold up the others', async () => {
      const target = targetOf(kind);
      const newer = crlObject('held-up', await newCrl(2));
      await publish(target, newer);
      const older = crlObject('held-up', await newCrl(1));
      const other = crlObject('not-held-up', await newCrl(1));
      const publications = await publishAll(target, [older, other], new Date(), signal());
      assert.deepEqual(
        publications.map(({ outcome }) => outcome),
        ['failed', 'published'],
      );
    });

    test('ends when it is told to', async () => {
      const ended = AbortSignal.abort();
      const object = crlObject('ended', await newCrl(1));
      await failing(() => publishObject(targetOf(kind), object, new Date(), ended), new RegExp(`^${kind}: `));
      assert.equal(await targetOf(kind).read('ended.crl', signal()), undefined);
    });
  });
}

// s3rver writes a file in its place, so that a reader may meet half of it; S3 itself promises that nobody does.
for (const kind of ['folder', 'azure'] as const) {
  test(`${kind}: a reader never meets a torn object`, async () => {
    const target = targetOf(kind);
    const name = 'torn.crl';
    const crls = await Promise.all(
      Array.from({ length: 12 }, async (_, index) =>
        crlObject('torn', await newCrl(index + 1, { entries: 20_000 + index * 500 })),
      ),
    );
    const known = new Set(crls.map(({ bytes }) => sha256Of(bytes)));
    await publish(target, crls[0] as (typeof crls)[number]);
    let writing = true;
    const seen = new Set<string>();
    let reads = 0;
    const faults: string[] = [];
    const readers = Array.from({ length: 3 }, async () => {
      while (writing) {
        const bytes = (await target.read(name, signal())) ?? new Uint8Array();
        if (!known.has(sha256Of(bytes))) faults.push(`${bytes.length} octets`);
        seen.add(sha256Of(bytes));
        reads += 1;
      }
    });
    for (const crl of crls.slice(1)) {
      const readsBefore = reads;
      await publish(target, crl);
      while (reads < readsBefore + 2) await new Promise((resolve) => setImmediate(resolve));
    }
    writing = false;
    await Promise.all(readers);
    assert.deepEqual(faults, []);
    assert.ok(seen.size > 2, `${seen.size} versions seen in ${reads} reads`);
  });
}

for (const kind of ['azure', 's3 with conditions'] as const) {
  describe(`${kind}: two who publish at the same moment`, () => {
    test('what changed after the look is not replaced', async () => {
      const target = targetOf(kind);
      const [one, two, three] = await Promise.all(
        [1, 2, 3].map(async (number) => {
          const object = crlObject('race', await newCrl(number));
          const headers = { contentType: object.contentType, cacheControl: 'no-cache' };
          return { ...object, headers, sha256: sha256Of(object.bytes) };
        }),
      );
      assert.ok(one !== undefined && two !== undefined && three !== undefined);
      assert.equal(await target.replace(one, undefined, signal()), 'replaced');
      assert.equal(await target.replace(two, undefined, signal()), 'changed');
      const held = await target.held('race.crl', signal());
      assert.equal(await target.replace(three, held, signal()), 'replaced');
      assert.equal(await target.replace(two, held, signal()), 'changed');
      assert.deepEqual(
        Buffer.from((await target.read('race.crl', signal())) ?? []),
        Buffer.from(three.bytes),
      );
    });

    test('the higher number stays', async () => {
      const target = targetOf(kind);
      for (let round = 1; round <= 10; round += 1) {
        const [lower, higher] = [
          crlObject('both', await newCrl(2 * round)),
          crlObject('both', await newCrl(2 * round + 1)),
        ];
        await Promise.allSettled([publish(target, higher), publish(target, lower)]);
        assert.equal((await target.held('both.crl', signal()))?.number, higher.number);
      }
    });
  });
}

describe('folder', () => {
  test('what is there by another hand is replaced, unless it is a newer CRL', async () => {
    const target = folderTarget({ name: 'hand', folder: join(folder, 'hand') });
    const object = crlObject('a', await newCrl(4));
    await publish(target, object);
    await writeFile(join(folder, 'hand', 'a.crl'), 'not a CRL');
    assert.equal(await publish(target, object), 'published');
    await writeFile(join(folder, 'hand', 'a.crl'), await newCrl(5));
    await failing(() => publish(target, object), /has the number 5 there, ours is 4/);
  });

  test('nothing is left beside the files, not even by a crash before', async () => {
    const place = join(folder, 'clean');
    const target = folderTarget({ name: 'clean', folder: place });
    await publish(target, crlObject('a', await newCrl(1)));
    const [old, young] = ['.a.crl.0123456789ab.leafgate-tmp', '.a.crl.ba9876543210.leafgate-tmp'] as const;
    await writeFile(join(place, old), 'half');
    await writeFile(join(place, young), 'half');
    const yesterday = new Date(Date.now() - 86_400_000);
    await utimes(join(place, old), yesterday, yesterday);
    await publish(target, crlObject('a', await newCrl(2)));
    assert.deepEqual((await readdir(place)).toSorted(), [young, 'a.crl']);
  });

  test('a folder that is none fails, and is used once it is one', async () => {
    const place = join(folder, 'late');
    await writeFile(place, '');
    const target = folderTarget({ name: 'late', folder: place });
    const object = crlObject('a', await newCrl(1));
    await failing(() => publish(target, object), /^late: .*ENOTDIR|EEXIST/);
    await rm(place);
    assert.equal(await publish(target, object), 'published');
  });

  test('the umask does not hide files from the web server', async () => {
    const umask = process.umask(0o077);
    try {
      const target = folderTarget({ name: 'umask', folder: join(folder, 'umask') });
      await publish(target, crlObject('a', await newCrl(1)));
    } finally {
      process.umask(umask);
    }
    assert.equal((await stat(join(folder, 'umask', 'a.crl'))).mode & 0o777, 0o644);
    await chmod(join(folder, 'umask'), 0o755);
  });
});

describe('credentials', () => {
  const wrongKey = Buffer.from('a key that opens nothing at all, of forty-eight o').toString('base64');
  const object = async () => crlObject('credentials', await newCrl(1));

  test('a wrong account key', async () => {
    const connectionString = azuriteConnectionString(azurite.url, wrongKey);
    const target = await azureBlobTarget({
      name: 'wrong',
      credential: { type: 'connectionString', connectionString, container: 'pki' },
      prefix: '',
    });
    await failing(
      async () => publish(target, await object()),
      /^wrong: the storage account answers HTTP 403/,
      [wrongKey, azuriteKey, 'SharedKey'],
    );
  });

  test('a SAS whose signature is another’s', async () => {
    const wrong = new URL(sasUrl);
    const signature = Buffer.alloc(32, 7).toString('base64');
    wrong.searchParams.set('sig', signature);
    const target = await azureBlobTarget({
      name: 'wrong',
      credential: { type: 'sasUrl', sasUrl: wrong.href },
      prefix: '',
    });
    await failing(
      async () => publish(target, await object()),
      /^wrong: the storage account answers HTTP 403/,
      [signature, encodeURIComponent(signature), 'sig='],
    );
  });

  test('a wrong secret access key', async () => {
    const secret = 'the-wrong-secret-access-key';
    const target = await s3Target(s3Options('wrong', s3.url, '', secret));
    await failing(
      async () => publish(target, await object()),
      /^wrong: the bucket answers HTTP 403 SignatureDoesNotMatch$/,
      [secret, 'AWS4-HMAC'],
    );
  });

  test('what cannot be read as a credential is a fault of the configuration, which is not repeated', async () => {
    const secrets = ['AccountName=x;AccountKey', 'not a URL with sig=abc'] as const;
    const credentials = [
      { type: 'connectionString', connectionString: secrets[0], container: 'pki' },
      { type: 'sasUrl', sasUrl: secrets[1] },
    ] as const;
    for (const [index, credential] of credentials.entries()) {
      await assert.rejects(azureBlobTarget({ name: 'unreadable', credential, prefix: '' }), (thrown) => {
        assert.ok(thrown instanceof PkiError);
        assert.equal(thrown.code, 'config_invalid');
        assert.ok(!`${thrown.stack}`.includes(secrets[index] ?? ''));
        assert.equal(thrown.cause, undefined);
        return true;
      });
    }
    await assert.rejects(s3Target(s3Options('unreadable', 'no url', '')), { code: 'config_invalid' });
  });

  test('Entra ID that does not answer', async () => {
    const secret = 'the-secret-of-the-client';
    const target = await azureBlobTarget({
      name: 'entra',
      credential: {
        type: 'entra',
        accountUrl: 'https://127.0.0.1:9',
        container: 'pki',
        tenant: 'lab',
        appId: 'app',
        secret,
        authority: 'https://127.0.0.1:9',
      },
      prefix: '',
    });
    await failing(async () => publish(target, await object()), /^entra: /, [secret]);
  });
});

describe('places that are not there', () => {
  test('a container', async () => {
    const connectionString = azuriteConnectionString(azurite.url);
    const target = await azureBlobTarget({
      name: 'absent',
      credential: { type: 'connectionString', connectionString, container: 'absent' },
      prefix: '',
    });
    await failing(async () => publish(target, crlObject('a', await newCrl(1))), /HTTP 404 ContainerNotFound/);
  });

  test('a bucket', async () => {
    const target = await s3Target({ ...s3Options('absent', s3.url, ''), bucket: 'absent' });
    await failing(async () => publish(target, crlObject('a', await newCrl(1))), /HTTP 404 NoSuchBucket/);
    await failing(() => target.read('a.crl', signal()), /HTTP 404 NoSuchBucket/);
  });
});

describe('s3', () => {
  test('the bucket stands before the endpoint’s name, or in its path', async () => {
    const base = { ...s3Options('s3', 'https://s3.example', 'ca/') };
    assert.equal((await s3Target({ ...base, addressing: 'host' })).place, 'https://pki.s3.example/ca/');
    assert.equal((await s3Target(base)).place, 'https://s3.example/pki/ca/');
    const { endpoint: _absent, ...amazon } = base;
    assert.equal(
      (await s3Target({ ...amazon, addressing: 'host' })).place,
      'https://pki.s3.eu-central-1.amazonaws.com/ca/',
    );
  });

  /** A service with these answers, by method; it notes what it is sent. */
  async function service(
    answers: (
      method: string,
      headers: Readonly<Record<string, unknown>>,
    ) => readonly [number, string, Record<string, string>?],
    work: (target: Target, requests: string[]) => Promise<void>,
  ): Promise<void> {
    const requests: string[] = [];
    const server = createServer((request, response) => {
      request.resume().on('end', () => {
        const { method = '', headers } = request;
        const condition = Object.keys(headers).filter((name) => name.startsWith('if-'));
        requests.push([method, ...condition].join(' '));
        const [status, body, given = {}] = answers(method, headers);
        response.writeHead(status, given).end(method === 'HEAD' ? undefined : body);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    try {
      await work(await s3Target(s3Options('other', `http://127.0.0.1:${port}`, '')), requests);
    } finally {
      await new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      });
    }
  }

  test('a service that cannot compare is written without a condition', async () => {
    await service(
      (method, headers) =>
        method === 'HEAD'
          ? [404, '']
          : 'if-none-match' in headers
            ? [501, '<Code>NotImplemented</Code>']
            : [200, ''],
      async (target, requests) => {
        assert.equal(await publish(target, crlObject('a', await newCrl(1))), 'published');
        assert.deepEqual(requests, ['HEAD', 'PUT if-none-match', 'PUT']);
      },
    );
  });

  test('a bucket elsewhere says where, and is not followed', async () => {
    await service(
      () => [
        301,
        '<Error><Code>PermanentRedirect</Code></Error>',
        { 'x-amz-bucket-region': 'us-west-2', location: 'http://127.0.0.1:9/' },
      ],
      async (target, requests) => {
        await failing(
          async () => publish(target, crlObject('a', await newCrl(1))),
          /HTTP 301 PermanentRedirect; it is in us-west-2$/,
        );
        assert.deepEqual(requests, ['HEAD', 'GET']);
      },
    );
  });

  test('one that is changed by somebody else each time ends', async () => {
    await service(
      (method) => (method === 'HEAD' ? [404, ''] : [412, '<Code>PreconditionFailed</Code>']),
      async (target, requests) => {
        await failing(
          async () => publish(target, crlObject('a', await newCrl(1))),
          /is being changed by somebody else/,
        );
        assert.equal(requests.filter((request) => request.startsWith('PUT')).length, 3);
      },
    );
  });
});

describe('a server that is down', () => {
  const rows = [
    ['azure', () => azurite],
    ['s3', () => s3],
  ] as const;
  for (const [kind, serverOf] of rows) {
    test(kind, async () => {
      const target = targetOf(kind);
      const object = crlObject(`outage-${kind}`, await newCrl(1));
      await serverOf().stop();
      try {
        await failing(() => publish(target, object), /cannot be reached: (ECONNREFUSED|ECONNRESET)$/, [
          azuriteKey,
          s3Key,
        ]);
      } finally {
        await serverOf().start();
      }
      assert.equal(await publish(target, object), 'published');
      // What it held before, it holds still.
      assert.notEqual(await target.read('order.crl', signal()), undefined);
    });
  }
});
