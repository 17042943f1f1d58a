/// <reference lib="deno.unstable" />
import { isTest, repositoryPath } from "./paths.ts";

/** How many lines a function may have, its first and last included. */
export const FUNCTION_LINES_MAX = 70;

type FunctionNode =
  | Deno.lint.FunctionDeclaration
  | Deno.lint.FunctionExpression
  | Deno.lint.ArrowFunctionExpression;

/** Whether `node` is handed to a call, as `describe` and `test` take them. */
function isCallback(node: FunctionNode): boolean {
  const { parent } = node;
  if (parent.type === "CallExpression") return true;
  return parent.type === "Property" &&
    parent.parent.parent.type === "CallExpression";
}

function lineCount(text: string, [start, end]: Deno.lint.Range): number {
  let count = 1;
  let at = text.indexOf("\n", start);
  while (at !== -1 && at < end) {
    count++;
    at = text.indexOf("\n", at + 1);
  }
  return count;
}

/** A function fits on a page. Callbacks of tests may hold a list of tests. */
export const functionLength: Deno.lint.Rule = {
  create(context): Deno.lint.LintVisitor {
    const test = isTest(repositoryPath(context.filename));
    let text = "";
    const check = (node: FunctionNode): void => {
      if (test && isCallback(node)) return;
      if (text === "") text = context.sourceCode.text;
      const count = lineCount(text, node.range);
      if (count <= FUNCTION_LINES_MAX) return;
      context.report({
        node,
        message: `A function has ${count} lines, and may have ` +
          `${FUNCTION_LINES_MAX}`,
        hint: "Name a part of it and make that a function",
      });
    };
    return {
      FunctionDeclaration: check,
      FunctionExpression: check,
      ArrowFunctionExpression: check,
    };
  },
};
