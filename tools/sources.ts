/** Looks at TypeScript sources: what they declare, and whether it is documented. */
import ts from 'typescript';

/** A source file, parsed. */
export type Source = ts.SourceFile;

/** Parses a source; syntax alone, no types. */
export function parseSource(path: string, text: string): Source {
  return ts.createSourceFile(path, text, ts.ScriptTarget.ESNext, true);
}

/**
 * Every name that a source declares, and every name that it imports: `name`, and for members `Class.name` or
 * `Class.#name`.
 */
export function namesIn(source: Source): ReadonlySet<string> {
  const names = new Set<string>();
  const visit = (node: ts.Node, owner: string) => {
    const name = nameOf(node);
    if (name !== undefined) names.add(owner === '' ? name : `${owner}.${name}`);
    const isOwner = ts.isClassDeclaration(node) || ts.isInterfaceDeclaration(node);
    ts.forEachChild(node, (child) => visit(child, isOwner ? (name ?? owner) : owner));
  };
  visit(source, '');
  return names;
}

/** The name that a node gives to something; `undefined` if it gives none. */
function nameOf(node: ts.Node): string | undefined {
  const isNaming =
    ts.isFunctionDeclaration(node) ||
    ts.isClassDeclaration(node) ||
    ts.isInterfaceDeclaration(node) ||
    ts.isTypeAliasDeclaration(node) ||
    ts.isVariableDeclaration(node) ||
    ts.isMethodDeclaration(node) ||
    ts.isMethodSignature(node) ||
    ts.isPropertySignature(node) ||
    ts.isPropertyDeclaration(node) ||
    ts.isGetAccessor(node) ||
    ts.isImportSpecifier(node);
  if (!isNaming || node.name === undefined) return undefined;
  const { name } = node;
  return ts.isIdentifier(name) || ts.isPrivateIdentifier(name) || ts.isStringLiteral(name)
    ? name.text
    : undefined;
}

/** The name of the innermost declaration that a place belongs to, comments above it included; `undefined` outside of all. */
export function declarationAt(source: Source, position: number): string | undefined {
  let found: string | undefined;
  const visit = (node: ts.Node) => {
    if (position < node.getFullStart() || position >= node.getEnd()) return;
    found = placeNameOf(node) ?? found;
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** Functions, types and their members, and constants of the module; a variable inside of a function is no place. */
function placeNameOf(node: ts.Node): string | undefined {
  if (ts.isVariableStatement(node)) {
    const [first] = node.declarationList.declarations;
    return ts.isSourceFile(node.parent) && first !== undefined ? nameOf(first) : undefined;
  }
  return ts.isVariableDeclaration(node) || ts.isImportSpecifier(node) ? undefined : nameOf(node);
}

/** Exported functions, classes, interfaces, types and constants without a doc comment directly above. */
export function undocumentedExports(source: Source): string[] {
  const documentedOverloads = new Set<string>();
  return source.statements.flatMap((statement) => {
    const name = exportedNameOf(statement);
    if (name === undefined || documentedOverloads.has(name)) return [];
    if (!hasDocComment(statement, source)) return [name];
    documentedOverloads.add(name);
    return [];
  });
}

function exportedNameOf(statement: ts.Statement): string | undefined {
  const isExported =
    ts.canHaveModifiers(statement) &&
    ts.getModifiers(statement)?.some((modifier) => modifier.kind === ts.SyntaxKind.ExportKeyword) === true;
  if (!isExported) return undefined;
  if (ts.isVariableStatement(statement)) {
    return statement.declarationList.declarations.map((declaration) => declaration.name.getText()).join(', ');
  }
  return nameOf(statement) ?? 'default';
}

function hasDocComment(statement: ts.Statement, source: Source): boolean {
  const { text } = source;
  const comment = ts.getLeadingCommentRanges(text, statement.getFullStart())?.at(-1);
  if (comment === undefined || !text.startsWith('/**', comment.pos)) return false;
  const between = text.slice(comment.end, statement.getStart());
  return /^\s*$/.test(between) && between.split('\n').length === 2;
}

/** The doc comment that a text begins with, as one line without its stars; `undefined` if it begins otherwise. */
export function leadingDocComment(text: string): string | undefined {
  const comment = /^\/\*\*([\s\S]*?)\*\//.exec(text)?.[1];
  return comment?.replaceAll(/\s*\n\s*\*?\s*/g, ' ').trim();
}
