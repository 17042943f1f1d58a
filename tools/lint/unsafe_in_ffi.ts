/// <reference lib="deno.unstable" />
import { repositoryPath } from "./paths.ts";

const UNSAFE = /^(?:dlopen|Unsafe.*)$/;
const HINT = "Give src/ffi a safe function for it and call that";

function isDeno(node: Deno.lint.Node): boolean {
  if (node.type === "Identifier") return node.name === "Deno";
  return node.type === "MemberExpression" && nameOf(node) === "Deno";
}

function nameOf(node: Deno.lint.MemberExpression): string {
  const { property } = node;
  if (property.type === "Identifier" && !node.computed) return property.name;
  if (property.type === "Literal") return String(property.value);
  return "";
}

/** `Deno.dlopen` and `Deno.Unsafe*` stay inside src/ffi. */
export const unsafeInFfi: Deno.lint.Rule = {
  create(context): Deno.lint.LintVisitor {
    if (repositoryPath(context.filename).startsWith("src/ffi/")) return {};
    const check = (node: Deno.lint.Node, name: string): void => {
      if (!UNSAFE.test(name)) return;
      const message = `Deno.${name} is used outside src/ffi`;
      context.report({ node, message, hint: HINT });
    };
    return {
      MemberExpression(node): void {
        if (isDeno(node.object)) check(node, nameOf(node));
      },
      TSQualifiedName(node): void {
        if (isDeno(node.left)) check(node, node.right.name);
      },
      VariableDeclarator(node): void {
        const { id, init } = node;
        if (init === null || !isDeno(init)) return;
        if (id.type !== "ObjectPattern") return;
        for (const property of id.properties) {
          if (property.type !== "Property") continue;
          if (property.key.type !== "Identifier") continue;
          check(property, property.key.name);
        }
      },
    };
  },
};
