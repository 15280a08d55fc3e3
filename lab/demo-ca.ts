/** `npm run demo:ca`: a CA from nothing, its certificates and revocations before OpenSSL's eyes, renewals, publishing. */
import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { builtInTemplates } from '../src/ca/index.ts';
import { extKeyUsageOf, parseCertificate, parsePem } from '../src/codec/index.ts';
import { openTokenKey } from '../src/keys/index.ts';
import {
  azuriteAccount,
  azuriteConnectionString,
  newContainer,
  s3Key,
  startAzurite,
  startS3,
} from '../test/support/storage-fixture.ts';
import { CaJudge, type Leaf, type Trust } from './ca-judge.ts';
import { CaSite, openssl } from './ca-site.ts';
import { Checks, demand } from './checks.ts';
import { leafgate, leafgateJson } from './command.ts';
import { runInFolder } from './in-folder.ts';
import { proveTokenLoss } from './token-loss.ts';

/** What a request for a certificate of each template says besides its subject. */
const namesByTemplate: Readonly<Record<string, string>> = {
  'client-authentication': 'DNS:device.lab.test',
  'client-authentication-user': 'email:user@lab.test,otherName:1.3.6.1.4.1.311.20.2.3;UTF8:user@lab.test',
  'web-server': 'DNS:www.lab.test,IP:127.0.0.1',
  'vpn-ipsec': 'DNS:vpn.lab.test',
  'domain-controller': 'DNS:dc1.lab.test',
  'kerberos-authentication': 'DNS:kdc.lab.test',
  smime: 'email:user@lab.test',
};

/** What the sections of the demo share. */
interface Demo {
  readonly checks: Checks;
  readonly site: CaSite;
  readonly judge: CaJudge;
  /** Every certificate that was issued so far. */
  readonly leaves: Leaf[];
}

async function runIn(folder: string): Promise<0 | 1> {
  const checks = new Checks();
  const site = await CaSite.prepare(folder);
  const demo: Demo = { checks, site, judge: new CaJudge(site), leaves: [] };
  try {
    await holdCeremony(demo);
    await issueAll(demo);
    await countEnrolment(demo);
    await revokeSome(demo);
    await loseToken(demo);
    await renewIssuing(demo);
    await renewRoot(demo);
    await publish(demo);
    return checks.conclude();
  } finally {
    await site.stop();
  }
}

/** Joins PEM files of the site into a new one. */
async function bundleOf(demo: Demo, ...files: readonly string[]): Promise<string> {
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8')));
  return await demo.judge.write('bundle', texts.join(''));
}

// --- ceremony ----------------------------------------------------------------------------------------------------

