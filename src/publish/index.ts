/** Shows what relying parties fetch: CRLs, with the certificates of the CAs, in a folder, in Azure Blob Storage, in S3. */
export { type AzureBlobOptions, type AzureCredential, azureBlobTarget } from './azure-blob.ts';
export { folderTarget } from './folder.ts';
export {
  caCertificateObjects,
  crlObject,
  type PublishedObject,
} from './objects.ts';
export { Publisher, type PublisherOptions, type TargetState } from './publisher.ts';
export { type S3Options, s3Target } from './s3.ts';
export { compareAll, type Publication, publishAll, type Target } from './target.ts';
export { checkUrls, type PublishedUrl, type UrlFinding } from './url-check.ts';
