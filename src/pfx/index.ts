/** The PKCS connector: keys made off the device, or imported, delivered as encrypted PFX. */
export { openArchived, sealForArchive } from './archive.ts';
export {
  type ImportKey,
  PfxConnector,
  type PfxConnectorOptions,
  type PfxRound,
  type PfxTemplate,
} from './connector.ts';
export {
  type GraphAccess,
  type ImportedPfx,
  type IntendedPurpose,
  importPfx,
  intendedPurposes,
} from './graph-import.ts';
export { PkcsQueue, type PkcsQueueOptions, type PkcsTask } from './pkcs-queue.ts';
