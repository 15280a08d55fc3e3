/** `leafgate ca`: the views and actions of a CA administrator (certsrv.msc's, in words). */
import { writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { buildPem, parseCertificationRequest, parsePem } from '../codec/index.ts';
import { PkiError } from '../errors.ts';
import { addCaApproval } from './ca-approval.ts';
import { addCaAudit } from './ca-audit.ts';
import { addCeremony } from './ca-ceremony.ts';
import { addCaPublish } from './ca-publish.ts';
import { addCaRevoke } from './ca-revoke.ts';
import { factsOf, findCertificate, operator } from './ca-search.ts';
import { addCaViews } from './ca-views.ts';
import { configOption, withAuthorities } from './context.ts';
import { fileText } from './input.ts';
import { type ListingOptions, positiveInteger, printFacts } from './output.ts';

interface ConfigChoice {
  readonly config?: string;
}

interface CrlChoice {
  readonly partition?: number;
  readonly delta?: boolean;
}

/** Adds the commands. */
export function addCa(program: Command): void {
  const ca = program.command('ca').description('issued certificates, revocation, CRLs');
  addCeremony(ca);
  addCaPublish(ca);
  addCaViews(ca);
  addCaApproval(ca);
  addCaRevoke(ca);
  addCaAudit(ca);
  ca.command('show')
    .description('one certificate, with its PEM')
    .argument('<serialNumber>')
    .option(...configOption)
    .option('--issuer <name>', 'of this issuing CA')
    .option('--json', 'for machines')
    .action(async (serialNumber: string, options: ConfigChoice & ListingOptions & { issuer?: string }) => {
      await withAuthorities(options.config, async ({ store }) => {
        const record = await findCertificate(store, { serialNumber, issuer: options.issuer });
        const pem = record.certificate === undefined ? '' : buildPem('CERTIFICATE', record.certificate);
        printFacts(options.json === true ? { ...factsOf(record), pem } : factsOf(record), options);
        if (options.json !== true) console.log(pem.trimEnd());
      });
    });
  ca.command('crl')
    .description('write the newest CRL of an issuing CA as DER')
    .argument('<issuer>')
    .argument('<file>')
    .option(...configOption)
    .option('--partition <n>', 'of this partition; 0, the undivided one, if absent', positiveInteger)
    .option('--delta', 'the delta CRL')
    .action(async (issuer: string, file: string, options: ConfigChoice & CrlChoice) => {
      await withAuthorities(options.config, async ({ ca: authority }) => {
        await authority.publishCrls(issuer);
        const { partition = 0, delta } = options;
        const crl = await authority.latestCrl(issuer, partition, delta === true ? 'delta' : 'full');
        if (crl === undefined) throw new PkiError('certificate_unknown', `CA “${issuer}” has no such CRL`);
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
          const [der] = parsePem(fileText(csr), 'CERTIFICATE REQUEST');
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
