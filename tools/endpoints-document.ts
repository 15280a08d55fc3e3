/** `docs/endpoints.md`: its table of client profiles is made from the profiles themselves. */
import { type CertificatePart, type ClientProfile, rfcCapabilities } from '../src/scep/index.ts';
import { table } from './markdown.ts';

const parts: Readonly<Record<CertificatePart, string>> = {
  signing: 'RA signing',
  encryption: 'RA encryption',
  issuer: 'issuing CA',
  above: 'its issuers up to the root',
};

const listed = (list: readonly CertificatePart[]) => list.map((part) => parts[part]).join(', ');

/** The whole document. */
export function endpointsDocument(profiles: Readonly<Record<string, ClientProfile>>): string {
  const entries = Object.entries(profiles);
  const served = ({ caCertificates }: ClientProfile) =>
    caCertificates === 'one'
      ? 'one RA certificate for both roles, by itself (`application/x-x509-ca-cert`)'
      : `${listed(caCertificates)} (\`application/x-x509-ca-ra-cert\`)`;
  const keywords = ({ capabilities }: ClientProfile) => {
    const more = capabilities.filter((capability) => !rfcCapabilities.includes(capability));
    return more.length === 0
      ? 'those of the RFC'
      : `those of the RFC and ${more.map((keyword) => `\`${keyword}\``).join(', ')}`;
  };
  const reasons = entries.flatMap(([name, { reasons: said }]) =>
    Object.entries(said).map(([choice, text]) => [
      `\`${name}\``,
      choices[choice as keyof typeof choices],
      text,
    ]),
  );
  return `<!-- Made from \`src/scep/profiles.ts\` and \`tools/endpoints-document.ts\` by \`npm run docs\`. Do not edit. -->

# Endpoints

A server has as many SCEP endpoints as you like. Each has its own paths, issuing CA, template, validators, limits and
kind of client. An endpoint without a validator is refused when the server starts; one with several accepts only what all
of them accept.

\`\`\`yaml
server:
  ra:
    automatic: { passphrase: 'file:ra.passphrase' }
    challengeHashKey: file:challenge-hash.key
  endpoints:
    - name: windows
      paths: [/certsrv/mscep/mscep.dll, /certsrv/mscep]
      issuer: devices
      template: client-authentication
      validators: [{ intune: { tenant: example.com, appId: 1111, secret: 'file:intune.secret' } }]
      client: windows
    - name: macs
      paths: [/scep/macs]
      issuer: devices
      template: client-authentication
      validators: [{ oneTime: {} }]
      client: apple
    - name: routers
      paths: [/scep/routers]
      issuer: network
      template: vpn-ipsec
      validators: [{ oneTime: {} }, { manualApproval: {} }]
      client: cisco
\`\`\`

\`npx leafgate endpoint list\` shows all of them: where they are, what they issue and to whom, and when their RA certificates
end. All keys are in [configuration.md](configuration.md#server).

## Kinds of clients

\`client\` of an endpoint says who comes there. If you do not know, leave it out: \`standard\` serves every client that could
be tried. The profiles do not decide who gets a certificate; they decide how the same answer looks.

${table(
  ['Client', 'For'],
  entries.map(([name, profile]) => [`\`${name}\``, profile.for]),
)}

${table(
  [
    'Client',
    'GetCACert, in this order',
    'GetCACaps',
    '`Renewal` in GetCACaps',
    'After the certificate, in its envelope',
    'Beside the answer’s signature',
    'FAILURE and PENDING',
  ],
  entries.map(([name, profile]) => [
    `\`${name}\``,
    served(profile),
    keywords(profile),
    profile.renewal === 'advertised' ? 'if the endpoint renews' : 'never',
    profile.enclosed.length === 0 ? 'nothing' : listed(profile.enclosed),
    listed(profile.outer),
    profile.withoutEnvelope === 'empty' ? 'with empty content' : 'without content',
  ]),
)}

