import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { configReference } from './cli/config-reference.ts';
import { type Config, parseConfig, readConfig } from './config.ts';
import { PkiError } from './errors.ts';

const folder = '/etc/leafgate';
const key = { file: 'x.key.pem', passphrase: 'file:x.passphrase' };
const identity = { certificate: 'x.pem', key };

/** A server with everything that must be there, and nothing else. */
const server = () => ({
  listen: '127.0.0.1:8080',
  dataFolder: 'data',
  issuers: [
    {
      name: 'issuing',
      certificate: 'chain.pem',
      key,
      crlUrls: ['http://pki.test/crl/issuing.crl'],
      caIssuersUrls: ['http://pki.test/aia/issuing.crt'],
    },
  ],
  ra: { signing: identity, encryption: identity, challengeHashKey: 'env:HASH_KEY' },
  endpoints: [
    {
      name: 'intune',
      paths: ['/certsrv/mscep/mscep.dll'],
      issuer: 'issuing',
      template: 'client-authentication',
      validators: [{ oneTime: {} }],
    },
  ],
});

type ServerText = ReturnType<typeof server>;
/** A configuration with one server that a function changed; JSON is YAML too. */
function serverWith(change: (config: ServerText & Record<string, unknown>) => void = () => {}): string {
  // Nothing is shared: what one row changes, no other sees.
  const config = JSON.parse(JSON.stringify(server())) as ServerText;
  change(config as ServerText & Record<string, unknown>);
  return JSON.stringify({ server: config });
}

function faultOf(text: string): string {
  try {
    parseConfig(text, folder);
  } catch (thrown) {
    assert.ok(thrown instanceof PkiError, String(thrown));
    assert.equal(thrown.code, 'config_invalid');
    return thrown.message;
  }
  return assert.fail('was taken');
}

const serverOf = (config: Config) => config.server as NonNullable<Config['server']>;

const tokenPlace = { module: 'libs/p11.so', token: 'ca', label: 'issuing', pin: 'file:pin' };
const vaultPlace = {
  vault: 'https://pki.vault.azure.net',
  name: 'issuing',
  version: '0'.repeat(32),
  credential: { managedIdentity: {} },
};
/** A server whose issuing CA has its key there. */
const serverWithKey = (place: unknown) =>
  serverWith((config) => Object.assign(config.issuers[0] ?? {}, { key: place }));

describe('a key', () => {
  const place = /^server\.issuers\.0\.key/;
  const refused: readonly (readonly [name: string, key: unknown, fault: RegExp])[] = [
    ['nowhere', {}, /exactly one of file with passphrase, pkcs11, keyVault/],
    ['in a file without passphrase', { file: 'k.pem' }, /exactly one of file with passphrase/],
    ['with a passphrase alone', { passphrase: 'env:P' }, /exactly one of file with passphrase/],
    ['in a file and a token', { ...key, pkcs11: tokenPlace }, /exactly one of/],
    ['in a token with a passphrase', { passphrase: 'env:P', pkcs11: tokenPlace }, /exactly one of/],
    ['in a token and a vault', { pkcs11: tokenPlace, keyVault: vaultPlace }, /exactly one of/],
    ['with its PIN in the clear', { pkcs11: { ...tokenPlace, pin: '1234' } }, /a reference/],
    ['in no token', { pkcs11: { ...tokenPlace, token: undefined } }, /token, serial, or both/],
    ['without name', { pkcs11: { ...tokenPlace, label: undefined } }, /label, id, or both/],
    ['with an odd id', { pkcs11: { ...tokenPlace, id: 'abc' } }, /hexadecimal/],
    ['in a vault over HTTP', { keyVault: { ...vaultPlace, vault: 'http://pki.test' } }, /vault: /],
    ['in a vault without version', { keyVault: { ...vaultPlace, version: undefined } }, /version: /],
    ['with its newest version', { keyVault: { ...vaultPlace, version: 'latest' } }, /32 hexadecimal/],
    ['with no credential', { keyVault: { ...vaultPlace, credential: {} } }, /exactly one of managedIdentity/],
    [
      'with two credentials',
      { keyVault: { ...vaultPlace, credential: { managedIdentity: {}, workloadIdentity: {} } } },
      /exactly one of managedIdentity/,
    ],
  ];
  for (const [name, value, fault] of refused) {
    test(`${name} is refused`, () => {
      const text = faultOf(serverWithKey(value));
      assert.match(text, place);
      assert.match(text, fault);
    });
  }

  test('misspelt deep inside names the nearest', () => {
    assert.match(
      faultOf(serverWithKey({ pkcs11: { ...tokenPlace, modul: 'x' } })),
      /unknown key “modul” in server\.issuers\.0\.key\.pkcs11; did you mean “module”\?/,
    );
  });

  test('of the offline root has no place in a server', () => {
    const published = [{ name: 'root', certificate: 'r.pem', crl: 'r.crl', key }];
    assert.match(
      faultOf(serverWith((config) => Object.assign(config, { published }))),
      /^unknown key “key” in server\.published\.0/,
    );
  });

  test('of a listener lies in a file: it is TLS’s', () => {
    const text = JSON.stringify({
      connector: {
        edge: { address: 'edge.test:8443', servername: 'edge.test', ca: 'ca.pem' },
        certificate: 'c.pem',
        key: { pkcs11: tokenPlace },
        target: 'http://127.0.0.1:8080',
      },
    });
    assert.match(faultOf(text), /unknown key “pkcs11” in connector\.key/);
  });

  test('is where it is said to be, with paths from the folder of the file', () => {
    const keyOf = (place: unknown) => serverOf(parseConfig(serverWithKey(place), folder)).issuers[0]?.key;
    assert.deepEqual(keyOf({ file: 'k.pem', passphrase: 'file:p' }), {
      file: join(folder, 'k.pem'),
      passphrase: `file:${join(folder, 'p')}`,
    });
    assert.deepEqual(keyOf({ pkcs11: tokenPlace }), {
      pkcs11: { ...tokenPlace, module: join(folder, 'libs/p11.so'), pin: `file:${join(folder, 'pin')}` },
    });
    assert.deepEqual(keyOf({ keyVault: vaultPlace }), { keyVault: vaultPlace });
  });
});