async function holdCeremony({ checks, site }: Demo): Promise<void> {
  checks.section('Ceremony');
  await checks.check('an RSA key is made in a SoftHSM2 token, and cannot leave it', async () => {
    await leafgate('key', 'generate', '--algorithm', 'rsa-3072', ...site.inToken('rsa'));
    const [, module = '', , token = '', , label = ''] = site.inToken('rsa');
    const pin = (await readFile(site.at('pin.secret'), 'utf8')).trimEnd();
    const key = await openTokenKey({ module, token, label, pin, use: 'sign' });
    demand(!key.exportable, 'the key can be taken out of the token');
    return 'rsa-3072, not extractable';
  });
  const answers = await site.writeAnswers();
  await checks.check(
    'leafgate ca ceremony: a P-384 root, an RSA issuing CA in the token, a P-256 one in a file',
    async () => {
      await leafgate('ca', 'ceremony', '--answers', answers, '--yes');
      const root = await openssl('x509', '-in', site.at('offline-root', 'root-1.pem'), '-noout', '-text');
      const rsa = await openssl('x509', '-in', site.at('server', 'rsa.pem'), '-noout', '-text');
      const ec = await openssl('x509', '-in', site.at('server', 'ec.pem'), '-noout', '-text');
      demand(root.includes('NIST CURVE: P-384'), 'the root is not on P-384');
      demand(rsa.includes('Public-Key: (3072 bit)'), 'the RSA CA has another key');
      demand(ec.includes('NIST CURVE: P-256'), 'the EC CA is not on P-256');
      return undefined;
    },
  );
  await checks.check('… held again, it changes nothing', async () => {
    const digest = async () =>
      createHash('sha256')
        .update(await readFile(site.at('offline-root', 'root.json')))
        .digest('hex');
    const before = await digest();
    await leafgate('ca', 'ceremony', '--answers', answers, '--yes');
    demand(before === (await digest()), 'the root’s state is another one');
    return undefined;
  });
  await checks.check('openssl verify accepts both issuing CAs, with the root’s CRL', async () => {
    const crl = await openssl('crl', '-inform', 'DER', '-in', site.at('public', 'root.crl'));
    const crlFile = site.at('public', 'root-crl.pem');
    await writeFile(crlFile, crl);
    const said = await openssl(
      ...['verify', '-x509_strict', '-crl_check_all', '-CRLfile', crlFile],
      ...['-CAfile', site.at('offline-root', 'root-1.pem')],
      ...[site.at('server', 'rsa.pem'), site.at('server', 'ec.pem')],
    );
    demand(said.match(/: OK$/gm)?.length === 2, said);
    return undefined;
  });
  await checks.check('leafgate serve, with both issuing CAs', async () => {
    const deltas = { deltaCrlPeriod: '1d' };
    site.addIssuer('rsa', 'rsa-chain.pem', site.tokenPlace('rsa'), { ...deltas, crlPartitions: 4 });
    site.addIssuer(
      'ec',
      'ec-chain.pem',
      { file: 'ec.key.pem', passphrase: site.passphrase('ec') },
      { ...deltas, crlAtRevocation: 'full' },
    );
    await site.show('root', site.at('offline-root', 'root-1.pem'), site.at('public', 'root.crl'));
    await leafgate('key', 'generate', '--algorithm', 'p-256', ...site.inToken('ocsp'));
    site.ocspSigners.push({ issuer: 'rsa', key: site.tokenPlace('ocsp') });
    await site.certifyRa();
    await site.start();
    return `${site.url}, the OCSP signer of the RSA CA in the token`;
  });
}

// --- issuance ----------------------------------------------------------------------------------------------------

/** Makes a request with OpenSSL and lets an issuing CA answer it. */
async function issue(demo: Demo, template: string, issuer: string): Promise<Leaf> {
  const { site, leaves } = demo;
  const base = site.at('leaves', `${issuer}-${template}-${leaves.length}`);
  const names = namesByTemplate[template];
  await openssl(
    ...['req', '-new', '-newkey', 'rsa:2048', '-noenc', '-keyout', `${base}.key`, '-out', `${base}.csr`],
    ...['-subj', `/O=LAB/CN=${template}`],
    ...(names === undefined ? [] : ['-addext', `subjectAltName=${names}`]),
  );
  const chain = `${base}.chain.pem`;
  await leafgate('ca', 'issue', template, `${base}.csr`, chain, '--issuer', issuer, '--config', site.config);
  const [der] = parsePem(await readFile(chain, 'utf8'), 'CERTIFICATE');
  const { serialNumber } = parseCertificate(der);
  const file = `${base}.pem`;
  await openssl('x509', '-in', chain, '-out', file);
  const leaf: Leaf = { file, serialNumber, issuer, template, state: 'good' };
  leaves.push(leaf);
  return leaf;
}

