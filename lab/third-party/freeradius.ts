/** FreeRADIUS as an 802.1X authentication server with EAP-TLS, and `eapol_test`, which plays supplicant and switch. */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeAnswer, type RunningProgram, runProgram, startProgram } from './program.ts';

/** How a relying party learns that a certificate was revoked. */
export type RevocationCheck = 'crl' | 'ocsp';

/** What the RADIUS server is started with. */
export interface RadiusOptions {
  readonly program: string;
  /** A folder of its own. */
  readonly folder: string;
  readonly port: number;
  /** PEM of the server's certificate and its issuing CA, and of its clear key. */
  readonly certificateFile: string;
  readonly keyFile: string;
  /** PEM of root and issuing CA; with `crl` followed by the CRLs of both. */
  readonly caFile: string;
  readonly revocation: RevocationCheck;
}

const SECRET = 'lab-radius-secret';
const READY_MS_MAX = 15_000;
const EAPOL_MS_MAX = 20_000;

/** Starts the server on 127.0.0.1 and resolves when it takes requests. @throws Error with its log if it does not. */
export async function startRadius(options: RadiusOptions): Promise<RunningProgram> {
  const { folder, program } = options;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  await writeFile(join(folder, 'radiusd.conf'), configurationOf(options), { mode: 0o600 });
  const logFile = join(folder, 'radius.log');
  const running = await startProgram({
    program,
    args: ['-f', '-d', folder, '-n', 'radiusd', '-l', logFile],
    logFile: join(folder, 'output.log'),
  });
  const log = () => readFile(logFile, 'utf8').catch(() => '');
  for (let waitedMs = 0; waitedMs < READY_MS_MAX; waitedMs += 100) {
    if ((await log()).includes('Ready to process requests')) return running;
    await sleep(100);
  }
  await running.end();
  throw new Error(`FreeRADIUS did not get ready: ${(await log()).slice(-2000)} ${await running.log()}`);
}

/** One item a line: FreeRADIUS 3 reads no more than that. */
function configurationOf(options: RadiusOptions): string {
  const { folder, port, revocation } = options;
  const yes = (mode: RevocationCheck) => (revocation === mode ? 'yes' : 'no');
  return `
prefix = /usr
raddbdir = ${folder}
logdir = ${folder}
run_dir = ${folder}
libdir = /usr/lib/freeradius
pidfile = ${folder}/radiusd.pid
log {
  destination = files
  file = ${folder}/radius.log
  auth = yes
}
security {
  reject_delay = 0
}
client localhost {
  ipaddr = 127.0.0.1
  secret = ${SECRET}
}
modules {
  eap {
    default_eap_type = tls
    tls-config tls-common {
      private_key_file = ${options.keyFile}
      certificate_file = ${options.certificateFile}
      ca_file = ${options.caFile}
      check_crl = ${yes('crl')}
      tls_min_version = "1.2"
      tls_max_version = "1.2"
      cache {
        enable = no
      }
      ocsp {
        enable = ${yes('ocsp')}
        override_cert_url = no
        softfail = no
        timeout = 5
        use_nonce = yes
      }
    }
    tls {
      tls = tls-common
    }
  }
}
server lab {
  listen {
    type = auth
    ipaddr = 127.0.0.1
    port = ${port}
  }
  authorize {
    eap
  }
  authenticate {
    eap
  }
}
`;
}

/** What a supplicant shows, and to which server. */
export interface SupplicantOptions {
  readonly program: string;
  readonly folder: string;
  readonly port: number;
  readonly identity: string;
  /** The name that the RADIUS server's certificate must have. */
  readonly serverName: string;
  readonly rootFile: string;
  /** PEM of leaf and issuing CA, and of the clear key. */
  readonly certificateFile: string;
  readonly keyFile: string;
}

/** Whether the supplicant got in, and what was said on the way. */
export interface SupplicantResult {
  readonly accepted: boolean;
  readonly log: string;
}

/** One EAP-TLS conversation. @throws Error if the supplicant came to no answer: no server, or no configuration. */
export async function authenticate(options: SupplicantOptions): Promise<SupplicantResult> {
  const file = join(options.folder, `${options.identity}.conf`);
  await writeFile(
    file,
    `network={
  ssid="lab"
  key_mgmt=WPA-EAP
  eap=TLS
  identity="${options.identity}"
  ca_cert="${options.rootFile}"
  client_cert="${options.certificateFile}"
  private_key="${options.keyFile}"
  domain_suffix_match="${options.serverName}"
}
`,
    { mode: 0o600 },
  );
  const answer = await runProgram({
    program: options.program,
    args: ['-c', file, '-a', '127.0.0.1', '-p', String(options.port), '-s', SECRET, '-t', '10', '-r', '0'],
    timeoutMs: EAPOL_MS_MAX,
  });
  const verdict = answer.stdout.trimEnd().split('\n').at(-1);
  // A server that says no ends the conversation by EAP-Failure, one that is not there by a timeout.
  const refused = /CTRL-EVENT-EAP-FAILURE|EAP-Failure|code=3 \(Access-Reject\)/.test(answer.stdout);
  if (verdict !== 'SUCCESS' && !refused)
    throw new Error(`no answer of the server: ${describeAnswer(answer)}`);
  return { accepted: verdict === 'SUCCESS' && answer.exitCode === 0, log: answer.stdout };
}
