/** The door of administrators and their programs: the admin REST API. */
export { type Actor, type Role, roles } from './authorise.ts';
export { adminOpenApi } from './openapi.ts';
export * from './server.ts';
export { createAdminToken } from './tokens.ts';
