/** The connector at work: from a request of the MDM to a PFX that only its device can open. */
import { createPrivateKey, generateKeyPair, randomBytes } from 'node:crypto';
import { promisify } from 'node:util';
import {
  buildCertificationRequest,
  buildEnvelopedData,
  buildPkcs12,
  type Certificate,
  type Decrypt,
  extKeyUsageExtension,
  keyUsageExtension,
  nameFromString,
  nameToString,
  parseCertificate,
  parseCertificationRequest,
  parsePkcs12,
  subjectAltNameExtension,
  thumbprintOf,
} from '../codec/index.ts';
import { type ErrorCode, errorCodeOf, errorTable, PkiError } from '../errors.ts';
import { privateKeyOf } from '../keys/index.ts';
import type { RegistrationAuthority, ServicePolicy } from '../ra/index.ts';
import type { Log } from '../telemetry.ts';
import { sealForArchive, transport } from './archive.ts';
import type { PkcsQueue, PkcsTask, Ticket } from './pkcs-queue.ts';

/** A template that the connector may ask for. */
export interface PfxTemplate {
  readonly name: string;
  /** `required`: no key of it is delivered that is not archived first. */
  readonly archival: 'none' | 'required';
}

/** A key that passwords of imported PFX are encrypted to. */
export interface ImportKey {
  /** As importers name it (Graph `keyName`). */
  readonly name: string;
  readonly decrypt: Decrypt;
}

/** Where sealed keys are kept. Each write is durable when it resolves. */
export interface Archive {
  /** Each opens one of the two layers; the keys of the two are not to be in one hand. */
  readonly recovery: readonly [Certificate, Certificate];
  put(requestID: string, sealed: Uint8Array): Promise<void>;
  /** Deletes what is there, if anything is. */
  remove(requestID: string): Promise<void>;
}

/** What a connector works with. */
export interface PfxConnectorOptions {
  readonly queue: Pick<PkcsQueue, 'take' | 'upload' | 'acknowledge' | 'fail'>;
  readonly ra: Pick<
    RegistrationAuthority,
    'enrolForService' | 'serviceCertificate' | 'withdrawService' | 'recordService'
  >;
  /** The service identity that certificates are requested under (AD CS: Requester Name). */
  readonly requester: string;
  /** Name of the issuing CA; its certificate and those above it go into each PFX. */
  readonly issuer: string;
  readonly chain: readonly Certificate[];
  readonly templates: readonly PfxTemplate[];
  /** None: imported PFX are refused. */
  readonly importKeys?: readonly ImportKey[] | undefined;
  readonly form: 'modern' | 'legacy';
  /** Needed exactly if a template is archived. */
  readonly archive?: Archive | undefined;
  readonly log: Log;
}

/** What one round did, by the number of requests. */
export interface PfxRound {
  readonly delivered: number;
  readonly withdrawn: number;
  readonly refused: number;
  /** Left to their lease: another round, of this connector or another one, takes them up. */
  readonly postponed: number;
}

/** Requests that are taken at once: making an RSA key of 4096 bits may take seconds, and a lease is five minutes. */
const TAKEN_MAX = 5;
/** RFC 8018 §4.1 asks for a password that cannot be guessed; this one nobody has to type. */
const PASSWORD_BYTES = 32;

/** Words of Graph for RSAES-OAEP. */
const digests = { oaepSha256: 'sha256', oaepSha384: 'sha384', oaepSha512: 'sha512' } as const;

const generate = promisify(generateKeyPair);

/**
 * The PKCS connector. A PFX that it brings holds a key that it makes, or one that was imported for the device's user.
 *
 * Promises: the private key is in this process's memory alone, between its making and the upload, and its octets are
 * overwritten afterwards; it is in no file and no log. The same holds of an imported PFX and its password, but for the text
 * that the password has to become to open it, which lives until its memory is used again. A request has one good certificate
 * at most: a certificate whose PFX did not reach the MDM is revoked before another is made for the request, because its key
 * is gone. What is made for the `n`th taking of a request is requested under `pfx-<requestId>-<n>`, so that whoever comes
 * after a crash finds it.
 */