Those of the RFC are ${rfcCapabilities.map((keyword) => `\`${keyword}\``).join(', ')}. What an endpoint refuses
(\`algorithms.refuse\`) leaves the list, and \`GetNextCACert\` joins it while a CA is being [succeeded](#the-next-ca). An
endpoint renews by certificate where it has \`renewal\`, whether or not the keyword stands there.

Why it is so:

${table(['Client', 'What', 'Reason'], reasons)}

Devices of these makers have not been tried. The reasons are what is publicly known of them, from the projects in brackets.

## RA certificates

Devices encrypt their requests to one certificate of the RA and verify its answers with another. NDES calls them *CEP
Encryption* and *Exchange Enrollment Agent*. When they end, no device can enrol any more, and most sites notice it then.

With \`server.ra.automatic\` the server makes keys and certificates itself, for each issuing CA that has endpoints:

- RSA-2048 keys in encrypted files of mode 0600 below \`dataFolder\`/ra; the passphrase stands in a file or variable of yours.
- Certificates by the templates \`ra-signing\` and \`ra-encryption\`, for two years, with the purpose that Windows demands
  (Certificate Request Agent). Clients of the kind \`embedded\` get one certificate for both roles, by \`ra-combined\`. You
  may change these [templates](templates.md) as any other; \`renewalPeriod\` says how long before its end a certificate is
  followed by the next.
- The next two certificates, of new keys, are made six weeks before the end. Ten minutes later all threads and processes
  serve them from the same moment on, without a restart.
- A device that asked for GetCACert before that is served as it expects, with the former key and the former signature, until
  the former certificates end. Then they are removed.
- A certificate that you revoke (\`leafgate ca revoke\`) serves no more within a minute, and is replaced at once.
- A CA that was renewed with a new key gets new RA certificates at the next start.

A backup of the database does not hold these keys, and need not: a server that finds none makes new ones, and devices ask for
GetCACert again.

The certificates stand in the list of the CA like all others, requested by \`server.serviceIdentity\`. Several servers behind
one address must have the same keys: give them the same folder, with \`automatic.folder\`.

Keys in a token, a vault or files of your own stay possible, for all endpoints below \`server.ra\` or for one endpoint below
its own \`ra\`. Then you renew the certificates, and the log reminds you: a warning each day in the last thirty days, an
alarm in the last seven.

\`\`\`yaml
ra:
  signing: { certificate: ra-signing.pem, key: { file: ra-signing.key.pem, passphrase: 'file:ra-signing.passphrase' } }
  encryption: { certificate: ra-encryption.pem, key: { file: ra-encryption.key.pem, passphrase: 'file:ra-encryption.passphrase' } }
\`\`\`

The certificates must be of the endpoint's own issuing CA, RSA, with \`digitalSignature\` to sign and \`keyEncipherment\` to
encrypt, and with the purpose Certificate Request Agent or server authentication. Else the server refuses to start, since
Windows would refuse them without a word (0x8010002c).

To change over from files to \`automatic\`, restart with the new configuration. Devices that are in the middle of an enrolment
ask for GetCACert again and repeat it.

## The next CA

When an issuing CA is followed by one with a new key ([ceremony](ceremony.md#renewal)), devices can learn of it before the
change. Name the next CA's certificate, followed by its issuers up to the root:

\`\`\`yaml
issuers:
  - name: devices
    certificate: devices.pem
    key: { file: devices.key.pem, passphrase: 'file:devices.passphrase' }
    next: { certificate: devices-2.pem }
\`\`\`

From the next start on, GetCACaps of its endpoints lists \`GetNextCACert\`, and that operation answers with the certificates
under a signature of the present CA (RFC 8894 §4.7). Nothing else changes: the next CA's key need not be on the server yet. On
the day of the change put its certificate and key in the place of the present ones and take \`next\` away. Keep the former CA
as a further entry of \`issuers\` as long as certificates of it are in use, so that its CRL goes on.

Intune's devices do not ask for the next CA: give them its certificate by a trusted-certificate profile before the change.
`;
}

const choices: Readonly<Record<Exclude<keyof ClientProfile, 'for' | 'reasons'>, string>> = {
  caCertificates: 'GetCACert',
  capabilities: 'GetCACaps',
  renewal: '`Renewal`',
  enclosed: 'in the envelope',
  outer: 'beside the signature',
  withoutEnvelope: 'FAILURE and PENDING',
};
