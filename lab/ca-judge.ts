/** What OpenSSL thinks of a CA: chains, CRLs as certificates name them, and OCSP; held against what the CA itself lists. */
import { writeFile } from 'node:fs/promises';
import { buildPem } from '../src/codec/index.ts';
import { type CaSite, openssl, tryOpenssl } from './ca-site.ts';
import { demand } from './checks.ts';
import { leafgateJson } from './command.ts';

/** A certificate that the CA issued, and what was done with it. */
export interface Leaf {
  /** PEM of the certificate alone. */
  readonly file: string;
  readonly serialNumber: string;
  /** The issuing CA's name in the configuration. */
  readonly issuer: string;
  readonly template: string;
  /** `good`, or the reason of its revocation. */
  state: string;
}

/** What a relying party trusts. */
export interface Trust {
  /** PEM of the only root. */
  readonly root: string;
  /** PEM of everything between. */
  readonly untrusted: string;
}

interface ListRow {
  readonly serialNumber: string;
  readonly status: string;
  readonly revocationReason?: string;
}

/** A CRL as it was fetched. */
export interface FetchedCrl {
  readonly url: string;
  /** PEM. */
  readonly file: string;
  readonly pem: string;
}

/** Reasons as `openssl crl -text` writes them, without blanks and small. */
const reasonsOfText: Readonly<Record<string, string>> = {
  keycompromise: 'keyCompromise',
  superseded: 'superseded',
  certificatehold: 'certificateHold',
  removefromcrl: 'removeFromCRL',
};

/** A serial number that no CA here ever used. */
export const neverIssued = '0badc0de0badc0de0badc0de0badc0de';

/** Judges certificates of one site. */
export class CaJudge {
  readonly #site: CaSite;
  #files = 0;

  constructor(site: CaSite) {
    this.#site = site;
  }

  /** The URLs of CRLs that certificates name. */
  async crlUrls(files: readonly string[]): Promise<string[]> {
    const urls = new Set<string>();
    for (const file of new Set(files)) {
      const text = await openssl('x509', '-in', file, '-noout', '-ext', 'crlDistributionPoints');
      for (const [, url = ''] of text.matchAll(/URI:(\S+)/g)) urls.add(url);
    }
    return [...urls];
  }

  /** Fetches a CRL. */
  async fetchCrl(url: string): Promise<FetchedCrl> {
    const answer = await fetch(url);
    demand(answer.ok, `${url}: HTTP ${answer.status}`);
    const pem = buildPem('X509 CRL', new Uint8Array(await answer.arrayBuffer()));
    return { url, pem, file: await this.write('crl', pem) };
  }

  /** The CRLs that certificates name, and the deltas to them: issuing CAs have some here, roots have none. */
  async fetchCrls(
    files: readonly string[],
    which: 'full' | 'withDeltas' = 'withDeltas',
  ): Promise<FetchedCrl[]> {
    const urls = await this.crlUrls(files);
    const deltas = urls
      .filter((url) => !/\/root[^/]*$/.test(url))
      .map((url) => url.replace(/\.crl$/, '.delta.crl'));
    return await Promise.all(
      [...urls, ...(which === 'withDeltas' ? deltas : [])].map((url) => this.fetchCrl(url)),
    );
  }

  /** Writes a file for OpenSSL. */
  async write(kind: string, text: string): Promise<string> {
    this.#files += 1;
    const file = this.#site.at('public', `${kind}-${this.#files}.pem`);
    await writeFile(file, text);
    return file;
  }

  /** What `openssl verify -x509_strict -crl_check_all` says of each certificate: `OK`, or its reason. */
  async verify(
    leaves: readonly { readonly file: string }[],
    { root, untrusted }: Trust,
    crls: readonly FetchedCrl[],
  ): Promise<Map<string, string>> {
    const crlFile = await this.write('crls', crls.map(({ pem }) => pem).join(''));
    const { stdout, stderr } = await tryOpenssl(
      ...['verify', '-x509_strict', '-crl_check_all', '-extended_crl', '-use_deltas', '-no-CApath'],
      ...['-no-CAstore', '-CAfile', root, '-untrusted', untrusted, '-CRLfile', crlFile],
      ...leaves.map(({ file }) => file),
    );
    const verdicts = new Map<string, string>();
    for (const [, file = ''] of stdout.matchAll(/^(\S+): OK$/gm)) verdicts.set(file, 'OK');
    let reason = '';
    for (const line of stderr.split('\n')) {
      reason = /^error \d+ at (\d+ depth lookup: .*)$/.exec(line)?.[1]?.trim() ?? reason;
      const file = /^error (\S+): verification failed$/.exec(line)?.[1];
      if (file !== undefined) verdicts.set(file, reason);
    }
    return verdicts;
  }