export class PfxConnector {
  readonly #options: PfxConnectorOptions;
  readonly #service: ServicePolicy;

  /** @throws PkiError `config_invalid` if a template is to be archived and there is no archive. */
  constructor(options: PfxConnectorOptions) {
    this.#options = options;
    const { templates, issuer, requester, archive } = options;
    if (templates.some(({ archival }) => archival === 'required') && archive === undefined)
      throw new PkiError(
        'config_invalid',
        'a template is to be archived, and there are no recovery certificates',
      );
    this.#service = { templates: templates.map((template) => template.name), issuer, requester };
  }

  /**
   * Takes what waits at the MDM and works on it.
   *
   * @throws PkiError `server_unreachable`, `server_answer`, `token_refused` if nothing could be taken. What goes wrong
   *   with one request does not stop the others, and is in the answer and the log.
   */
  async round(): Promise<PfxRound> {
    const round = { delivered: 0, withdrawn: 0, refused: 0, postponed: 0 };
    for (const task of await this.#options.queue.take(TAKEN_MAX)) round[await this.#work(task)] += 1;
    return round;
  }

  async #work(task: PkcsTask): Promise<keyof PfxRound> {
    const { log, queue } = this.#options;
    const { requestId, attempt, action } = task;
    const begin = performance.now();
    try {
      switch (action) {
        case 'issue':
          return await this.#issue(task, begin + task.leaseMs / 2);
        case 'deliver':
          return await this.#deliver(task);
        case 'acknowledge':
          // It died after its upload: the PFX is there, and the key went with the process. An imported PFX, which has no
          // certificate of ours, is withdrawn: its delivery may not be on record, and it is there to be asked for again.
          if ((await this.#options.ra.serviceCertificate(requestID(task))) === 'issued') {
            await queue.acknowledge(task, 'delivered');
            return 'delivered';
          }
          await queue.acknowledge(task, 'withdrawn');
          return 'withdrawn';
        case 'withdraw':
          await this.#withdraw(requestId, attempt, 'nobody wants the request any more');
          await queue.acknowledge(task, 'withdrawn');
          return 'withdrawn';
      }
    } catch (cause) {
      const code = errorCodeOf(cause);
      const reason = cause instanceof PkiError ? cause.message : 'an invariant broke';
      log.warn({ requestId, attempt, action, code, reason }, errorTable[code].text);
      const isRefusable = action === 'issue' || action === 'deliver';
      return isRefusable && (await this.#isRefused(task, code)) ? 'refused' : 'postponed';
    }
  }

  /** Tells the MDM of a refusal, which trying again would not mend. */
  async #isRefused(ticket: Ticket, code: ErrorCode): Promise<boolean> {
    const { kind } = errorTable[code];
    const passes =
      (kind !== 'refused' && kind !== 'malformed') || code === 'pfx_lease_over' || code === 'token_refused';
    if (passes || code === 'server_answer') return false;
    try {
      await this.#options.queue.fail(ticket, code);
      return true;
    } catch {
      return false;
    }
  }

  async #issue(task: Extract<PkcsTask, { action: 'issue' }>, deadline: number): Promise<'delivered'> {
    const { ra, form, chain } = this.#options;
    const { order, deviceId, requestId, attempt } = task;
    // Step 1: whatever was made for this request before, its key is gone.
    await this.#withdraw(requestId, attempt - 1, 'its key was lost before it was delivered');
    const recipient = recipientOf(task);
    // Step 2: the key.
    const { privateKey } = await generate('rsa', {
      modulusLength: order.keyLength,
      privateKeyEncoding: { type: 'pkcs8', format: 'der' },
      publicKeyEncoding: { type: 'spki', format: 'der' },
    });
    let pfx: Uint8Array | undefined;
    let isUploaded = false;
    try {
      const csr = await requestFor(order, privateKey);
      // Step 3: the certificate, while nobody else can have the request.
      if (performance.now() > deadline) throw new PkiError('pfx_lease_over', 'too slow; nothing was issued');
      const id = requestID(task);
      const certificate = await ra.enrolForService(this.#service, {
        requestID: id,
        issuer: order.certificationAuthorityName,
        template: order.certificateTemplateName,
        csr,
        device: deviceId,
      });
      try {
        // Step 4: the PFX, for nobody but the device; and for two people of ours if its template says so.
        const password = randomBytes(PASSWORD_BYTES).toString('base64url');
        pfx = await buildPkcs12({
          privateKey,
          certificate,
          chain,
          friendlyName: nameToString(certificate.subject).slice(0, 64),
          password,
          form,
        });
        await this.#archive(order.certificateTemplateName, id, pfx, password);
        // Step 5: bring it.
        await this.#upload(task, recipient, { pfx, password, certificate });
        isUploaded = true;
        await this.#recordDelivery(task, certificate, { template: order.certificateTemplateName });
      } catch (cause) {
        // An upload without an answer may have arrived: the MDM says so when the lease is over.
        if (errorCodeOf(cause) !== 'server_unreachable' && !isUploaded)
          await this.#withdraw(requestId, attempt, 'its PFX was not taken');
        throw cause;
      }
    } finally {
      // Step 6: forget the key.
      privateKey.fill(0);
      pfx?.fill(0);
    }
    // Step 7: only now the device may have it.
    await this.#options.queue.acknowledge(task, 'delivered');
    return 'delivered';
  }

  /** Hands on an imported PFX as it is. */
  async #deliver(task: Extract<PkcsTask, { action: 'deliver' }>): Promise<'delivered'> {
    const { thumbprint, userPrincipalName, encryptedPfxBlob: pfx } = task.imported;
    const recipient = recipientOf(task);
    // Step 1: the password, which the MDM cannot read.
    const octets = await this.#passwordOf(task.imported);
    try {
      // Step 2: whether it opens, and is what its importer said.
      const password = octets.toString('ascii');
      const { certificate, privateKey } = await parsePkcs12(pfx, password);
      privateKey.fill(0);
      if (thumbprintOf(certificate.raw) !== thumbprint)
        throw new PkiError('pfx_unopened', 'the imported PFX holds another certificate than was said');
      // Step 3: bring it, for nobody but the device.
      await this.#upload(task, recipient, { pfx, password, certificate });
      await this.#recordDelivery(task, certificate, { importedFor: userPrincipalName });
    } finally {
      // Step 4: forget it.
      octets.fill(0);
      pfx.fill(0);
    }
    // Step 5: only now the device may have it.
    await this.#options.queue.acknowledge(task, 'delivered');
    return 'delivered';
  }

  /** Throws PkiError `pfx_unopened` if it is not encrypted to a key of ours. */
  async #passwordOf(imported: Extract<PkcsTask, { action: 'deliver' }>['imported']): Promise<Buffer> {
    const { keyName, paddingScheme, encryptedPfxPassword } = imported;
    const key = this.#options.importKeys?.find(({ name }) => name === keyName);
    if (key === undefined)
      throw new PkiError('pfx_unopened', `its password is encrypted to key ${keyName}, which is not here`);
    try {
      const keyTransport = { name: 'rsaes-oaep', digest: digests[paddingScheme] } as const;
      const password = await key.decrypt(keyTransport, encryptedPfxPassword);
      // The same memory, so that there is no second copy to forget.
      return Buffer.from(password.buffer, password.byteOffset, password.byteLength);
    } catch (cause) {
      if (cause instanceof PkiError && (cause.kind === 'unavailable' || cause.kind === 'misconfigured'))
        throw cause;
      throw new PkiError('pfx_unopened', `its password is not encrypted to key ${keyName}`, { cause });
    }
  }

  /** Encrypts PFX and password to the device, each apart, and uploads them. */
  async #upload(
    { requestId, attempt }: Ticket,
    recipient: Certificate,
    { pfx, password, certificate }: OpenPfx,
  ): Promise<void> {
    const sealed = (content: Uint8Array) => buildEnvelopedData({ content, recipient, ...transport });
    await this.#options.queue.upload({
      requestId,
      attempt,
      encryptedPfxBlob: sealed(pfx),
      encryptedPfxPassword: sealed(Buffer.from(password, 'utf8')),
      thumbprint: thumbprintOf(certificate.raw),
      serialNumber: certificate.serialNumber.toUpperCase(),
      issuerName: nameToString(certificate.issuer),
      notAfter: certificate.notAfter,
    });
  }

  #recordDelivery(
    task: Delivery,
    { serialNumber }: Certificate,
    source: Readonly<Record<string, string>>,
  ): Promise<void> {
    return this.#record('pfx.delivered', 'an encrypted PFX was brought to the MDM', {
      requestID: requestID(task),
      device: task.deviceId,
      ...source,
      serialNumber,
      recipient: thumbprintOf(Buffer.from(task.recipient, 'base64')),
    });
  }

  async #archive(template: string, id: string, pfx: Uint8Array, password: string): Promise<void> {
    const { templates, archive } = this.#options;
    const isArchived = templates.some(({ name, archival }) => name === template && archival === 'required');
    if (!isArchived || archive === undefined) return;
    await archive.put(id, sealForArchive(pfx, password, archive.recovery));
    await this.#record('pfx.archived', 'a key was archived for two recovery certificates', {
      requestID: id,
      template,
      recovery: archive.recovery.map(({ raw }) => thumbprintOf(raw)).join(' '),
    });
  }

  /** Lets no certificate of the first `last` takings of a request stay good. */
  async #withdraw(requestId: string, last: number, why: string): Promise<void> {
    for (let attempt = 1; attempt <= last; attempt += 1) {
      const id = requestID({ requestId, attempt });
      if ((await this.#options.ra.withdrawService(this.#service, id, why)) === 'revoked')
        await this.#record('pfx.withdrawn', 'the certificate of a PFX that was not delivered is revoked', {
          requestID: id,
          why,
        });
      await this.#options.archive?.remove(id);
    }
  }

  #record(event: string, text: string, detail: Readonly<Record<string, string>>): Promise<void> {
    return this.#options.ra.recordService(this.#service, event, text, detail);
  }
}

