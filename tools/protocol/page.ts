/**
 * The tables of docs/protocol_support.md.
 *
 * @module
 */
import {
  VHOST_USER,
  VHOST_USER_BACKEND,
  VHOST_USER_PROTOCOL_F,
} from "../../src/vhost_user/protocol.ts";
import {
  BLOCK_ROWS,
  type FeatureRow,
  NET_ROWS,
  PROTOCOL_FEATURES,
  RING_ROWS,
} from "./features.ts";
import type { Offer, Offered } from "./offered.ts";
import { BACKEND_REQUESTS, REQUESTS, SENT } from "./requests.ts";
import type { Row } from "./row.ts";
import { type NamedTest, testsOf } from "./test_names.ts";

const PEERS = ["libvhost-user", "vhost crate", "SPDK"];
/** How the name of a test begins that is there once for each request. */
const REQUEST_NAME = /^… (?=is refused, and|of a back-end)/;
const NUMBER = /^\[[CH]\d\d\]$/;

/** The tables by the names of their places in the page, and what is wrong. */
export interface Tables {
  readonly tables: ReadonlyMap<string, string>;
  /** A line each. */
  readonly wrong: readonly string[];
}

/** Makes all tables from what is `offered` and the `tests` there are. */
export function makeTables(
  offered: Offered,
  tests: readonly NamedTest[],
): Tables {
  const maker = new TableMaker(tests);
  const tables = new Map([
    ["requests", requests(maker, offered)],
    ["back-end requests", backendRequests(maker)],
    ["protocol features", protocolFeatures(maker, offered.protocol)],
    ["ring features", features(maker, RING_ROWS, offered.rings)],
    ["block features", features(maker, BLOCK_ROWS, offered.block)],
    ["net features", features(maker, NET_ROWS, offered.net)],
  ]);
  return { tables, wrong: maker.wrong };
}

/** Lays out rows, and notes those that nothing shows. */
class TableMaker {
  readonly wrong: string[] = [];
  readonly #tests: readonly NamedTest[];

  constructor(tests: readonly NamedTest[]) {
    this.#tests = tests;
  }

  table(head: readonly string[], rows: readonly (readonly string[])[]): string {
    const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
    return [line(head), line(head.map(() => "---")), ...rows.map(line)]
      .join("\n");
  }

  /** The tests of `row`, which is about `what`. */
  shownBy(what: string, { tests }: Row): string {
    if (tests.length === 0) this.wrong.push(`No test is named for ${what}`);
    return tests.map((reference) => {
      const found = testsOf(this.#tests, reference);
      if (found.length === 0) {
        this.wrong.push(
          `No test is named “${reference}”, which is to show ${what}: name ` +
            "another one in tools/protocol",
        );
        return reference;
      }
      if (NUMBER.test(reference)) return `[${reference}](conformance.md)`;
      const [test] = found;
      return `[${textOf(this.#filledIn(what, test!))}](../${test!.path})`;
    }).join("<br>");
  }

  /** A name that begins with what a template fills in: that must be `what`. */
  #filledIn(what: string, test: NamedTest): string {
    const { name, path } = test;
    if (!REQUEST_NAME.test(name)) return name;
    if (!test.mentions(what)) {
      this.wrong.push(`${path} has no word of ${what}, which it is to show`);
    }
    return name.replace(REQUEST_NAME, `${what} `);
  }
}

function requests(maker: TableMaker, { served }: Offered): string {
  const names = Object.keys(REQUESTS) as (keyof typeof REQUESTS)[];
  const rows = names.map((name) => {
    const row = REQUESTS[name];
    const number = VHOST_USER[name];
    const needs = served.get(number);
    const verdict = needs === undefined ? "refused" : "yes";
    return [
      `${number}`,
      name,
      needs === undefined || needs < 0 ? "" : featureName(needs),
      verdictOf(verdict, row),
      maker.shownBy(name, row),
      ...row.peers,
    ];
  });
  return maker.table(
    ["id", "request", "needs", "served", "shown by", ...PEERS],
    rows,
  );
}

function backendRequests(maker: TableMaker): string {
  const names = Object.keys(
    BACKEND_REQUESTS,
  ) as (keyof typeof BACKEND_REQUESTS)[];
  const rows = names.map((name) => {
    const row = BACKEND_REQUESTS[name];
    const verdict = SENT.includes(name) ? "yes" : "no";
    return [
      `${VHOST_USER_BACKEND[name]}`,
      name,
      verdictOf(verdict, row),
      maker.shownBy(name, row),
      ...row.peers,
    ];
  });
  return maker.table(["id", "request", "sent", "shown by", ...PEERS], rows);
}

function protocolFeatures(maker: TableMaker, offer: Offer): string {
  const names = Object.keys(
    PROTOCOL_FEATURES,
  ) as (keyof typeof PROTOCOL_FEATURES)[];
  return features(
    maker,
    names.map((name) => [
      VHOST_USER_PROTOCOL_F[name],
      name,
      PROTOCOL_FEATURES[name],
    ]),
    offer,
  );
}

function features(
  maker: TableMaker,
  rows: readonly FeatureRow[],
  { always, ever }: Offer,
): string {
  const known = rows.reduce((bits, [bit]) => bits | (1n << BigInt(bit)), 0n);
  for (let bit = 0; bit < 64; bit++) {
    if ((ever & ~known & (1n << BigInt(bit))) === 0n) continue;
    maker.wrong.push(`Feature ${bit} is offered and has no row in any table`);
  }
  const cells = rows.map(([bit, name, row]) => {
    const mask = 1n << BigInt(bit);
    const offered = (ever & mask) === 0n ? "no" : "yes";
    if (offered === "yes" && (always & mask) === 0n && row.note === "") {
      maker.wrong.push(`Feature ${name} is offered somewhere: say where`);
    }
    return [
      `${bit}`,
      name,
      verdictOf(offered, row),
      maker.shownBy(name, row),
      ...row.peers,
    ];
  });
  return maker.table(
    ["bit", "feature", "offered", "shown by", ...PEERS],
    cells,
  );
}

function verdictOf(verdict: string, { note }: Row): string {
  return note === "" ? verdict : `${verdict}: ${note}`;
}

function featureName(feature: number): string {
  const entry = Object.entries(VHOST_USER_PROTOCOL_F)
    .find(([, bit]) => bit === feature);
  return entry?.[0] ?? `${feature}`;
}

/** The name of a test without its numbers, which would look like links. */
function textOf(name: string): string {
  return name.replaceAll(/\[[CH]\d\d\]\s*/g, "").replaceAll("|", "\\|");
}
