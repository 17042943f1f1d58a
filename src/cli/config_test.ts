import { assertEquals, assertThrows } from "@std/assert";
import { devices } from "../../devices/mod.ts";
import { UsageError } from "../errors.ts";
import type { Registry } from "./command_line.ts";
import { parseConfig } from "./config.ts";

const registry: Registry = devices;

function refused(text: string): string {
  return assertThrows(() => parseConfig("f", text, registry), UsageError)
    .message;
}

/** The complaint about one block device that has `members` too. */
function refusedDisk(members: string): string {
  return refused(
    `{ "devices": [\n{ "device": "block", "name": "disk",\n${members} } ] }`,
  );
}

Deno.test("a file says which devices there are, and how they are served", () => {
  const { devices, logLevel } = parseConfig(
    "f",
    `{
      "$schema": "docs/ringside.schema.json",
      // All of these are as on the command line.
      "devices": [
        {
          "device": "block", "name": "disk0", "socket-path": "a.sock",
          "blk-file": "a.img", "read-only": true, "num-queues": 4,
          "block-size": "4K", "queue-threads": 2, "io-engine": "sync",
        },
        { "device": "rng", "fd": 3, "max-bytes": 1024, "period": 10 },
        { "device": "block", "socket-path": "b.sock", "blk-null": 512,
          "data-plane": "inline" },
      ],
    }`,
    registry,
  );
  assertEquals(logLevel, "info");
  assertEquals(
    devices.map(({ name, origin, descriptor }) => [
      name,
      origin,
      descriptor.name,
    ]),
    [
      ["disk0", "f:5: disk0: ", "block"],
      ["rng1", "f:10: rng1: ", "rng"],
      ["block2", "f:11: block2: ", "block"],
    ],
  );
  assertEquals(devices[0]!.options, {
    "blk-file": "a.img",
    "blk-null": undefined,
    "read-only": true,
    "direct": false,
    "shared": false,
    "serial": undefined,
    "num-queues": 4,
    "queue-size": 1024,
    "block-size": 4096,
    "io-engine": "sync",
  });
  assertEquals(devices.map(({ server }) => server), [
    {
      "socket-path": "a.sock",
      "fd": undefined,
      "data-plane": "auto",
      "queue-threads": 2,
      "iommu": false,
      "packed": "on",
      "in-order": false,
      "in-band": false,
      "connect": false,
    },
    {
      "socket-path": undefined,
      "fd": 3,
      "data-plane": "auto",
      "queue-threads": 1,
      "iommu": false,
      "packed": "on",
      "in-order": false,
      "in-band": false,
      "connect": false,
    },
    {
      "socket-path": "b.sock",
      "fd": undefined,
      "data-plane": "inline",
      "queue-threads": 1,
      "iommu": false,
      "packed": "on",
      "in-order": false,
      "in-band": false,
      "connect": false,
    },
  ]);
});

Deno.test("what is wrong with the file is told with its line", () => {
  const none = "There are no devices: give";
  const cases: [string, RegExp][] = [
    ["[]", /^f:1: The file is a list, wanted an object in braces$/],
    ["{}", new RegExp(`^f:1: ${none}`)],
    ['{\n"devices": []}', new RegExp(`^f:2: ${none}`)],
    ['{\n"devices": {}}', new RegExp(`^f:2: ${none}`)],
    ['{ "device": [] }', /^f:1: There is no key "device" of the file: the nea/],
    ['{ "log-level": "loud" }', /^f:1: "log-level" is "loud": use one of err/],
    ['{ "log-level": 3 }', /^f:1: "log-level" is 3: give it one of "error", /],
    ['{ "devices": [\n 1] }', /^f:2: Element 0 of "devices" is 1, wanted an o/],
    ['{ "devices": [\n{}] }', /^f:2: There is no "device" that says what .*: /],
    ['{ "devices": [{\n"device": null}] }', /^f:2: There is no "device" that/],
    [
      '{ "devices": [{ "device":\n"blok" }] }',
      /^f:1: There is no device "blok": the nearest is "block" of block, /,
    ],
    [
      '{ "devices": [{ "device": "constructor" }] }',
      /^f:1: There is no device "constructor"/,
    ],
    [
      '{ "devices": [{ "device": "rng",\n"socket-path": "s", "blk-file": "x" }] }',
      /^f:2: There is no key "blk-file" of a rng device: give one of device, /,
    ],
    ['{ "devices": [\n{ "device": } ] }', /^f:2:13: There is "}", wanted a v/],
  ];
  for (const [text, message] of cases) {
    const found = refused(text);
    assertEquals(message.test(found), true, found);
  }
});

