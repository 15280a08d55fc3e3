import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { parse } from 'yaml';
import { adminOpenApi } from './openapi.ts';
import { adminRoutes } from './routes.ts';

// biome-ignore lint/suspicious/noExplicitAny: the document is what is tested.
const document: any = parse(readFileSync(new URL('../../docs/admin-openapi.yaml', import.meta.url), 'utf8'));

// biome-ignore lint/suspicious/noExplicitAny: as above.
const operations: readonly (readonly [name: string, operation: any])[] = Object.entries(
  document.paths as Record<string, object>,
).flatMap(([path, methods]) =>
  Object.entries(methods).map(
    ([method, operation]) => [`${method.toUpperCase()} ${path}`, operation] as const,
  ),
);

/** Every value of a key, however deep. */
function valuesOf(value: unknown, key: string): unknown[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([name, item]) => [
    ...(name === key ? [item] : []),
    ...valuesOf(item, key),
  ]);
}

describe('docs/admin-openapi.yaml', () => {
  test('is what the program serves', () => {
    assert.deepEqual(document, JSON.parse(JSON.stringify(adminOpenApi())));
  });

  test('describes every route once', () => {
    assert.deepEqual(
      operations.map(([name]) => name).toSorted(),
      adminRoutes.map(({ method, path }) => `${method} ${path}`).toSorted(),
    );
    const ids = operations.map(([, { operationId }]) => operationId);
    assert.equal(new Set(ids).size, adminRoutes.length);
  });

  test('is OpenAPI 3.1: versions, descriptions, places, references', () => {
    assert.match(document.openapi, /^3\.1\.\d+$/);
    assert.ok(document.info.title !== '' && document.info.version !== '');
    for (const [name, operation] of operations) {
      assert.ok(operation.summary.length > 10, name);
      const own = adminRoutes.find(({ operationId }) => operationId === operation.operationId);
      assert.deepEqual(
        Object.keys(operation.responses).toSorted(),
        [String(own?.status), '400', '401', '403', '404', '409', '413', '429', '503'].toSorted(),
        name,
      );
      for (const answer of Object.values(operation.responses) as { readonly description: string }[])
        assert.ok(answer.description.length > 0, name);
      const inPath = [...name.matchAll(/\{(\w+)\}/g)].map(([, word]) => word);
      const described = operation.parameters.filter((one: { readonly in: string }) => one.in === 'path');
      assert.deepEqual(
        described.map((one: { readonly name: string }) => one.name),
        inPath,
        name,
      );
      for (const one of operation.parameters)
        assert.ok(one.in === 'query' || (one.in === 'path' && one.required === true), name);
      assert.equal(operation.requestBody !== undefined, own?.method === 'POST', name);
    }
    const references = valuesOf(document, '$ref');
    assert.ok(references.length > 0);
    for (const reference of references) {
      let place = document;
      for (const step of String(reference).split('/').slice(1)) place = place?.[step];
      assert.equal(typeof place, 'object', String(reference));
    }
  });

  test('names fields that must be there, and those with a default not among them', () => {
    const body = document.paths['/admin/v1/challenges'].post.requestBody.content['application/json'].schema;
    assert.deepEqual(body.required, ['endpoint']);
    assert.equal(body.additionalProperties, false);
    assert.equal(body.properties.minutes.default, 60);
  });
});
