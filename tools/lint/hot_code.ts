/// <reference lib="deno.unstable" />
const MARK = "// Data plane";
const HINT = "Files that start with `// Data plane` hold hot code only: see " +
  "docs/architecture.md";

function isFunction(node: Deno.lint.Node): boolean {
  return node.type === "FunctionDeclaration" ||
    node.type === "FunctionExpression" ||
    node.type === "ArrowFunctionExpression";
}

function isLoop(node: Deno.lint.Node): boolean {
  return node.type === "ForStatement" || node.type === "ForOfStatement" ||
    node.type === "ForInStatement" || node.type === "WhileStatement" ||
    node.type === "DoWhileStatement";
}

/** What `node` is part of; null for the program and for comments. */
function parentOf(node: Deno.lint.Node): Deno.lint.Node | null {
  return "parent" in node ? node.parent as Deno.lint.Node : null;
}

/** Whether a loop stands between `node` and the function that it is in. */
function isInLoop(node: Deno.lint.Node): boolean {
  let at = parentOf(node);
  while (at !== null && !isFunction(at)) {
    if (isLoop(at)) return true;
    at = parentOf(at);
  }
  return false;
}

/** No await, bigint, spread, and in loops no closure and no try. */
export const hotCode: Deno.lint.Rule = {
  create(context): Deno.lint.LintVisitor {
    if (!context.sourceCode.text.startsWith(MARK)) return {};
    const report = (node: Deno.lint.Node, what: string): void => {
      const message = `Hot code has ${what}`;
      context.report({ node, message, hint: HINT });
    };
    const closure = (
      node: Deno.lint.FunctionExpression | Deno.lint.ArrowFunctionExpression,
    ): void => {
      if (node.async) report(node, "an async function");
      if (isInLoop(node)) report(node, "a closure made in a loop");
    };
    return {
      AwaitExpression: (node) => report(node, "an await"),
      ForOfStatement(node): void {
        if (node.await) report(node, "an await");
      },
      SpreadElement: (node) => report(node, "a spread"),
      RestElement(node): void {
        if (isFunction(node.parent)) report(node, "a rest parameter");
      },
      Literal(node): void {
        if (typeof node.value === "bigint") report(node, "a bigint");
      },
      CallExpression(node): void {
        const { callee } = node;
        if (callee.type === "Identifier" && callee.name === "BigInt") {
          report(node, "a bigint");
        }
      },
      FunctionDeclaration(node): void {
        if (node.async) report(node, "an async function");
        if (isInLoop(node)) report(node, "a closure made in a loop");
      },
      FunctionExpression: closure,
      ArrowFunctionExpression: closure,
      TryStatement(node): void {
        if (isInLoop(node)) report(node, "a try in a loop");
      },
    };
  },
};
