/**
 * Counts what of src/ runs: a loader hook that puts a counter at the beginning of each branch. Imported before anything
 * that is to be counted; V8's own coverage would cost a thousand times as much for each input.
 */
import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

/** More than src/codec and src/scep have branches; what comes beyond shares. */
const COUNTERS_MAX = 1 << 15;

/** How often each branch ran, modulo 256. Whoever looks at it clears it. */
export const counters = new Uint8Array(COUNTERS_MAX);

let count = 0;

/** How many counters there are so far. */
export function counterCount(): number {
  return Math.min(count, COUNTERS_MAX);
}

const NAME = '__leafgateBranches';
(globalThis as Record<string, unknown>)[NAME] = counters;

const { factory } = ts;

function countedExpression(): ts.Expression {
  const index = factory.createNumericLiteral(count++ % COUNTERS_MAX);
  return factory.createPostfixIncrement(
    factory.createElementAccessExpression(factory.createIdentifier(NAME), index),
  );
}

const counted = (): ts.Statement => factory.createExpressionStatement(countedExpression());
const withCount = (expression: ts.Expression): ts.Expression =>
  factory.createParenthesizedExpression(factory.createComma(countedExpression(), expression));
const asBlock = (statement: ts.Statement): ts.Block =>
  factory.createBlock([counted(), ...(ts.isBlock(statement) ? statement.statements : [statement])]);

const shortCircuits: ReadonlySet<ts.SyntaxKind> = new Set([
  ts.SyntaxKind.AmpersandAmpersandToken,
  ts.SyntaxKind.BarBarToken,
  ts.SyntaxKind.QuestionQuestionToken,
]);

/** A counter in each function, loop, case, handler, branch of a condition and right side of a short circuit. */
function counting(context: ts.TransformationContext): ts.Transformer<ts.SourceFile> {
  const visit = (node: ts.Node): ts.Node => {
    const seen = ts.visitEachChild(node, visit, context);
    if (ts.isIfStatement(seen)) {
      const { expression, thenStatement, elseStatement } = seen;
      const otherwise =
        elseStatement === undefined ? factory.createBlock([counted()]) : asBlock(elseStatement);
      return factory.updateIfStatement(seen, expression, asBlock(thenStatement), otherwise);
    }
    if (ts.isConditionalExpression(seen)) {
      const { condition, questionToken, whenTrue, colonToken, whenFalse } = seen;
      return factory.updateConditionalExpression(
        seen,
        condition,
        questionToken,
        withCount(whenTrue),
        colonToken,
        withCount(whenFalse),
      );
    }
    if (ts.isBinaryExpression(seen) && shortCircuits.has(seen.operatorToken.kind))
      return factory.updateBinaryExpression(seen, seen.left, seen.operatorToken, withCount(seen.right));
    if (ts.isForStatement(seen)) {
      const { initializer, condition, incrementor, statement } = seen;
      return factory.updateForStatement(seen, initializer, condition, incrementor, asBlock(statement));
    }
    if (ts.isForOfStatement(seen)) {
      const { awaitModifier, initializer, expression, statement } = seen;
      return factory.updateForOfStatement(seen, awaitModifier, initializer, expression, asBlock(statement));
    }
    if (ts.isWhileStatement(seen))
      return factory.updateWhileStatement(seen, seen.expression, asBlock(seen.statement));
    if (ts.isCaseClause(seen))
      return factory.updateCaseClause(seen, seen.expression, [counted(), ...seen.statements]);
    if (ts.isDefaultClause(seen)) return factory.updateDefaultClause(seen, [counted(), ...seen.statements]);
    if (ts.isCatchClause(seen))
      return factory.updateCatchClause(seen, seen.variableDeclaration, asBlock(seen.block));
    if (ts.isArrowFunction(seen) && !ts.isBlock(seen.body)) {
      const { modifiers, typeParameters, parameters, type, equalsGreaterThanToken, body } = seen;
      return factory.updateArrowFunction(
        seen,
        modifiers,
        typeParameters,
        parameters,
        type,
        equalsGreaterThanToken,
        withCount(body),
      );
    }
    if (ts.isFunctionDeclaration(seen) && seen.body !== undefined) {
      const { modifiers, asteriskToken, name, typeParameters, parameters, type, body } = seen;
      return factory.updateFunctionDeclaration(
        seen,
        modifiers,
        asteriskToken,
        name,
        typeParameters,
        parameters,
        type,
        asBlock(body),
      );
    }
    if (ts.isMethodDeclaration(seen) && seen.body !== undefined) {
      const { modifiers, asteriskToken, name, questionToken, typeParameters, parameters, type, body } = seen;
      return factory.updateMethodDeclaration(
        seen,
        modifiers,
        asteriskToken,
        name,
        questionToken,
        typeParameters,
        parameters,
        type,
        asBlock(body),
      );
    }
    return seen;
  };
  return (file) => ts.visitEachChild(file, visit, context);
}

/** JavaScript of a TypeScript module, with its counters. */
export function instrumented(source: string, fileName: string): string {
  const { outputText } = ts.transpileModule(source, {
    fileName,
    compilerOptions: {
      target: ts.ScriptTarget.ES2024,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
      inlineSourceMap: true,
    },
    transformers: { before: [counting] },
  });
  return outputText;
}

registerHooks({
  load(url, context, nextLoad) {
    if (!/\/src\/(codec|scep)\/[^/]+\.ts$/.test(url)) return nextLoad(url, context);
    const path = fileURLToPath(url);
    return {
      format: 'module',
      source: instrumented(readFileSync(path, 'utf8'), path),
      shortCircuit: true,
    };
  },
});
