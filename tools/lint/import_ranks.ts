/// <reference lib="deno.unstable" />
import { isTest, repositoryPath, resolvePath } from "./paths.ts";
import { isOutside, objection, type Room, roomOf } from "./rooms.ts";

const HINT = "The table is in tools/lint/rooms.ts and docs/architecture.md";

/** Why the file at `path`, in `room`, can't import `specifier`, or "". */
function objectionTo(path: string, room: Room, specifier: string): string {
  if (/^\.{0,2}\//.test(specifier)) {
    const target = resolvePath(path, specifier);
    const other = roomOf(target);
    if (other !== null) return objection(room, other);
    return isOutside(target)
      ? `${room.path} can't import ${target}, which is no part of the program`
      : `${target} is in no room: give it one`;
  }
  if (specifier.startsWith("@std/")) return "";
  if (specifier.startsWith("node:") && room.path === "src/std/") return "";
  return `${specifier} is a dependency, and ringside has none: import a ` +
    "file of the repository or a name of @std";
}

/** What a call such as `import.meta.resolve("./queue.ts")` names, or null. */
function resolvedByMeta(node: Deno.lint.CallExpression): string | null {
  const { callee } = node;
  const first = node.arguments[0];
  if (callee.type !== "MemberExpression") return null;
  if (callee.object.type !== "MetaProperty") return null;
  return literalText(first);
}

function literalText(node: { type: string } | null | undefined): string | null {
  if (node?.type !== "Literal") return null;
  const { value } = node as Deno.lint.StringLiteral;
  return typeof value === "string" ? value : null;
}

/** Imports go down only; production code never imports the tests' helpers. */
export const importRanks: Deno.lint.Rule = {
  create(context): Deno.lint.LintVisitor {
    const path = repositoryPath(context.filename);
    if (isTest(path) || isOutside(path)) return {};
    const room = roomOf(path);
    if (room === null) {
      return {
        Program(node): void {
          const message = `${path} is in no room: give it one`;
          context.report({ node, message, hint: HINT });
        },
      };
    }
    const check = (node: Deno.lint.Node, specifier: string | null): void => {
      if (specifier === null) return;
      const message = objectionTo(path, room, specifier);
      if (message !== "") context.report({ node, message, hint: HINT });
    };
    return {
      ImportDeclaration: (node) => check(node, node.source.value),
      ExportAllDeclaration: (node) => check(node, node.source.value),
      ExportNamedDeclaration: (node) => check(node, literalText(node.source)),
      ImportExpression: (node) => check(node, literalText(node.source)),
      CallExpression: (node) => check(node, resolvedByMeta(node)),
      TSImportType(node): void {
        const { argument } = node;
        if (argument.type !== "TSLiteralType") return;
        check(node, literalText(argument.literal));
      },
    };
  },
};