describe('parseConfig refuses', () => {
  const rows: readonly (readonly [name: string, text: string, fault: RegExp])[] = [
    ['nothing', '', /^the file: /],
    ['a list', '- a', /^the file: /],
    ['no YAML', 'server: [', /^not YAML: /],
    ['a key twice', 'log: info\nlog: warn', /^not YAML: /],
    ['aliases', 'log: &a info\nx: *a', /^not YAML: /],
    ['no part', 'log: info', /names no part: one of server, edge, connector, mdm/],
    ['a part without content', 'server:', /^server: /],
    ['an unknown part', 'sever: {}', /unknown key “sever”; did you mean “server”\?/],
    ['__proto__', '__proto__: {}\nserver: {}', /unknown key “__proto__”/],
    [
      'an unknown key',
      serverWith((config) => Object.assign(config, { lissten: 1 })),
      /^unknown key “lissten” in server; did you mean “listen”\?$/,
    ],
    [
      'an unknown key in a list',
      serverWith((config) => Object.assign(config.issuers[0] ?? {}, { crlPeriods: '7d' })),
      /unknown key “crlPeriods” in server\.issuers\.0; did you mean “crlPeriod”\?/,
    ],
    [
      'an unknown key deep inside',
      serverWith((config) => Object.assign(config.ra.signing, { keys: key })),
      /unknown key “keys” in server\.ra\.signing; did you mean “key”\?/,
    ],
    [
      'two unknown keys',
      serverWith((config) => Object.assign(config, { worker: 1, dataFolders: 'x' })),
      /“worker” in server; did you mean “workers”\?\nunknown key “dataFolders” in server; did you mean “dataFolder”\?/,
    ],
    [
      'a missing key',
      serverWith((config) => Reflect.deleteProperty(config, 'dataFolder')),
      /^server\.dataFolder: /,
    ],
    [
      'an empty path',
      serverWith((config) => Object.assign(config, { dataFolder: '' })),
      /^server\.dataFolder: /,
    ],
    ['no endpoint', serverWith((config) => Object.assign(config, { endpoints: [] })), /^server\.endpoints: /],
    ['no issuing CA', serverWith((config) => Object.assign(config, { issuers: [] })), /^server\.issuers: /],
    [
      'an endpoint without validator',
      serverWith((config) => Object.assign(config.endpoints[0] ?? {}, { validators: [] })),
      /^server\.endpoints\.0\.validators: an endpoint without a validator would let anyone in$/,
    ],
    [
      'an endpoint that does not speak of validators',
      serverWith((config) => Reflect.deleteProperty(config.endpoints[0] ?? {}, 'validators')),
      /^server\.endpoints\.0\.validators: /,
    ],
    [
      'a validator of no kind',
      serverWith((config) => Object.assign(config.endpoints[0] ?? {}, { validators: [{}] })),
      /^server\.endpoints\.0\.validators\.0: exactly one of intune, oneTime, staticSecret, webhook, manualApproval$/,
    ],
    [
      'a validator of two kinds',
      serverWith((config) =>
        Object.assign(config.endpoints[0] ?? {}, {
          validators: [{ oneTime: {}, staticSecret: { hash: 'env:HASH' } }],
        }),
      ),
      /exactly one of intune, oneTime, staticSecret/,
    ],
    [
      'a webhook over plain HTTP',
      serverWith((config) =>
        Object.assign(config.endpoints[0] ?? {}, {
          validators: [{ webhook: { url: 'http://hook.test', secret: 'env:W' } }],
        }),
      ),
      /^server\.endpoints\.0\.validators\.0\.webhook\.url: /,
    ],
    ...(
      [
        [
          'on a public address',
          { listen: '192.0.2.1:8446', https: identity },
          /^server\.admin\.listen: loopback/,
        ],
        ['on every address', { listen: '0.0.0.0:8446', https: identity }, /^server\.admin\.listen: loopback/],
        [
          'on every IPv6 address',
          { listen: '[::]:8446', https: identity },
          /^server\.admin\.listen: loopback/,
        ],
        ['on a name', { listen: 'admin.test:8446', https: identity }, /^server\.admin\.listen: loopback/],
        ['in the clear on a private address', { listen: '10.0.0.1:8446' }, /^server\.admin\.https: needed/],
        [
          'with a page for an endpoint that is not there',
          { listen: '[::1]:8446', ndesPages: [{ endpoint: 'absent' }] },
          /^server\.admin\.ndesPages\.0\.endpoint: there is no endpoint “absent”/,
        ],
        [
          'with metrics for everybody',
          { listen: '[::1]:8446', metrics: 'everybody' },
          /^server\.admin\.metrics: /,
        ],
      ] as const
    ).map(
      ([title, admin, fault]) =>
        [`an admin API ${title}`, serverWith((config) => Object.assign(config, { admin })), fault] as const,
    ),
    [
      'a connector that leads to the admin API',
      JSON.stringify({
        ...JSON.parse(serverWith((config) => Object.assign(config, { admin: { listen: '127.0.0.1:8446' } }))),
        connector: {
          edge: { address: 'edge.test:8443', servername: 'edge.test', ca: 'ca.pem' },
          ...identity,
          target: 'http://localhost:8446',
        },
      }),
      /^connector\.target: is the port of the admin API/,
    ],
    [
      'an unknown validator',
      serverWith((config) => Object.assign(config.endpoints[0] ?? {}, { validators: [{ onetime: {} }] })),
      /unknown key “onetime” in server\.endpoints\.0\.validators\.0; did you mean “oneTime”\?/,
    ],
    [
      'an endpoint with two names of one',
      serverWith((config) => config.endpoints.push({ ...config.endpoints[0], paths: ['/other'] } as never)),
      /^server\.endpoints\.1\.name: “intune” is there already$/,
    ],
    [
      'a path of two endpoints, whatever its case',
      serverWith((config) =>
        config.endpoints.push({
          ...config.endpoints[0],
          name: 'other',
          paths: ['/CertSrv/mscep/MSCEP.dll'],
        } as never),
      ),
      /^server\.endpoints\.1\.paths\.0: “\/certsrv\/mscep\/mscep\.dll” is there already$/,
    ],
    [
      'a CA with two names of one',
      serverWith((config) =>
        Object.assign(config, { published: [{ name: 'issuing', certificate: 'r.pem', crl: 'r.crl' }] }),
      ),
      /^server\.published\.0\.name: “issuing” is there already$/,
    ],
    [
      'an endpoint of a CA that is not there',
      serverWith((config) => Object.assign(config.endpoints[0] ?? {}, { issuer: 'isuing' })),
      /^server\.endpoints\.0\.issuer: there is no issuing CA “isuing”$/,
    ],
    [
      'an endpoint for a template that is not there',
      serverWith((config) => Object.assign(config.endpoints[0] ?? {}, { template: 'web' })),
      /^server\.endpoints\.0\.template: there is no template “web”$/,
    ],
    [
      'a directory that a static secret stands in for',
      serverWith((config) =>
        Object.assign(config.endpoints[0] ?? {}, {
          template: 'smime',
          validators: [{ staticSecret: { hash: 'env:H' } }],
        }),
      ),
      /^server\.endpoints\.0\.template: “smime” takes names from the directory/,
    ],
    [
      'a directory that a person stands in for',
      serverWith((config) =>
        Object.assign(config.endpoints[0] ?? {}, {
          template: 'smime',
          validators: [{ manualApproval: {} }, { staticSecret: { hash: 'env:H' } }],
        }),
      ),
      /^server\.endpoints\.0\.template: “smime” takes names from the directory/,
    ],
    [
      'a template that wants the signature of an RA, and no RA that signs',
      serverWith((config) =>
        Object.assign(config, {
          templates: [
            { name: 'client-authentication', extend: 'client-authentication', raSignature: 'required' },
          ],
        }),
      ),
      /^server\.endpoints\.0\.template: “client-authentication” wants the signature of an RA: add ra\.approvalSigning$/,
    ],
    [
      'an endpoint where devices get what the OCSP responder has',
      serverWith((config) => Object.assign(config.endpoints[0] ?? {}, { template: 'ocsp-signing' })),
      /^server\.endpoints\.0\.template: “ocsp-signing” would let devices sign OCSP answers/,
    ],
    [
      'a template that contradicts itself',
      serverWith((config) =>
        Object.assign(config, {
          templates: [{ name: 'own', extend: 'client-authentication', keyUsage: ['keyEncipherment'] }],
        }),
      ),
      /^server\.templates\.0\.keyUsage: clientAuth needs digitalSignature or keyAgreement/,
    ],
    [
      'an unknown key of a template',
      serverWith((config) => Object.assign(config, { templates: [{ name: 'own', extends: 'smime' }] })),
      /unknown key “extends” in server\.templates\.0; did you mean “extend”\?/,
    ],
    [
      'an RSA key that is too small for any template',
      serverWith((config) => Object.assign(config, { templates: [{ name: 'own', rsaBitsMin: 1024 }] })),
      /^server\.templates\.0\.rsaBitsMin: /,
    ],
    [
      'an endpoint of a CA that is only shown',
      serverWith((config) => {
        Object.assign(config, { published: [{ name: 'root', certificate: 'r.pem', crl: 'r.crl' }] });
        Object.assign(config.endpoints[0] ?? {}, { issuer: 'root' });
      }),
      /^server\.endpoints\.0\.issuer: there is no issuing CA “root”$/,
    ],
    ...['', 'certsrv', '/', '/a/', '//a', '/a b', '/a?b', '/a#b', '/a/*', '/:id', '/%41'].map(
      (path) =>
        [
          `the path “${path}”`,
          serverWith((config) => Object.assign(config.endpoints[0] ?? {}, { paths: [path] })),
          /^server\.endpoints\.0\.paths\.0: a path such as /,
        ] as const,
    ),
    ...['', 'Intune', 'a b', '-a', 'a/b', '../a', 'ä'].map(
      (name) =>
        [
          `the name “${name}”`,
          serverWith((config) => Object.assign(config.endpoints[0] ?? {}, { name })),
          /^server\.endpoints\.0\.name: lower-case letters, digits and hyphens$/,
        ] as const,
    ),
    ...['', '8080', ':8080', 'localhost', '127.0.0.1:', '127.0.0.1:http', '::1:8080', 'a b:1'].map(
      (listen) =>
        [
          `the address “${listen}”`,
          serverWith((config) => Object.assign(config, { listen })),
          /^server\.listen: an address and a port/,
        ] as const,
    ),
    ...['7', '7 d', '7D', '-7d', '1.5d', '7w', 'd', '', '7d ', '1234567890d', '0d', '0ms', '40000d'].map(
      (crlPeriod) =>
        [
          `the duration “${crlPeriod}”`,
          serverWith((config) => Object.assign(config.issuers[0] ?? {}, { crlPeriod })),
          /^server\.issuers\.0\.crlPeriod: (a number and a unit|more than nothing)/,
        ] as const,
    ),
    [
      'a duration that is a number',
      serverWith((config) => Object.assign(config.issuers[0] ?? {}, { crlPeriod: 7 })),
      /^server\.issuers\.0\.crlPeriod: /,
    ],
    ...['ftp://pki.test/a', 'pki.test/a', 'ldap://x', 'javascript:1', ''].map(
      (url) =>
        [
          `the URL “${url}”`,
          serverWith((config) => Object.assign(config.issuers[0] ?? {}, { crlUrls: [url] })),
          /^server\.issuers\.0\.crlUrls\.0: /,
        ] as const,
    ),
    [
      'no URL',
      serverWith((config) => Object.assign(config.issuers[0] ?? {}, { crlUrls: [] })),
      /^server\.issuers\.0\.crlUrls: /,
    ],
    [
      'a delta at each revocation, and no deltas',
      serverWith((config) => Object.assign(config.issuers[0] ?? {}, { crlAtRevocation: 'delta' })),
      /^server\.issuers\.0\.crlAtRevocation: .*deltaCrlPeriod/,
    ],
    [
      'deltas that live as long as full CRLs',
      serverWith((config) => Object.assign(config.issuers[0] ?? {}, { deltaCrlPeriod: '7d' })),
      /^server\.issuers\.0\.deltaCrlPeriod: shorter than/,
    ],
    [
      'no partition',
      serverWith((config) => Object.assign(config.issuers[0] ?? {}, { crlPartitions: 0 })),
      /^server\.issuers\.0\.crlPartitions: /,
    ],
    [
      'partitions of a URL that has no place for their number',
      serverWith((config) =>
        Object.assign(config.issuers[0] ?? {}, { crlPartitions: 2, crlUrls: ['http://pki.test/crl?ca=1'] }),
      ),
      /^server\.issuers\.0\.crlUrls: must end in \.crl/,
    ],
    [
      'OCSP URLs without a responder',
      serverWith((config) => Object.assign(config.issuers[0] ?? {}, { ocspUrls: ['http://pki.test/ocsp'] })),
      /^server\.issuers\.0\.ocspUrls: .*add ocsp/,
    ],
    [
      'an OCSP responder with neither passphrase nor key',
      serverWith((config) => Object.assign(config, { ocsp: {} })),
      /^server\.ocsp\.passphrase: needed for the keys that sign for issuing/,
    ],
    [
      'an OCSP key for a CA that is not there',
      serverWith((config) =>
        Object.assign(config, {
          ocsp: {
            passphrase: 'env:OCSP',
            signers: [{ issuer: 'nobody', key: { file: 'k', passphrase: 'env:P' } }],
          },
        }),
      ),
      /^server\.ocsp\.signers\.0\.issuer: there is no issuing CA “nobody”/,
    ],
    [
      'an OCSP passphrase that stands there itself',
      serverWith((config) => Object.assign(config, { ocsp: { passphrase: 'hunter2' } })),
      /^server\.ocsp\.passphrase: a reference/,
    ],
    [
      'a third word for what was never issued',
      serverWith((config) =>
        Object.assign(config, { ocsp: { passphrase: 'env:OCSP', neverIssued: 'good' } }),
      ),
      /^server\.ocsp\.neverIssued: /,
    ],
    ...[0, 65, 1.5, '2'].map(
      (workers) =>
        [
          `${JSON.stringify(workers)} workers`,
          serverWith((config) => Object.assign(config, { workers })),
          /^server\.workers: /,
        ] as const,
    ),
    [
      'several threads in several processes',
      serverWith((config) => Object.assign(config, { workers: 2, threads: 2 })),
      /^server\.threads: several processes/,
    ],
    ['an unknown level', 'log: verbose', /^log: /],
    [
      'Intune by plain HTTP',
      serverWith((config) =>
        Object.assign(config.endpoints[0] ?? {}, {
          validators: [
            { intune: { tenant: 't', appId: 'a', secret: 'env:S', authority: 'http://login.test' } },
          ],
        }),
      ),
      /^server\.endpoints\.0\.validators\.0\.intune\.authority: /,
    ],
    [
      'a renewal without challenge, where Intune is asked',
      serverWith((config) =>
        Object.assign(config.endpoints[0] ?? {}, {
          validators: [{ intune: { tenant: 't', appId: 'a', secret: 'env:S' } }],
          renewal: { challenge: 'notNeeded' },
        }),
      ),
      /^server\.endpoints\.0\.renewal\.challenge: Intune, which “intune” has/,
    ],
    [
      'a renewal without challenge of what another endpoint asks Intune about',
      serverWith((config) => {
        const [first] = config.endpoints;
        config.endpoints.push({
          ...(first as (typeof config.endpoints)[0]),
          name: 'second',
          paths: ['/second'],
          validators: [{ intune: { tenant: 't', appId: 'a', secret: 'env:S' } }] as never,
        });
        Object.assign(first ?? {}, { name: 'renewing', renewal: { challenge: 'notNeeded' } });
      }),
      /^server\.endpoints\.0\.renewal\.challenge: Intune, which “second” has/,
    ],
    [
      'a renewal with new names on nobody’s word',
      serverWith((config) =>
        Object.assign(config.endpoints[0] ?? {}, {
          renewal: { challenge: 'notNeeded', names: 'asEnrolled' },
        }),
      ),
      /^server\.endpoints\.0\.renewal\.names: without a challenge nobody vouches/,
    ],
    [
      'a renewal without a challenge in so many words',
      serverWith((config) => Object.assign(config.endpoints[0] ?? {}, { renewal: { challenge: false } })),
      /^server\.endpoints\.0\.renewal\.challenge: /,
    ],
    [
      'a danger that is not quite said',
      serverWith((config) => Object.assign(config.endpoints[0] ?? {}, { dangerAllowSingleDes: 'yes' })),
      /^server\.endpoints\.0\.dangerAllowSingleDes: /,
    ],
  ];
  for (const [name, text, fault] of rows) {
    test(name, () => assert.match(faultOf(text), fault));
  }

  const inline = 'hunter2-is-my-passphrase';
  const places: readonly (readonly [name: string, place: (config: ServerText) => object, keyName: string])[] =
    [
      ['a passphrase', (config) => config.issuers[0]?.key as object, 'passphrase'],
      ['the hash key', (config) => config.ra, 'challengeHashKey'],
    ];
  for (const [name, place, keyName] of places) {
    for (const written of [inline, 'file:', 'env:', `FILE:${inline}`, ` file:${inline}`, '']) {
      test(`${name} that stands in the file as “${written.replace(inline, '…')}”, without repeating it`, () => {
        const text = serverWith((config) => {
          Object.assign(place(config), { [keyName]: written });
        });
        const fault = faultOf(text);
        assert.match(fault, /a reference: file:PATH or env:NAME; secrets themselves never stand here/);
        assert.ok(!fault.includes(inline));
      });
    }
  }
});