async function issueAll(demo: Demo): Promise<void> {
  const { checks, site, judge } = demo;
  const issuerFiles = [site.at('server', 'rsa.pem'), site.at('server', 'ec.pem')];
  const trust: Trust = {
    root: site.at('offline-root', 'root-1.pem'),
    untrusted: await bundleOf(demo, ...issuerFiles),
  };
  checks.section('A certificate of every built-in template, from each CA: openssl verify -crl_check_all');
  for (const { name, extKeyUsage, extKeyUsageDefault = extKeyUsage } of builtInTemplates) {
    await checks.check(name, async () => {
      const issued = await Promise.all(['rsa', 'ec'].map((issuer) => issue(demo, name, issuer)));
      for (const { file } of issued) {
        const [der] = parsePem(await readFile(file, 'utf8'), 'CERTIFICATE');
        const purposes = extKeyUsageOf(parseCertificate(der)) ?? [];
        demand(purposes.join() === extKeyUsageDefault.join(), `the purposes are ${purposes.join(', ')}`);
      }
      return await judge.demandVerdicts(issued, issuerFiles, trust);
    });
  }
  await checks.check('the certificates of the RSA CA are spread over its CRLs', async () => {
    const urls = await judge.crlUrls(
      demo.leaves.filter(({ issuer }) => issuer === 'rsa').map(({ file }) => file),
    );
    demand(urls.length > 1 && urls.every((url) => /\/rsa\.[1-4]\.crl$/.test(url)), urls.join(', '));
    return urls
      .map((url) => url.split('/').at(-1))
      .sort()
      .join(', ');
  });
}

// --- metrics -----------------------------------------------------------------------------------------------------

async function countEnrolment({ checks, site }: Demo): Promise<void> {
  checks.section('Metrics');
  await checks.check('a device enrols, and /metrics of the admin listener has counted it', async () => {
    const { token } = await leafgateJson<{ readonly token: string }>(
      ...['admin', 'token', 'create', 'prometheus', '--role', 'monitor', '--config', site.config],
    );
    const { challenge } = await leafgateJson<{ readonly challenge: string }>(
      ...['challenge', 'create', 'one-time', '--config', site.config],
    );
    const issued =
      'leafgate_pki_operations_total{endpoint="one-time",message_type="PKCSReq",outcome="issued",code=""}';
    const count = async () => {
      const headers = { authorization: `Bearer ${token}` };
      const answer = await fetch(`${site.adminUrl}/metrics`, { headers });
      demand(answer.status === 200, `it answered ${answer.status}`);
      const line = (await answer.text()).split('\n').find((each) => each.startsWith(`${issued} `));
      return line?.slice(issued.length + 1);
    };
    const before = await count();
    demand(before === '0', `before: ${before}`);
    await leafgateJson(
      ...['scep', 'enrol', `${site.url}/scep/one-time`, '--subject', 'CN=counted,O=LAB'],
      ...['--folder', site.at('counted'), '--root', site.at('offline-root', 'root-1.pem')],
      ...['--danger-challenge', challenge],
    );
    const after = await count();
    demand(after === '1', `afterwards: ${after}`);
    return `${before} before, ${after} afterwards`;
  });
  await checks.check('… but tells nobody without a token, and devices not at all', async () => {
    const urls = [`${site.adminUrl}/metrics`, `${site.url}/metrics`];
    const statuses = await Promise.all(urls.map(async (url) => (await fetch(url)).status));
    demand(statuses.join() === '401,404', statuses.join());
    return statuses.map((status) => `HTTP ${status}`).join(', ');
  });
}

// --- revocation --------------------------------------------------------------------------------------------------

/** The first certificate of a template. */
function leafOf(leaves: readonly Leaf[], issuer: string, template: string): Leaf {
  const leaf = leaves.find((each) => each.issuer === issuer && each.template === template);
  demand(leaf !== undefined, `there is no ${template} of ${issuer}`);
  return leaf;
}

/** Revokes, holds or releases, by the command line. */
async function change({ site }: Demo, leaf: Leaf, state: string): Promise<void> {
  const which = [leaf.serialNumber, '--issuer', leaf.issuer, '--config', site.config];
  if (state === 'good') await leafgate('ca', 'release', ...which);
  else await leafgate('ca', 'revoke', ...which, '--reason', state, '--yes');
  leaf.state = state;
}

