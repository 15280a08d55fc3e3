/** How commands are told where a private key is. */
import type { Command } from 'commander';
import { PkiError } from '../errors.ts';
import type { FilePlace, TokenPlace } from '../keys/index.ts';

/** The options that name a key's place. */
export interface PlaceOptions {
  readonly file?: string;
  readonly passphrase?: string;
  readonly module?: string;
  readonly token?: string;
  readonly serial?: string;
  readonly label?: string;
  readonly id?: string;
  readonly pin?: string;
}

/** Adds them to a command. */
export const withPlace = (command: Command): Command =>
  command
    .option('--file <path>', 'encrypted PKCS #8 file')
    .option('--passphrase <reference>', 'of the file: file:PATH or env:NAME')
    .option('--module <path>', 'PKCS #11 library of the token’s maker')
    .option('--token <label>', 'label of the token')
    .option('--serial <number>', 'serial number of the token')
    .option('--label <label>', 'label of the key')
    .option('--id <hex>', 'identifier of the key; a new one gets a random one')
    .option('--pin <reference>', 'user PIN of the token: file:PATH or env:NAME');

/** The place that the options name. @throws PkiError `command_invalid` unless it is exactly one. */
export function placeOf(
  options: PlaceOptions,
): FilePlace | { readonly pkcs11: TokenPlace & { label: string } } {
  const { file, passphrase, module, token, serial, label, id, pin } = options;
  if (file !== undefined && module === undefined && passphrase !== undefined) return { file, passphrase };
  if (module !== undefined && file === undefined && label !== undefined && pin !== undefined) {
    if ((token ?? serial) === undefined)
      throw new PkiError('command_invalid', 'name the token by --token, --serial, or both');
    if (id !== undefined && !/^([0-9a-f]{2})+$/.test(id))
      throw new PkiError('command_invalid', '--id takes an even number of hexadecimal digits, in lower case');
    return { pkcs11: { module, token, serial, label, id, pin } };
  }
  throw new PkiError(
    'command_invalid',
    'either --file with --passphrase, or --module with --token, --label and --pin',
  );
}