describe('parseConfig', () => {
  test('fills in what is not said', () => {
    const config = parseConfig(serverWith(), folder);
    assert.equal(config.log, 'info');
    const { workers, serviceIdentity, published, issuers, endpoints, listen } = serverOf(config);
    assert.equal(workers, 1);
    assert.equal(serviceIdentity, 'svc-leafgate-ra');
    assert.deepEqual(published, []);
    assert.equal(issuers[0]?.crlPeriod, 7 * 86_400_000);
    assert.equal(issuers[0]?.crlOverlap, 12 * 3_600_000);
    assert.equal(endpoints[0]?.dangerAllowSingleDes, false);
    assert.deepEqual(listen, { host: '127.0.0.1', port: 8080 });
    assert.deepEqual([config.edge, config.connector, config.mdm], [undefined, undefined, undefined]);
  });

  const durations: readonly (readonly [text: string, ms: number])[] = [
    ['1ms', 1],
    ['500ms', 500],
    ['30s', 30_000],
    ['10m', 600_000],
    ['12h', 43_200_000],
    ['90d', 7_776_000_000],
    ['36500d', 3_153_600_000_000],
  ];
  for (const [text, ms] of durations) {
    test(`${text} is ${ms} ms`, () => {
      const config = parseConfig(
        serverWith((changed) => Object.assign(changed.issuers[0] ?? {}, { crlPeriod: text })),
        folder,
      );
      assert.equal(serverOf(config).issuers[0]?.crlPeriod, ms);
    });
  }

  test('OCSP: answers count for an hour, and say unknown of what was never issued', () => {
    const config = parseConfig(
      serverWith((changed) => {
        Object.assign(changed, { ocsp: { passphrase: 'file:ocsp.passphrase' } });
        Object.assign(changed.issuers[0] ?? {}, { ocspUrls: ['http://pki.test/ocsp'] });
      }),
      folder,
    );
    assert.deepEqual(serverOf(config).ocsp, {
      passphrase: `file:${folder}/ocsp.passphrase`,
      signers: [],
      neverIssued: 'unknown',
      responseLifetime: 3_600_000,
    });
    assert.deepEqual(serverOf(config).issuers[0]?.ocspUrls, ['http://pki.test/ocsp']);
  });

  const addresses: readonly (readonly [text: string, host: string, port: number])[] = [
    ['0.0.0.0:80', '0.0.0.0', 80],
    ['localhost:0', 'localhost', 0],
    ['[::1]:8080', '::1', 8080],
    ['[::]:443', '::', 443],
  ];
  for (const [text, host, port] of addresses) {
    test(`${text} is an address`, () => {
      const config = parseConfig(
        serverWith((changed) => Object.assign(changed, { listen: text })),
        folder,
      );
      assert.deepEqual(serverOf(config).listen, { host, port });
    });
  }

  test('paths are relative to the file, also those of secrets; everything else stays as it is', () => {
    const config = serverOf(
      parseConfig(
        serverWith((changed) => {
          Object.assign(changed, {
            serviceIdentity: 'data',
            published: [{ name: 'root', certificate: '/abs/root.pem', crl: '../root.crl' }],
          });
        }),
        folder,
      ),
    );
    assert.equal(config.dataFolder, '/etc/leafgate/data');
    assert.equal(config.serviceIdentity, 'data');
    assert.equal(config.issuers[0]?.certificate, '/etc/leafgate/chain.pem');
    assert.deepEqual(config.issuers[0]?.key, {
      file: '/etc/leafgate/x.key.pem',
      passphrase: 'file:/etc/leafgate/x.passphrase',
    });
    assert.equal(config.ra.challengeHashKey, 'env:HASH_KEY');
    assert.deepEqual(config.published[0], {
      name: 'root',
      certificate: '/abs/root.pem',
      crl: '/etc/root.crl',
    });
    assert.deepEqual(config.endpoints[0]?.paths, ['/certsrv/mscep/mscep.dll']);
    assert.deepEqual(config.issuers[0]?.crlUrls, ['http://pki.test/crl/issuing.crl']);
  });

  test('is frozen, all of it', () => {
    const config = parseConfig(serverWith(), folder);
    const everything = (value: unknown): unknown[] =>
      typeof value === 'object' && value !== null ? [value, ...Object.values(value).flatMap(everything)] : [];
    assert.ok(everything(config).length > 10);
    for (const value of everything(config)) assert.ok(Object.isFrozen(value));
  });

  test('an endpoint renews if it says so, and then asks for a challenge besides', () => {
    const renewalOf = (renewal?: object) => {
      const text = serverWith((config) => Object.assign(config.endpoints[0] ?? {}, renewal && { renewal }));
      return serverOf(parseConfig(text, folder)).endpoints[0]?.renewal;
    };
    assert.equal(renewalOf(), undefined);
    const usual = { challenge: 'required', key: 'changedOrSame', names: 'asBefore' };
    assert.deepEqual(renewalOf({}), usual);
    assert.deepEqual(renewalOf({ window: '30d', revokeReplacedAfter: '12h' }), {
      ...usual,
      window: 30 * 86_400_000,
      revokeReplacedAfter: 43_200_000,
    });
  });

  test('two validators on an endpoint are two', () => {
    const config = parseConfig(
      serverWith((changed) =>
        Object.assign(changed.endpoints[0] ?? {}, {
          validators: [{ oneTime: {} }, { staticSecret: { hash: 'file:hash' } }],
        }),
      ),
      folder,
    );
    assert.deepEqual(serverOf(config).endpoints[0]?.validators, [
      { oneTime: {} },
      { staticSecret: { hash: 'file:/etc/leafgate/hash' } },
    ]);
  });
});