async function revokeSome(demo: Demo): Promise<void> {
  const { checks, site, judge, leaves } = demo;
  const issuerFiles = [site.at('server', 'rsa.pem'), site.at('server', 'ec.pem')];
  const trust: Trust = {
    root: site.at('offline-root', 'root-1.pem'),
    untrusted: await bundleOf(demo, ...issuerFiles),
  };
  const of = (issuer: string, template: string) => leafOf(leaves, issuer, template);
  checks.section('Good, revoked, on hold, released and never issued');
  await checks.check('one is revoked, two are put on hold, from each CA', async () => {
    const revoke = async (issuer: string) => {
      await change(demo, of(issuer, 'web-server'), 'keyCompromise');
      await change(demo, of(issuer, 'vpn-ipsec'), 'certificateHold');
      await change(demo, of(issuer, 'smime'), 'certificateHold');
    };
    await Promise.all(['rsa', 'ec'].map(revoke));
    return await judge.demandVerdicts(leaves, issuerFiles, trust);
  });
  await checks.check('of those on hold, one is released', async () => {
    await Promise.all(['rsa', 'ec'].map((issuer) => change(demo, of(issuer, 'smime'), 'good')));
    return await judge.demandVerdicts(leaves, issuerFiles, trust);
  });
  for (const issuer of ['rsa', 'ec']) {
    await checks.check(`openssl ocsp, openssl crl and leafgate ca list agree (${issuer})`, () =>
      judge.demandAgreement(issuer, site.at('server', `${issuer}.pem`), leaves, trust),
    );
  }
  await checks.check('what the RSA CA revoked is in its deltas alone, and they alone stop it', async () => {
    const leaf = of('rsa', 'web-server');
    const files = [leaf.file, ...issuerFiles];
    const without = await judge.verify([leaf], trust, await judge.fetchCrls(files, 'full'));
    const withDeltas = await judge.verify([leaf], trust, await judge.fetchCrls(files));
    const told = `${without.get(leaf.file)} without deltas, ${withDeltas.get(leaf.file)} with them`;
    demand(told === 'OK without deltas, 0 depth lookup: certificate revoked with them', told);
    return told;
  });
  await checks.check('a CRL of another partition is no substitute', async () => {
    const leaf = of('rsa', 'client-authentication');
    const own = await judge.crlUrls([leaf.file]);
    const other = [1, 2, 3, 4]
      .map((partition) => `${site.url}/crl/rsa.${partition}.crl`)
      .find((url) => !own.includes(url));
    demand(other !== undefined, 'there is no other');
    const roots = await judge.fetchCrls(issuerFiles);
    const verdict = (await judge.verify([leaf], trust, [await judge.fetchCrl(other), ...roots])).get(
      leaf.file,
    );
    demand(verdict !== undefined && verdict !== 'OK', `openssl says ${verdict}`);
    return verdict;
  });
}

// --- token ------------------------------------------------------------------------------------------------------------

async function loseToken({ checks, site }: Demo): Promise<void> {
  checks.section('The token goes while the server runs, and comes back');
  await proveTokenLoss(checks, {
    config: site.config,
    url: site.url,
    issuer: 'rsa',
    issuerFile: site.at('server', 'rsa.pem'),
    rootFile: site.at('offline-root', 'root-1.pem'),
    tokens: site.at('tokens'),
  });
}

// --- renewal -----------------------------------------------------------------------------------------------------

/** Issues two certificates from each of the CAs, and revokes one of them. */
async function issueAndRevoke(demo: Demo, issuers: readonly string[]): Promise<void> {
  const work = async (issuer: string) => {
    await issue(demo, 'client-authentication', issuer);
    await change(demo, await issue(demo, 'client-authentication', issuer), 'superseded');
  };
  await Promise.all(issuers.map(work));
}

