/** The description of the admin API (OpenAPI 3.1), made from its routes. */
import { z } from 'zod';
import { type AdminRoute, adminRoutes } from './routes.ts';

const schemaOf = (schema: z.ZodType, io: 'input' | 'output') => {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io, unrepresentable: 'any' });
  return rest as Record<string, unknown>;
};

const content = (schema: unknown) => ({ 'application/json': { schema } });

/** Statuses that a route answers with besides its own, and what they mean. */
const errorAnswers: Readonly<Record<string, string>> = {
  '400': 'The request is not what the route takes.',
  '401': 'Not signed in.',
  '403': 'Signed in, and not permitted.',
  '404': 'There is no such thing.',
  '409': 'It is not in the state for that.',
  '413': 'The body is too large.',
  '429': 'Too many failed sign-ins from this address; see Retry-After.',
  '503': 'Not now; see Retry-After.',
};

/** The description, as a value of JSON; the same at every call. */
export function adminOpenApi(): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of adminRoutes) {
    const operations = paths[route.path] ?? {};
    paths[route.path] = operations;
    operations[route.method.toLowerCase()] = operationOf(route);
  }
  return {
    openapi: '3.1.0',
    info: {
      title: 'Leafgate admin API',
      version: '1',
      description:
        'Served on `server.admin.listen` alone, never through the edge. Sign in with `Authorization: Bearer TOKEN`; tokens are made with `leafgate admin token create`.',
    },
    security: [{ token: [] }],
    paths,
    components: {
      securitySchemes: {
        token: { type: 'http', scheme: 'bearer' },
        basic: {
          type: 'http',
          scheme: 'basic',
          description: 'User: the name of a token. Password: what stands behind its dot.',
        },
      },
      schemas: {
        Error: {
          type: 'object',
          required: ['error', 'message'],
          additionalProperties: false,
          properties: {
            error: { type: 'string', description: 'A code of docs/errors.md.' },
            message: { type: 'string' },
          },
        },
      },
    },
  };
}

function operationOf(route: AdminRoute): Record<string, unknown> {
  const error = content({ $ref: '#/components/schemas/Error' });
  return {
    operationId: route.operationId,
    summary: route.summary,
    'x-action': route.action,
    ...(route.schemes.includes('Basic') ? { security: [{ token: [] }, { basic: [] }] } : {}),
    parameters: [...parametersOf(route.params, 'path'), ...parametersOf(route.query, 'query')],
    ...(route.body === undefined
      ? {}
      : { requestBody: { required: true, content: content(schemaOf(route.body, 'input')) } }),
    responses: {
      [route.status]: {
        description: 'Done.',
        content: { [route.mediaType]: { schema: schemaOf(route.answer, 'output') } },
      },
      ...Object.fromEntries(
        Object.entries(errorAnswers).map(([status, description]) => [
          status,
          { description, content: error },
        ]),
      ),
    },
  };
}

function parametersOf(schema: z.ZodObject, place: 'path' | 'query'): Record<string, unknown>[] {
  const { properties = {}, required = [] } = schemaOf(schema, 'input') as {
    readonly properties?: Record<string, unknown>;
    readonly required?: readonly string[];
  };
  return Object.entries(properties).map(([name, property]) => ({
    name,
    in: place,
    required: place === 'path' || required.includes(name),
    schema: property,
  }));
}
