/**
 * JSON with comments and trailing commas, as values that know their line.
 *
 * @module
 */
import { UsageError } from "../errors.ts";

/** A value and the line, from 1, that it starts in. */
export type JsonValue =
  | { kind: "string"; line: number; value: string }
  | { kind: "number"; line: number; text: string }
  | { kind: "boolean"; line: number; value: boolean }
  | { kind: "null"; line: number }
  | { kind: "array"; line: number; items: JsonValue[] }
  | { kind: "object"; line: number; members: JsonMember[] };

/** One member of an object, whose keys are all different. */
export interface JsonMember {
  /** Its name. */
  readonly key: string;
  /** The line of the key. */
  readonly line: number;
  /** What it is. */
  readonly value: JsonValue;
}

const DEPTH_MAX = 64;
const WORDS = /[a-zA-Z]+/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const STRING = /"(?:[^"\\\p{Cc}]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"/yu;
const SPACE = /(?:[ \t\r\n]|\/\/[^\n]*|\/\*[^]*?\*\/)*/y;

/**
 * Reads `text`, the content of `file`.
 *
 * @throws {UsageError} file, line, column, what is and what was wanted
 */
export function parseJsonc(file: string, text: string): JsonValue {
  return new Parser(file, text).parse();
}

class Parser {
  readonly #file: string;
  readonly #text: string;
  #at = 0;
  #depth = 0;

  constructor(file: string, text: string) {
    this.#file = file;
    // A byte order mark, which editors hide.
    this.#text = text.replace(/^\ufeff/, "");
  }

  parse(): JsonValue {
    this.#space();
    const value = this.#value();
    this.#space();
    if (this.#at < this.#text.length) this.#fail("the end of the file");
    return value;
  }

  #value(): JsonValue {
    const line = this.#line();
    switch (this.#text[this.#at]) {
      case "{":
        return this.#nested(() => this.#object(line));
      case "[":
        return this.#nested(() => this.#array(line));
      case '"':
        return { kind: "string", line, value: this.#string() };
    }
    const text = this.#match(NUMBER);
    if (text !== "") return { kind: "number", line, text };
    const start = this.#at;
    switch (this.#match(WORDS)) {
      case "true":
        return { kind: "boolean", line, value: true };
      case "false":
        return { kind: "boolean", line, value: false };
      case "null":
        return { kind: "null", line };
    }
    this.#at = start;
    this.#fail("a value");
  }

  #nested(parse: () => JsonValue): JsonValue {
    if (++this.#depth > DEPTH_MAX) this.#fail(`at most ${DEPTH_MAX} levels`);
    this.#at++;
    this.#space();
    const value = parse();
    this.#depth--;
    return value;
  }

  #object(line: number): JsonValue {
    const members: JsonMember[] = [];
    while (!this.#took("}")) {
      const start = this.#at;
      const keyLine = this.#line();
      if (this.#text[start] !== '"') this.#fail('a key in quotes, or "}"');
      const key = this.#string();
      const twin = members.find((member) => member.key === key);
      if (twin !== undefined) {
        this.#at = start;
        this.#complain(
          `"${key}" is here and in line ${twin.line}: leave one of them out`,
        );
      }
      this.#space();
      if (!this.#took(":")) this.#fail('":"');
      members.push({ key, line: keyLine, value: this.#value() });
      this.#separator("}");
    }
    return { kind: "object", line, members };
  }

  #array(line: number): JsonValue {
    const items: JsonValue[] = [];
    while (!this.#took("]")) {
      items.push(this.#value());
      this.#separator("]");
    }
    return { kind: "array", line, items };
  }

  /** A comma, or what ends the list, which stays. */
  #separator(end: string): void {
    this.#space();
    if (this.#text[this.#at] === end) return;
    if (!this.#took(",")) this.#fail(`"," or "${end}"`);
  }

  #string(): string {
    const literal = this.#match(STRING);
    if (literal === "") {
      this.#fail("a string that ends in its line, with JSON's escapes only");
    }
    return JSON.parse(literal);
  }

  #took(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    this.#space();
    return true;
  }

  #space(): void {
    this.#match(SPACE);
  }

  /** What `pattern` finds here, "" for nothing; goes past it. */
  #match(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0] ?? "";
    this.#at += found.length;
    return found;
  }

  #line(): number {
    return this.#text.slice(0, this.#at).split("\n").length;
  }

  #fail(wanted: string): never {
    const rest = this.#text.slice(this.#at);
    const found = rest === ""
      ? "the end of the file"
      : rest.startsWith("/*")
      ? "a comment that has no end"
      : rest.startsWith('"')
      ? "a quote"
      : `"${/^(?:[\w.-]{1,20}|[^])/u.exec(rest)![0]}"`;
    this.#complain(`There is ${found}, wanted ${wanted}`);
  }

  #complain(message: string): never {
    const column = this.#at - this.#text.lastIndexOf("\n", this.#at - 1);
    throw new UsageError(
      `${this.#file}:${this.#line()}:${column}: ${message}`,
    );
  }
}