/** Signs a request of a CA that the root knows, and imports the certificate into a chain file of a new name. */
async function renew(
  { site }: Demo,
  order: {
    readonly csr: string;
    readonly name: string;
    readonly file: string;
    readonly key: readonly string[];
    readonly issuers: readonly string[];
  },
): Promise<string> {
  const { csr, name, file, key, issuers } = order;
  const certificate = site.at('server', `${file}.pem`);
  await leafgate('ca', 'sign-request', csr, certificate, '--renew', ...site.withRoot);
  await leafgate(
    ...['ca', 'import', certificate, site.at('server', `${file}-chain.pem`), '--name', name, '--yes'],
    ...issuers.flatMap((issuer) => ['--issuer', issuer]),
    ...key,
    ...site.urlOptions(name),
  );
  return certificate;
}

async function renewIssuing(demo: Demo): Promise<void> {
  const { checks, site, judge, leaves } = demo;
  const root = site.at('offline-root', 'root-1.pem');
  const ecKey = ['--key', site.at('server', 'ec.key.pem'), '--passphrase', site.passphrase('ec')];
  const ec = site.issuers.find(({ name }) => name === 'ec');

  checks.section('Renewal of an issuing CA, with the same key (EC) and with a new one in the token (RSA)');
  await checks.check('the root certifies the key of the EC CA again', async () => {
    const csr = site.at('server', 'ec.csr.pem');
    await renew(demo, { csr, name: 'ec', file: 'ec-2', key: ecKey, issuers: [root] });
    demand(ec !== undefined, 'there is no EC CA');
    ec.certificate = 'ec-2-chain.pem';
    return undefined;
  });
  await checks.check(
    'a second key of the RSA CA is made in the token, and certified by the root',
    async () => {
      await leafgate('key', 'generate', '--algorithm', 'rsa-3072', ...site.inToken('rsa-2'));
      const place = site.at('rsa-2.place.yaml');
      await writeFile(place, JSON.stringify(site.tokenPlace('rsa-2')));
      const csr = site.at('server', 'rsa-2.csr.pem');
      await leafgate(
        ...['ca', 'request', csr, '--key-place', place, '--subject', site.subjectOf('rsa'), '--yes'],
      );
      const key = ['--key-place', place];
      await renew(demo, { csr, name: 'rsa-2', file: 'rsa-2', key, issuers: [root] });
      site.addIssuer('rsa-2', 'rsa-2-chain.pem', site.tokenPlace('rsa-2'), {
        deltaCrlPeriod: '1d',
        crlPartitions: 2,
      });
      await site.start();
      return undefined;
    },
  );
  await checks.check('the renewed CAs issue, and revoke', async () => {
    await issueAndRevoke(demo, ['ec', 'rsa-2']);
    await change(demo, leafOf(leaves, 'rsa', 'ra-signing'), 'superseded');
    return undefined;
  });
  const files = (ecFile: string) => [
    site.at('server', 'rsa.pem'),
    site.at('server', 'rsa-2.pem'),
    site.at('server', ecFile),
  ];
  for (const ecFile of ['ec.pem', 'ec-2.pem']) {
    await checks.check(
      `old and new certificates under ${ecFile === 'ec.pem' ? 'the old' : 'the new'} certificate of the EC CA`,
      async () =>
        judge.demandVerdicts(leaves, files(ecFile), {
          root,
          untrusted: await bundleOf(demo, ...files(ecFile)),
        }),
    );
  }
  const trust = { root, untrusted: await bundleOf(demo, ...files('ec-2.pem')) };
  for (const [issuer, file] of [
    ['rsa', 'rsa.pem'],
    ['rsa-2', 'rsa-2.pem'],
    ['ec', 'ec-2.pem'],
  ] as const) {
    await checks.check(`openssl ocsp, openssl crl and leafgate ca list agree (${issuer})`, () =>
      judge.demandAgreement(issuer, site.at('server', file), leaves, trust),
    );
  }
}