test('readConfig reads relative to the file, and says which file it cannot read', () => {
  const place = mkdtempSync(join(tmpdir(), 'leafgate-config-'));
  try {
    const path = join(place, 'leafgate.yaml');
    assert.throws(
      () => readConfig(path),
      (thrown) =>
        thrown instanceof PkiError && thrown.code === 'config_invalid' && thrown.message.includes(path),
    );
    writeFileSync(path, serverWith());
    assert.equal(serverOf(readConfig(path)).dataFolder, join(place, 'data'));
  } finally {
    rmSync(place, { recursive: true });
  }
});

describe('server.publish', () => {
  const s3 = { bucket: 'pki', region: 'eu-central-1', accessKeyId: 'k', secretAccessKey: 'file:s3.secret' };
  const entra = { account: 'https://x.blob.core.windows.net', tenant: 't', appId: 'a', secret: 'env:S' };
  const publishing = (...targets: readonly object[]) =>
    serverWith((config) => Object.assign(config, { publish: { targets } }));

  const rows: readonly (readonly [name: string, text: string, fault: RegExp])[] = [
    ['no target', publishing(), /^server\.publish\.targets: /],
    ['a target of no kind', publishing({ name: 'a' }), /exactly one of folder, azureBlob, s3/],
    [
      'a target of two kinds',
      publishing({ name: 'a', folder: 'f', s3 }),
      /exactly one of folder, azureBlob, s3/,
    ],
    [
      'two targets of one name',
      publishing({ name: 'a', folder: 'f' }, { name: 'a', folder: 'g' }),
      /two targets have the same name/,
    ],
    [
      'a secret itself',
      publishing({ name: 'a', s3: { ...s3, secretAccessKey: 'hunter2' } }),
      /^server\.publish\.targets\.0\.s3\.secretAccessKey: a reference/,
    ],
    [
      'a connection string itself',
      publishing({ name: 'a', azureBlob: { container: 'pki', connectionString: 'AccountKey=hunter2' } }),
      /connectionString: a reference/,
    ],
    [
      'no way to sign in',
      publishing({ name: 'a', azureBlob: { container: 'pki' } }),
      /exactly one of connectionString/,
    ],
    [
      'two ways to sign in',
      publishing({ name: 'a', azureBlob: { container: 'pki', connectionString: 'env:C', entra } }),
      /exactly one of connectionString, sasUrl, entra/,
    ],
    ['no container', publishing({ name: 'a', azureBlob: { entra } }), /a container beside/],
    [
      'a container twice',
      publishing({ name: 'a', azureBlob: { container: 'pki', sasUrl: 'env:U' } }),
      /none beside sasUrl/,
    ],
    [
      'a prefix that climbs',
      publishing({ name: 'a', s3: { ...s3, prefix: '/ca' } }),
      /s3\.prefix: empty, or a path/,
    ],
  ];
  for (const [name, text, fault] of rows) {
    test(`refuses ${name}`, () => {
      const message = faultOf(text);
      assert.match(message, fault);
      assert.ok(!message.includes('hunter2'), message);
    });
  }

  test('takes each kind, with what stands in for the rest', () => {
    const config = parseConfig(
      publishing(
        { name: 'here', folder: 'shown' },
        { name: 'azure', azureBlob: { container: '$web', entra } },
        { name: 'bucket', s3 },
      ),
      folder,
    );
    assert.deepEqual(serverOf(config).publish, {
      targets: [
        { name: 'here', folder: `${folder}/shown` },
        { name: 'azure', azureBlob: { container: '$web', prefix: '', entra } },
        {
          name: 'bucket',
          s3: { ...s3, secretAccessKey: `file:${folder}/s3.secret`, addressing: 'host', prefix: '' },
        },
      ],
      alarmAfter: 3_600_000,
      urlCheck: 'warn',
    });
  });
});