  /** What `openssl ocsp` says of certificates of one issuing CA, and of `neverIssued`, by serial number. */
  async askOcsp(
    issuerFile: string,
    leaves: readonly Leaf[],
    { root, untrusted }: Trust,
  ): Promise<Map<string, string>> {
    const said = await openssl(
      ...['ocsp', '-url', `${this.#site.url}/ocsp`, '-issuer', issuerFile, '-CAfile', root],
      ...['-verify_other', untrusted, ...leaves.flatMap(({ file }) => ['-cert', file])],
      ...['-serial', `0x${neverIssued}`],
    );
    const verdicts = new Map<string, string>();
    for (const block of said.split(/^(?=\S)/m)) {
      const [, name, status] = /^(\S+): (good|revoked|unknown)$/m.exec(block) ?? [];
      if (name === undefined || status === undefined) continue;
      const serialNumber = leaves.find(({ file }) => file === name)?.serialNumber ?? neverIssued;
      verdicts.set(
        serialNumber,
        status === 'revoked' ? (/Reason: (\w+)/.exec(block)?.[1] ?? 'revoked') : status,
      );
    }
    return verdicts;
  }

  /** What `openssl crl` verifies and lists, full CRLs and then the deltas to them: the reason by serial number. */
  async readCrls(issuerFile: string, crls: readonly FetchedCrl[]): Promise<Map<string, string>> {
    const listed = new Map<string, string>();
    for (const { url, file } of crls) {
      const { stdout, stderr } = await tryOpenssl(
        'crl',
        '-in',
        file,
        '-CAfile',
        issuerFile,
        '-text',
        '-noout',
      );
      demand(/verify OK/.test(stderr), `${url}: ${stderr.trim()}`);
      demand(
        url.includes('.delta.') === stdout.includes('X509v3 Delta CRL Indicator: critical'),
        `${url} is of the other kind`,
      );
      for (const entry of stdout.split('Serial Number: ').slice(1)) {
        const serialNumber = (/^[0-9A-F]+/.exec(entry)?.[0] ?? '').toLowerCase();
        const text = /Reason Code:\s*\n\s*([^\n]+)/.exec(entry)?.[1]?.replaceAll(/\s/g, '').toLowerCase();
        const reason = text === undefined ? 'unspecified' : (reasonsOfText[text] ?? text);
        // RFC 5280 §5.2.4: it is on hold no longer.
        if (reason === 'removeFromCRL') listed.delete(serialNumber);
        else listed.set(serialNumber, reason);
      }
    }
    return listed;
  }

  /**
   * Demands that OCSP, CRLs, deltas and the CA's list say of each certificate of an issuing CA what is true, and that none
   * of them knows `neverIssued`.
   *
   * @returns how many certificates were compared, by state.
   */
  async demandAgreement(
    issuer: string,
    issuerFile: string,
    leaves: readonly Leaf[],
    trust: Trust,
  ): Promise<string> {
    const own = leaves.filter((leaf) => leaf.issuer === issuer);
    demand(own.length > 0, 'there is no certificate');
    const crls = await this.fetchCrls(own.map(({ file }) => file));
    const [ocsp, listed, rows] = await Promise.all([
      this.askOcsp(issuerFile, own, trust),
      this.readCrls(issuerFile, crls),
      leafgateJson<ListRow[]>(
        ...['ca', 'list', '--issuer', issuer, '--limit', '1000', '--config', this.#site.config],
      ),
    ]);
    const list = new Map(
      rows.map((row) => [
        row.serialNumber,
        row.status === 'issued' ? 'good' : (row.revocationReason ?? row.status),
      ]),
    );
    for (const { serialNumber, template, state } of own) {
      const told = [ocsp.get(serialNumber), listed.get(serialNumber) ?? 'good', list.get(serialNumber)];
      demand(
        told.every((each) => each === state),
        `${template} ${serialNumber} is ${state}; OCSP, CRL, list: ${told.join(', ')}`,
      );
    }
    const never = [ocsp.get(neverIssued), listed.get(neverIssued), list.get(neverIssued)];
    demand(
      never[0] === 'unknown' && never[1] === undefined && never[2] === undefined,
      `never issued: ${never.join(', ')}`,
    );
    const counts = new Map<string, number>();
    for (const { state } of own) counts.set(state, (counts.get(state) ?? 0) + 1);
    const deltas = crls.filter(({ url }) => url.includes('.delta.')).length;
    return `${[...counts].map(([state, count]) => `${count} ${state}`).join(', ')}, 1 never issued; ${crls.length - deltas} CRLs, ${deltas} deltas`;
  }

  /** Demands that OpenSSL lets pass what is good, and refuses what is revoked or on hold. */
  async demandVerdicts(
    leaves: readonly Leaf[],
    issuerFiles: readonly string[],
    trust: Trust,
  ): Promise<string> {
    const files = [...leaves.map(({ file }) => file), ...issuerFiles];
    const verdicts = await this.verify(leaves, trust, await this.fetchCrls(files));
    for (const { file, template, issuer, state } of leaves) {
      const verdict = verdicts.get(file);
      demand(
        state === 'good' ? verdict === 'OK' : verdict === '0 depth lookup: certificate revoked',
        `${template} of ${issuer} is ${state}; openssl says ${verdict}`,
      );
    }
    const good = leaves.filter(({ state }) => state === 'good').length;
    return `${good} OK, ${leaves.length - good} revoked`;
  }
}
