/** Profiles as files for the device management of real operating systems. */
export { faultsOfConfigurationProfile, payloadRules, type ValueRule } from './apple-payloads.ts';
export type {
  ExportedIdentity,
  ExportedProfile,
  ExportedScepProfile,
  ExportedTrustedCertificate,
  ProfileExport,
} from './exported.ts';
export { buildJsonExport } from './json.ts';
export { buildConfigurationProfile, type ProfileSigner, signConfigurationProfile } from './mobile-config.ts';
export { buildSyncml } from './syncml.ts';
export { faultsOfNodes, type NodeRule, type NodeValue, nodeRules } from './windows-nodes.ts';