describe('configReference', () => {
  /** A configuration in which every key stands. */
  const whole = {
    log: 'info',
    server: {
      database: {
        postgres: {
          host: 'db',
          port: 5432,
          database: 'leafgate',
          user: 'leafgate',
          password: 'env:P',
          ca: 'db.pem',
          connectionsMax: 10,
        },
      },
      ...server(),
      ra: { ...server().ra, approvalSigning: identity, authorizedSigners: 'ras.pem' },
      forwarders: ['10.0.0.5'],
      workers: 1,
      threads: 2,
      standby: false,
      serviceIdentity: 'x',
      issuers: [
        {
          ...server().issuers[0],
          next: { certificate: 'next.pem' },
          crlPeriod: '7d',
          crlOverlap: '12h',
          deltaCrlPeriod: '1d',
          crlAtRevocation: 'delta',
          crlPartitions: 4,
          ocspUrls: ['http://pki.test/ocsp'],
        },
      ],
      ocsp: {
        passphrase: 'env:O',
        signers: [{ issuer: 'issuing', ...identity }],
        neverIssued: 'revoked',
        responseLifetime: '1h',
      },
      published: [{ name: 'root', certificate: 'r.pem', crl: 'r.crl' }],
      publish: {
        targets: [
          { name: 'here', folder: 'f' },
          {
            name: 'azure',
            azureBlob: {
              container: 'pki',
              prefix: 'ca/',
              entra: {
                account: 'https://pki.test',
                tenant: 't',
                appId: 'a',
                secret: 'env:S',
                authority: 'https://login.test',
              },
            },
          },
          { name: 'by-string', azureBlob: { container: 'pki', connectionString: 'env:C' } },
          { name: 'by-url', azureBlob: { sasUrl: 'env:U' } },
          {
            name: 'bucket',
            s3: {
              bucket: 'pki',
              region: 'r',
              endpoint: 'https://s3.test',
              addressing: 'path',
              prefix: 'ca/',
              accessKeyId: 'k',
              secretAccessKey: 'env:K',
            },
          },
        ],
        alarmAfter: '1h',
        urlCheck: 'off',
      },
      templates: [
        {
          name: 'own',
          extend: 'client-authentication',
          displayName: 'Own',
          validity: '90d',
          renewalPeriod: '30d',
          backdate: '1h',
          keyAlgorithms: ['rsa', 'P-256'],
          rsaBitsMin: 3072,
          keyUsage: ['digitalSignature'],
          keyUsageDefault: ['digitalSignature'],
          extKeyUsage: ['ocspSigning'],
          extKeyUsageDefault: ['1.3.6.1.5.5.7.3.9'],
          subjectFrom: 'fixed',
          subject: 'required',
          subjectAttributes: ['CN', 'O'],
          subjectFixed: 'CN=own,O=Test',
          subjectAltNameFrom: 'fixed',
          subjectAltName: 'optional',
          subjectAltNameTypes: [
            'dNSName',
            'rfc822Name',
            'uniformResourceIdentifier',
            'iPAddress',
            'userPrincipalName',
          ],
          subjectAltNamePatterns: {
            dNSName: ['*.corp.example'],
            rfc822Name: ['*@corp.example'],
            uniformResourceIdentifier: ['urn:uuid:*'],
            iPAddress: ['192.0.2.0/24'],
            userPrincipalName: ['*@corp.example'],
          },
          subjectAltNameFixed: ['DNS:own.corp.example'],
          securityIdentifier: 'never',
          ocspNoCheck: true,
          templateInformation: { oid: '1.3.6.1.4.1.99999.1', majorVersion: 100, minorVersion: 1 },
          certificatesPerDeviceMax: 1,
          approval: 'certificateManager',
          raSignature: 'required',
        },
      ],
      approval: { expiresAfter: '10d', waitingMax: 5 },
      selfTest: { every: '10m', endpoints: ['intune'], publicUrl: 'https://scep.test', extraCa: 'ca.pem' },
      admin: {
        listen: '127.0.0.1:8446',
        https: identity,
        ndesPages: [
          {
            endpoint: 'intune',
            path: '/certsrv/mscep_admin',
            challengeLifetime: '30m',
            encoding: 'utf-8',
            thumbprint: 'sha1',
          },
        ],
        metrics: 'listener',
      },
      pfx: {
        mdm: 'https://mdm.test',
        extraCa: 'ca.pem',
        secret: 'env:S',
        requester: 'r',
        issuer: 'a',
        templates: [{ name: 't', archival: 'required' }],
        form: 'legacy',
        importKeys: [{ name: 'k', key: identity.key }],
        every: '1m',
        archive: { folder: 'a', recovery: [{ certificate: 'a.pem' }, { certificate: 'b.pem' }] },
      },
      endpoints: [
        {
          ...server().endpoints[0],
          client: 'cisco',
          algorithms: { refuse: ['sha1'] },
          ra: { signing: identity, encryption: identity },
          limits: {
            perSource: { failures: { rate: '60/m', burst: 10 }, requests: { rate: '60/m', burst: 10 } },
            perEndpoint: { requests: { rate: '60/m', burst: 10 } },
          },
          dangerAllowSingleDes: true,
          renewal: {
            window: '30d',
            challenge: 'required',
            key: 'changed',
            names: 'asEnrolled',
            revokeReplacedAfter: '7d',
          },
          validators: [
            {
              intune: {
                tenant: 't',
                appId: 'a',
                secret: 'env:S',
                authority: 'https://login.test',
                graph: 'https://graph.test',
                intuneResource: 'https://intune.test',
                extraCa: 'ca.pem',
              },
            },
            {
              intune: {
                tenant: 't',
                appId: 'b',
                clientCertificate: identity,
                cloud: 'usGovDoD',
                timeout: '10s',
                budget: '50s',
                revocation: { every: '2m' },
              },
            },
            { oneTime: {} },
            { staticSecret: { hash: 'env:H', previousHash: 'env:P' } },
            { manualApproval: {} },
            {
              webhook: {
                url: 'https://hook.test/scep',
                secret: 'env:W',
                challengeUse: 'shared',
                notifications: 'outcome',
                extraCa: 'ca.pem',
                clientCertificate: identity,
                timeout: '5s',
                budget: '20s',
              },
            },
          ],
        },
      ],
    },
    edge: {
      http: '0.0.0.0:80',
      https: { listen: '0.0.0.0:443', ...identity },
      tunnel: {
        listen: '0.0.0.0:8443',
        ...identity,
        connectorCa: 'ca.pem',
        connectors: ['connector-1'],
      },
      allow: [{ name: 'a', methods: ['GET'], path: '/a', requestTargetBytesMax: 1, bodyBytesMax: 0 }],
    },
    connector: {
      edge: { address: 'edge.test:8443', servername: 'edge.test', ca: 'ca.pem' },
      ...identity,
      target: 'http://127.0.0.1:8080',
      allow: [{ name: 'a', methods: ['GET'], path: '/a', requestTargetBytesMax: 1, bodyBytesMax: 0 }],
    },
    mdm: {
      listen: '127.0.0.1:8445',
      publicUrl: 'https://mdm.test',
      ...identity,
      databaseFile: 'mdm.sqlite',
      tenant: 't',
      applications: [{ appId: 'a', secret: 'env:S', roles: ['Application.Read.All'] }],
      pkcsConnectors: [{ name: 'c', secret: 'env:S' }],
      challengeSigner: identity,
      challengeRecipient: identity,
      profileSigner: identity,
    },
  };

  function keysOf(value: unknown, prefix = ''): string[] {
    if (Array.isArray(value)) return value.flatMap((item) => keysOf(item, prefix));
    if (typeof value !== 'object' || value === null) return [];
    return Object.entries(value).flatMap(([name, item]) => {
      const keyName = `${prefix === '' ? '' : `${prefix}.`}${name}${Array.isArray(item) ? '[]' : ''}`;
      return [keyName, ...keysOf(item, keyName)];
    });
  }

  const vaultCredentials = [
    { managedIdentity: { clientId: 'c' } },
    { workloadIdentity: { tenant: 't', clientId: 'c' } },
    { clientCertificate: { tenant: 't', clientId: 'c', certificate: 'c.pem' } },
    { clientSecret: { tenant: 't', clientId: 'c', secret: 'env:S' } },
  ];
  /** All places that a key can have; a configuration chooses one for each of its keys. */
  const keyPlaces = [
    key,
    { pkcs11: { ...tokenPlace, serial: 's', id: 'ab' } },
    ...vaultCredentials.map((credential) => ({
      keyVault: { ...vaultPlace, credential, authority: 'https://login.test', extraCa: 'ca.pem' },
    })),
  ];
  const wholeWith = (place: (typeof keyPlaces)[number]) => ({
    ...whole,
    server: {
      ...whole.server,
      issuers: whole.server.issuers.map((issuer) => ({ ...issuer, key: place })),
      ocsp: {
        ...whole.server.ocsp,
        signers: whole.server.ocsp.signers.map((signer) => ({ ...signer, key: place })),
      },
      ra: {
        ...whole.server.ra,
        signing: { ...identity, key: place },
        encryption: { ...identity, key: place },
        approvalSigning: { ...identity, key: place },
      },
      pfx: { ...whole.server.pfx, importKeys: [{ name: 'k', key: place }] },
      endpoints: whole.server.endpoints.map((endpoint) => ({
        ...endpoint,
        ra: { signing: { ...identity, key: place }, encryption: { ...identity, key: place } },
      })),
    },
    mdm: {
      ...whole.mdm,
      challengeSigner: { ...identity, key: place },
      challengeRecipient: { ...identity, key: place },
      profileSigner: { ...identity, key: place },
    },
  });

  test('lists every key that a configuration can have, and no other', () => {
    const automatic = { automatic: { passphrase: 'env:R', folder: 'ra' }, challengeHashKey: 'env:HASH_KEY' };
    const withAutomatic = { ...whole, server: { ...whole.server, ra: automatic } };
    for (const config of [...keyPlaces.map(wholeWith), withAutomatic])
      parseConfig(JSON.stringify(config), folder);
    const listed = configReference().map((row) => row.key);
    assert.equal(new Set(listed).size, listed.length);
    const possible = new Set([...keyPlaces.map(wholeWith), withAutomatic].flatMap((each) => keysOf(each)));
    assert.deepEqual([...possible].sort(), [...listed].sort());
  });

  test('says what must be there and what stands in for the rest', () => {
    const rows = new Map(configReference().map((row) => [row.key, row]));
    assert.equal(rows.get('server.listen')?.required, true);
    assert.equal(rows.get('server')?.required, false);
    assert.equal(rows.get('server.workers')?.required, false);
    const fallbacks = [
      ['log', '"info"'],
      ['server.workers', '1'],
      ['server.issuers[].crlPeriod', '7d'],
      ['server.issuers[].crlOverlap', '12h'],
      ['server.endpoints[].dangerAllowSingleDes', 'false'],
      ['server.dataFolder', undefined],
    ] as const;
    for (const [keyName, fallback] of fallbacks) assert.equal(rows.get(keyName)?.fallback, fallback, keyName);
  });
});