async function renewRoot(demo: Demo): Promise<void> {
  const { checks, site, judge, leaves } = demo;
  const inRoot = (name: string) => site.at('offline-root', `${name}.pem`);
  const ecKey = ['--key', site.at('server', 'ec.key.pem'), '--passphrase', site.passphrase('ec')];
  const issuing = (...names: readonly string[]) => names.map((name) => site.at('server', `${name}.pem`));
  const agree = async (trust: Trust, ecFile: string) => {
    for (const [issuer, file] of [
      ['rsa', 'rsa'],
      ['rsa-2', 'rsa-2'],
      ['ec', ecFile],
    ] as const) {
      await checks.check(`openssl ocsp, openssl crl and leafgate ca list agree (${issuer})`, () =>
        judge.demandAgreement(issuer, site.at('server', `${file}.pem`), leaves, trust),
      );
    }
  };

  checks.section('Renewal of the root with the same key');
  await checks.check('leafgate ca renew-root, and the server shows the new root', async () => {
    await leafgate('ca', 'renew-root', ...site.withRoot);
    await site.show('root', inRoot('root-1-renewed-1'), site.at('public', 'root.crl'));
    await site.start();
    await issueAndRevoke(demo, ['rsa']);
    return undefined;
  });
  const files = issuing('rsa', 'rsa-2', 'ec-2');
  const untrusted = await bundleOf(demo, ...files);
  for (const name of ['root-1', 'root-1-renewed-1']) {
    await checks.check(`all certificates under ${name}.pem`, () =>
      judge.demandVerdicts(leaves, files, { root: inRoot(name), untrusted }),
    );
  }
  await agree({ root: inRoot('root-1-renewed-1'), untrusted }, 'ec-2');

  checks.section('Renewal of the root with a new key, and cross-certificates');
  await checks.check('leafgate ca renew-root --new-key: both keys sign their CRLs', async () => {
    await leafgate('ca', 'renew-root', '--new-key', 'p-384', ...site.withRoot, ...site.urlOptions('root-2'));
    await leafgate('ca', 'root-crl', site.at('public', 'root-2.crl'), ...site.withRoot);
    await leafgate('ca', 'root-crl', site.at('public', 'root.crl'), '--root-key', '1', ...site.withRoot);
    await site.show('root', inRoot('root-1-renewed-1'), site.at('public', 'root.crl'));
    await site.show('root-2', inRoot('root-2'), site.at('public', 'root-2.crl'));
    return undefined;
  });
  await checks.check('the new root certifies the EC CA, which issues and revokes', async () => {
    const csr = site.at('server', 'ec.csr.pem');
    await renew(demo, { csr, name: 'ec', file: 'ec-3', key: ecKey, issuers: [inRoot('root-2')] });
    for (const entry of site.issuers) if (entry.name === 'ec') entry.certificate = 'ec-3-chain.pem';
    await site.start();
    await issueAndRevoke(demo, ['ec']);
    return undefined;
  });
  const forNewRoot = [...issuing('rsa', 'rsa-2', 'ec-3'), inRoot('root-1-with-2')];
  const forOldRoot = [...issuing('rsa', 'rsa-2', 'ec-3'), inRoot('root-2-with-1')];
  const ofNewTrust: Trust = { root: inRoot('root-2'), untrusted: await bundleOf(demo, ...forNewRoot) };
  await checks.check(
    'all certificates under the new root alone, the old ones by the cross-certificate',
    async () => {
      const said = await judge.demandVerdicts(leaves, forNewRoot, ofNewTrust);
      const bare = {
        root: inRoot('root-2'),
        untrusted: await bundleOf(demo, ...issuing('rsa', 'rsa-2', 'ec-3')),
      };
      const old = leafOf(leaves, 'rsa', 'client-authentication');
      const crls = await judge.fetchCrls([old.file, ...forNewRoot]);
      const without = (await judge.verify([old], bare, crls)).get(old.file);
      demand(without !== undefined && without !== 'OK', 'it is not needed');
      return said;
    },
  );
  await checks.check('all certificates under the old root alone, the new ones by the other one', async () =>
    judge.demandVerdicts(leaves, forOldRoot, {
      root: inRoot('root-1'),
      untrusted: await bundleOf(demo, ...forOldRoot),
    }),
  );
  await agree(ofNewTrust, 'ec-3');
}