/** A task that ends with a PFX for a device. */
type Delivery = Extract<PkcsTask, { readonly recipient: string }>;

/** A PFX, what opens it, and the certificate in it. */
interface OpenPfx {
  readonly pfx: Uint8Array;
  readonly password: string;
  readonly certificate: Certificate;
}

function recipientOf({ recipient }: Delivery): Certificate {
  return parseCertificate(Buffer.from(recipient, 'base64'));
}

/** The RA's number of what is made for one taking of a request. */
function requestID({ requestId, attempt }: Ticket): string {
  return `pfx-${requestId.toLowerCase()}-${attempt}`;
}

async function requestFor(order: Extract<PkcsTask, { action: 'issue' }>['order'], pkcs8: Buffer) {
  const key = privateKeyOf(createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' }));
  const subject = nameFromString(order.subject);
  const raw = await buildCertificationRequest(
    {
      subject,
      spki: key.spki,
      extensions: [
        ...(order.subjectAltName.length === 0
          ? []
          : [subjectAltNameExtension(order.subjectAltName, subject)]),
        ...(order.keyUsage.length === 0 ? [] : [keyUsageExtension(order.keyUsage)]),
        ...(order.extKeyUsage.length === 0 ? [] : [extKeyUsageExtension(order.extKeyUsage)]),
      ],
      signatureAlgorithm: 'rsa-sha256',
    },
    (algorithm, data) => key.sign(algorithm, data),
  );
  return parseCertificationRequest(raw);
}