describe('limits of an endpoint', () => {
  const limitsOf = (limits?: unknown) => {
    const text = serverWith((config) => Object.assign(config.endpoints[0] ?? {}, limits && { limits }));
    return serverOf(parseConfig(text, folder)).endpoints[0]?.limits;
  };

  test('by default failures alone are limited, by source', () => {
    const failures = { burst: 300, perSecond: 5 };
    assert.deepEqual(limitsOf(), { perSource: { failures }, perEndpoint: {} });
    assert.deepEqual(limitsOf({ perSource: {} }), { perSource: { failures }, perEndpoint: {} });
  });

  test('rates are a second’s, whatever their unit', () => {
    const rates = ['10/s', '60/m', '1800/h'].map(
      (rate) => limitsOf({ perSource: { requests: { rate, burst: 7 } } })?.perSource.requests,
    );
    assert.deepEqual(
      rates,
      [10, 1, 0.5].map((perSecond) => ({ burst: 7, perSecond })),
    );
    assert.deepEqual(limitsOf({ perEndpoint: { requests: { rate: '1/s', burst: 1 } } })?.perEndpoint, {
      requests: { burst: 1, perSecond: 1 },
    });
  });

  const wrong: readonly (readonly [name: string, limits: unknown, fault: RegExp])[] = [
    [
      'a rate without a unit',
      { perSource: { failures: { rate: '60', burst: 1 } } },
      /failures\.rate: a number for/,
    ],
    [
      'a rate of none',
      { perSource: { failures: { rate: '0/s', burst: 1 } } },
      /failures\.rate: a number for/,
    ],
    ['a burst of none', { perEndpoint: { requests: { rate: '1/s', burst: 0 } } }, /requests\.burst: /],
    ['no burst', { perSource: { requests: { rate: '1/s' } } }, /requests\.burst: /],
    ['another key', { perSources: {} }, /unknown key “perSources” .*did you mean “perSource”/],
  ];
  for (const [name, limits, fault] of wrong) {
    test(`${name} is refused`, () => {
      const text = serverWith((config) => Object.assign(config.endpoints[0] ?? {}, { limits }));
      assert.match(faultOf(text), fault);
    });
  }

  test('forwarders are addresses and networks, and none by default', () => {
    assert.deepEqual(serverOf(parseConfig(serverWith(), folder)).forwarders, []);
    const taken = ['10.0.0.5', 'fd00::5', '10.1.0.0/16', 'fd00::/64'];
    const text = serverWith((config) => Object.assign(config, { forwarders: taken }));
    assert.deepEqual(serverOf(parseConfig(text, folder)).forwarders, taken);
    for (const forwarder of ['connector.example', '', '10.0.0.0/33'])
      assert.match(
        faultOf(serverWith((config) => Object.assign(config, { forwarders: [forwarder] }))),
        /forwarders\.0: an address or a network/,
      );
  });
});

test('metrics are for who has a token, unless something else is said', () => {
  const text = serverWith((config) => Object.assign(config, { admin: { listen: '127.0.0.1:8446' } }));
  assert.equal(parseConfig(text, folder).server?.admin?.metrics, 'token');
});