// --- publishing --------------------------------------------------------------------------------------------------

async function publish(demo: Demo): Promise<void> {
  const { checks, site } = demo;
  checks.section('Publishing: Azure Blob Storage (Azurite) and S3 hold what the server serves');
  const [azurite, s3] = await Promise.all([startAzurite(), startS3()]);
  try {
    await newContainer(azurite.url, 'pki');
    await writeFile(site.at('azure.secret'), azuriteConnectionString(azurite.url), { mode: 0o600 });
    await writeFile(site.at('s3.secret'), s3Key, { mode: 0o600 });
    site.targets.push(
      { name: 'azure', azureBlob: { container: 'pki', connectionString: site.passphrase('azure') } },
      {
        name: 'bucket',
        s3: {
          bucket: 'pki',
          region: 'eu-central-1',
          endpoint: s3.url,
          addressing: 'path',
          accessKeyId: s3Key,
          secretAccessKey: site.passphrase('s3'),
        },
      },
    );
    await site.writeConfig();
    let objects: string[] = [];
    await checks.check('leafgate ca publish', async () => {
      const rows = await leafgateJson<{ target: string; object: string; outcome: string }[]>(
        ...['ca', 'publish', '--config', site.config],
      );
      for (const { target, object, outcome } of rows)
        demand(outcome === 'published', `${object} at ${target}: ${outcome}`);
      objects = [...new Set(rows.map(({ object }) => object))];
      demand(rows.length === 2 * objects.length && objects.length > 20, `${rows.length} objects`);
      return `${objects.length} objects at each of 2 targets`;
    });
    const octets = async (url: string) => {
      const answer = await fetch(url);
      demand(answer.ok, `${url}: HTTP ${answer.status}`);
      return Buffer.from(await answer.arrayBuffer());
    };
    for (const [name, base] of [
      ['Azurite', `${azurite.url}/${azuriteAccount}/pki`],
      ['S3', `${s3.url}/pki`],
    ] as const) {
      await checks.check(`what ${name} holds is what the server serves, octet for octet`, async () => {
        const served = objects.filter((object) => /\.(crl|crt)$/.test(object));
        demand(served.length > 20, `only ${served.length} objects`);
        for (const object of served) {
          const path = object.endsWith('.crl') ? 'crl' : 'aia';
          const [here, there] = await Promise.all([
            octets(`${site.url}/${path}/${object}`),
            octets(`${base}/${object}`),
          ]);
          demand(here.length > 0 && here.equals(there), `${object} differs`);
        }
        return `${served.length} CRLs and certificates`;
      });
    }
    await checks.check('leafgate ca publish --check finds nothing else, also at the URLs', async () => {
      const rows = await leafgateJson<{ outcome: string }[]>(
        ...['ca', 'publish', '--check', '--config', site.config],
      );
      demand(rows.length > 2 * objects.length, `${rows.length} rows`);
      return `${rows.length} rows`;
    });
  } finally {
    await Promise.all([azurite.remove(), s3.remove()]);
  }
}

await runInFolder('leafgate-demo-ca-', (folder) => {
  // So that nothing is left elsewhere by whatever is started; the server ends by itself when this process is gone.
  process.env.TMPDIR = folder;
  return runIn(folder);
});