Deno.test("what is wrong with a device names its line, its key and the device", () => {
  const socket = '"socket-path": "s"';
  const cases: [string, string][] = [
    [
      '"socket-pth": "s"',
      'f:3: There is no key "socket-pth" of a block device: the nearest is ' +
      '"socket-path"',
    ],
    [
      `${socket},\n"queue-size": 300`,
      'f:4: "queue-size" of disk is 300, not a power of two: the next one ' +
      "below is 256",
    ],
    [
      `${socket},\n"queue-size": "256"`,
      'f:4: "queue-size" of disk is "256": give it a whole number, without ' +
      "quotes",
    ],
    [
      `${socket}, "queue-size": 1.5`,
      'f:3: "queue-size" of disk is "1.5": give it a whole number',
    ],
    [
      `${socket}, "num-queues": 0`,
      'f:3: "num-queues" of disk is 0: give it 1 to 1024',
    ],
    [
      `${socket}, "read-only": "yes"`,
      'f:3: "read-only" of disk is "yes": give it true or false',
    ],
    [
      `${socket}, "blk-file": 7`,
      'f:3: "blk-file" of disk is 7: give it text in quotes',
    ],
    [
      `${socket}, "blk-file": ""`,
      'f:3: "blk-file" of disk is "": give it text in quotes',
    ],
    [
      `${socket}, "block-size": true`,
      'f:3: "block-size" of disk is true: give it a number of bytes, or text ' +
      'as "64K"',
    ],
    [
      `${socket}, "block-size": "4X"`,
      'f:3: "block-size" of disk is "4X": give it a number of bytes, with K, ' +
      "M, G or T for powers of 1024",
    ],
    [
      `${socket}, "io-engine": "fast"`,
      'f:3: "io-engine" of disk is "fast": use one of auto, io_uring, sync',
    ],
    [
      `${socket}, "io-engine": null`,
      'f:3: "io-engine" of disk is null: give it one of "auto", "io_uring", ' +
      '"sync"',
    ],
    [
      `${socket}, "fd": 3`,
      'f:2: There are "socket-path" of disk and "fd" of disk: leave one of ' +
      "them out",
    ],
    [
      '"blk-file": "x"',
      'f:2: There is no socket: give "socket-path" of disk or "fd" of ' +
      "disk",
    ],
    [
      `"socket-path": "${"x".repeat(108)}"`,
      'f:2: "socket-path" of disk has 108 bytes, wanted 107 at most: use a ' +
      "shorter path, or one that is relative to the working directory",
    ],
    [
      `${socket}, "queue-threads": 2, "data-plane": "inline"`,
      'f:2: "queue-threads" of disk is 2 with "data-plane" of disk inline, ' +
      "which has one thread: leave one of them out",
    ],
  ];
  for (const [members, message] of cases) {
    assertEquals(refusedDisk(members), message);
  }
});

Deno.test("names and sockets belong to one device each", () => {
  const pair = (first: string, second: string) =>
    refused(`{ "devices": [
      { "device": "rng", ${first} },
      { "device": "rng", ${second} }
    ] }`);
  assertEquals(
    pair('"socket-path": "s"', '"socket-path": "s"'),
    "f:3: The socket s is taken by the device in line 2: give each device " +
      "its own",
  );
  assertEquals(
    pair('"fd": 3', '"fd": 3'),
    "f:3: The descriptor 3 is taken by the device in line 2: give each " +
      "device its own",
  );
  assertEquals(
    pair('"name": "rng1", "fd": 3', '"fd": 4'),
    'f:3: The name "rng1" is taken by the device in line 2: give each ' +
      "device its own",
  );
  for (const name of ['"a b"', '""', '"-"', "3", '"a\\n"', "null"]) {
    const found = pair(`"fd": 3, "name": ${name}`, '"fd": 4');
    assertEquals(found.startsWith(`f:2: "name" is ${name}: give it up`), true);
  }
});
