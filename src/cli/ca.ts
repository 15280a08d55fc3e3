/** `leafgate ca`: the views and actions of a CA administrator (certsrv.msc's, in words). */
import { readFileSync, writeFileSync } from 'node:fs';
import { type Command, Option } from 'commander';
import { buildPem, parseCertificationRequest, parsePem, revocationReasons } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import type { CertificateRecord, RevocationReason } from '../store/index.ts';
import { addCeremony } from './ca-ceremony.ts';
import { addCaPublish } from './ca-publish.ts';
import { configOption, withAuthorities } from './context.ts';
import { type ListingOptions, positiveInteger, printFacts, printRows } from './output.ts';

interface ConfigChoice {
  readonly config?: string;
}

const statuses = ['intent', 'issued', 'revoked', 'abandoned'] as const;

const columns = {
  serialNumber: 'Serial number',
  status: 'Status',
  template: 'Certificate template',
  requester: 'Requester name',
  device: 'Device',
  subject: 'Subject',
  notAfter: 'Expires',
};

/** Adds the commands. */
export function addCa(program: Command): void {
  const ca = program.command('ca').description('issued certificates, revocation, CRLs');
  addCeremony(ca);
  addCaPublish(ca);
  ca.command('list')
    .description('certificates, newest first')
    .option(...configOption)
    .addOption(new Option('--status <status>', 'only these').choices(statuses))
    .option('--device <device>', 'only this device’s')
    .option('--template <name>', 'only of this template')
    .option('--limit <n>', 'at most this many', positiveInteger, 50)
    .option('--json', 'for machines')
    .action(
      async (
        options: ConfigChoice &
          ListingOptions & {
            status?: (typeof statuses)[number];
            device?: string;
            template?: string;
            limit: number;
          },
      ) => {
        await withAuthorities(options.config, async ({ store }) => {
          const { status, device, template, limit } = options;
          const records = await store.certificates({
            limit,
            ...(status === undefined ? {} : { status }),
            ...(device === undefined ? {} : { device }),
            ...(template === undefined ? {} : { template }),
          });
          printRows(records.map(factsOf), columns, options);
        });
      },
    );
  ca.command('show')
    .description('one certificate, with its PEM')
    .argument('<serialNumber>')
    .option(...configOption)
    .option('--json', 'for machines')
    .action(async (serialNumber: string, options: ConfigChoice & ListingOptions) => {
      await withAuthorities(options.config, async ({ store, issuers }) => {
        const record = await find(store.certificateBySerial.bind(store), issuers, serialNumber);
        const pem = record.certificate === undefined ? '' : buildPem('CERTIFICATE', record.certificate);
        printFacts(options.json === true ? { ...factsOf(record), pem } : factsOf(record), options);
        if (options.json !== true) console.log(pem.trimEnd());
      });
    });
  ca.command('revoke')
    .description('revoke a certificate and publish the CRL')
    .argument('<serialNumber>')
    .option(...configOption)
    .addOption(
      new Option('--reason <reason>', 'RFC 5280 §5.3.1')
        .choices(Object.keys(revocationReasons))
        .default('unspecified'),
    )
    .action(async (serialNumber: string, options: ConfigChoice & { readonly reason: RevocationReason }) => {
      await withAuthorities(options.config, async ({ store, ca: authority, issuers }) => {
        const record = await find(store.certificateBySerial.bind(store), issuers, serialNumber);
        const result = await authority.revoke({
          issuer: record.issuer,
          serialNumber: record.serialNumber,
          reason: options.reason,
          actor: operator(),
          text: `revoked by ${operator()}`,
        });
        const crl = await authority.publishCrl(record.issuer);
        console.log(`${record.serialNumber}: ${result}; CRL number ${crl.crlNumber}`);
      });
    });
  ca.command('crl')
    .description('write the newest CRL of an issuing CA as DER')
    .argument('<issuer>')
    .argument('<file>')
    .option(...configOption)
    .action(async (issuer: string, file: string, options: ConfigChoice) => {
      await withAuthorities(options.config, async ({ ca: authority }) => {
        const crl = await authority.publishCrl(issuer);
        writeFileSync(file, crl.crl);
        console.log(`${file}: CRL number ${crl.crlNumber}, next update ${crl.nextUpdate.toISOString()}`);
      });
    });
  ca.command('issue')
    .description('issue to one of our own services from a PKCS #10 request, on your word')
    .argument('<template>')
    .argument('<csr>', 'PEM file')
    .argument('<file>', 'where the certificate and its issuers go, as PEM')
    .option(...configOption)
    .option('--issuer <name>', 'issuing CA; the first if absent')
    .action(
      async (
        template: string,
        csr: string,
        file: string,
        options: ConfigChoice & { readonly issuer?: string },
      ) => {
        await withAuthorities(options.config, async ({ ra, issuers }) => {
          const issuer = issuers.find(({ name }) => options.issuer === undefined || name === options.issuer);
          if (issuer === undefined)
            throw new PkiError('template_denied', `there is no issuing CA “${options.issuer}”`);
          const [der] = parsePem(readFileSync(csr, 'utf8'), 'CERTIFICATE REQUEST');
          const certificate = await ra.enrolService({
            issuer: issuer.name,
            template,
            csr: parseCertificationRequest(der),
            operator: operator(),
          });
          const chain = [certificate.raw, ...issuer.chain.slice(0, -1)].map((item) =>
            buildPem('CERTIFICATE', item),
          );
          writeFileSync(file, chain.join(''));
          console.log(`${file}: serial number ${certificate.serialNumber}`);
        });
      },
    );
}

function factsOf(record: CertificateRecord): Record<string, unknown> {
  const { certificate: _der, ...facts } = record;
  return facts;
}

async function find(
  bySerial: (issuer: string, serialNumber: string) => Promise<CertificateRecord | undefined>,
  issuers: readonly { readonly name: string }[],
  serialNumber: string,
): Promise<CertificateRecord> {
  const wanted = serialNumber.toLowerCase().replaceAll(/[:\s]/g, '');
  for (const { name } of issuers) {
    const record = await bySerial(name, wanted);
    if (record !== undefined) return record;
  }
  throw new PkiError('certificate_unknown', `no certificate with serial number ${wanted}`);
}

/** Who acts, for the audit log: the account that runs the command. */
function operator(): string {
  return `operator ${process.env.USER ?? process.env.USERNAME ?? 'unknown'}`;
}
