/** From what NDES and AD CS tell of themselves to a configuration that takes their place. */
export { type CaSettings, caSettingsOf } from './ca-settings.ts';
export { type CertificateTemplateDump, parseTemplateDump } from './certutil-template.ts';
export { type DateOrder, type IssuedCertificate, parseIssuedDump } from './certutil-view.ts';
export {
  type ConnectorSettings,
  connectorSettingsOf,
  type NdesSettings,
  ndesSettingsOf,
} from './ndes-settings.ts';
export { type MigrationNote, type MigrationPlan, type NdesInventory, planMigration } from './plan.ts';
export { parseRegistryFile, type RegistryValue } from './registry-file.ts';
export { buildExpiryTable, buildMigrationReport, buildProposedConfiguration } from './report.ts';
export { decodeWindowsText } from './windows-text.ts';
