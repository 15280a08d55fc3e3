/** What the MDM remembers of imported PFX: Graph's `userPfxCertificate`, none of which it can open. */
import type { Migration, SqliteFile } from '../store/sqlite.ts';
import type { IntendedPurpose } from './profiles.ts';

/**
 * How a password is encrypted to the connector's key: RSAES-OAEP with this digest (`userPfxPaddingScheme`). Graph's `pkcs1`
 * and `oaepSha1` are not supported any more, there and here.
 */
export const paddingSchemes = ['oaepSha256', 'oaepSha384', 'oaepSha512'] as const;

/** One of `paddingSchemes`. */
export type PaddingScheme = (typeof paddingSchemes)[number];

/** A PFX that an administrator has imported for a user. Names and words are Graph's. */
export interface UserPfxCertificate {
  /** Object id of the user. */
  readonly userId: string;
  /** SHA-1 of the certificate, upper-case hexadecimal. */
  readonly thumbprint: string;
  readonly intendedPurpose: IntendedPurpose;
  readonly userPrincipalName: string;
  /** Validity of the certificate, as the importer says. */
  readonly startDateTime: Date;
  readonly expirationDateTime: Date;
  /** Names of the key, in the connector's hands, that the password is encrypted to. */
  readonly providerName: string;
  readonly keyName: string;
  readonly paddingScheme: PaddingScheme;
  /** Base64 of the PFX, which its password alone protects. */
  readonly encryptedPfxBlob: string;
  /** Base64 of the password, encrypted to the connector's key. */
  readonly encryptedPfxPassword: string;
  readonly createdDateTime: Date;
  readonly lastModifiedDateTime: Date;
}

/** What is known of one without opening it: what lists show. */
export type ListedUserPfx = Omit<UserPfxCertificate, 'encryptedPfxBlob' | 'encryptedPfxPassword'>;

/** Names an imported PFX. */
export type UserPfxId = Pick<UserPfxCertificate, 'userId' | 'thumbprint'>;

/** The table of this file. */
export const userPfxMigration: Migration = {
  name: 'imported PFX',
  sql: `
    CREATE TABLE userPfxCertificate (
      userId TEXT NOT NULL,
      thumbprint TEXT NOT NULL,
      body TEXT NOT NULL,
      PRIMARY KEY (userId, thumbprint)
    ) STRICT;
  `,
};

interface Row {
  readonly body: string;
}

/** The table of imported PFX, in the MDM's file. What is written is durable when the promise resolves. */
export class UserPfxStore {
  readonly #file: SqliteFile;

  constructor(file: SqliteFile) {
    this.#file = file;
  }

  /** Stores it in place of the one with the same user and thumbprint, whose `createdDateTime` stays. Answers what is stored. */
  put(pfx: UserPfxCertificate): Promise<UserPfxCertificate> {
    return this.#file.commit(() => {
      const before = this.certificate(pfx);
      const after = { ...pfx, createdDateTime: before?.createdDateTime ?? pfx.createdDateTime };
      this.#file.run(
        `INSERT INTO userPfxCertificate (userId, thumbprint, body) VALUES (?, ?, ?)
         ON CONFLICT (userId, thumbprint) DO UPDATE SET body = excluded.body`,
        pfx.userId,
        pfx.thumbprint,
        JSON.stringify(after),
      );
      return after;
    });
  }

  certificate({ userId, thumbprint }: UserPfxId): UserPfxCertificate | undefined {
    const row = this.#file.first<Row>(
      'SELECT body FROM userPfxCertificate WHERE userId = ? AND thumbprint = ?',
      userId,
      thumbprint,
    );
    return row === undefined ? undefined : certificateFrom(row);
  }

  /** By user and thumbprint, without what is encrypted; `userId` absent means those of all users. */
  certificates(filter: { readonly userId?: string | undefined; readonly limit: number }): ListedUserPfx[] {
    return this.#file
      .all<Row>(
        `SELECT json_remove(body, '$.encryptedPfxBlob', '$.encryptedPfxPassword') AS body FROM userPfxCertificate
          WHERE ?1 IS NULL OR userId = ?1 ORDER BY userId, thumbprint LIMIT ?2`,
        filter.userId ?? null,
        filter.limit,
      )
      .map(certificateFrom);
  }

  /** `false` if there is none. */
  delete({ userId, thumbprint }: UserPfxId): Promise<boolean> {
    return this.#file.commit(
      () =>
        this.#file.run(
          'DELETE FROM userPfxCertificate WHERE userId = ? AND thumbprint = ?',
          userId,
          thumbprint,
        ) > 0,
    );
  }
}

function certificateFrom({ body }: Row): UserPfxCertificate {
  const stored = JSON.parse(body) as { readonly [K in keyof UserPfxCertificate]: string };
  return {
    ...stored,
    startDateTime: new Date(stored.startDateTime),
    expirationDateTime: new Date(stored.expirationDateTime),
    createdDateTime: new Date(stored.createdDateTime),
    lastModifiedDateTime: new Date(stored.lastModifiedDateTime),
  } as UserPfxCertificate;
}
