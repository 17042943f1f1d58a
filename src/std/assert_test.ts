import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertExists,
  assertGreater,
  assertGreaterOrEqual,
  assertInstanceOf,
  AssertionError,
  assertLess,
  assertLessOrEqual,
  assertMatch,
  assertNotEquals,
  assertNotStrictEquals,
  assertRejects,
  assertStrictEquals,
  assertStringIncludes,
  assertThrows,
  fail,
  unreachable,
} from "@std/assert";

/** The message `fn` fails with; these tests can't lean on what they test. */
function failing(fn: () => unknown): string {
  try {
    fn();
  } catch (error) {
    if (error instanceof AssertionError) return error.message;
    throw error;
  }
  throw new Error("the assertion held");
}

async function rejecting(fn: () => Promise<unknown>): Promise<string> {
  try {
    await fn();
  } catch (error) {
    if (error instanceof AssertionError) return error.message;
    throw error;
  }
  throw new Error("the assertion held");
}

function contains(text: string, part: string): void {
  if (!text.includes(part)) throw new Error(`"${text}" lacks "${part}"`);
}

function boom(): never {
  throw new TypeError("A boom");
}

Deno.test("assert takes what is truthy", () => {
  assert(1);
  contains(failing(() => assert(0, "zero")), "zero");
  failing(() => assert(""));
});

Deno.test("assertEquals compares deeply", () => {
  assertEquals({ a: [1, { b: 2n }] }, { a: [1, { b: 2n }] });
  assertEquals(new Uint8Array([1, 2]), new Uint8Array([0, 1, 2]).subarray(1));
  assertEquals(NaN, NaN);
  assertEquals(new Map([[1, new Set([2])]]), new Map([[1, new Set([2])]]));
  failing(() => assertEquals({ a: 1 }, { a: 2 }));
  failing(() => assertEquals<unknown>(1, "1"));
  failing(() => assertEquals<unknown>({ a: undefined }, {}));
  contains(failing(() => assertEquals(1, 2, "one")), "one");
});

Deno.test("assertNotEquals is its opposite", () => {
  assertNotEquals([1], [2]);
  failing(() => assertNotEquals([1], [1]));
});

Deno.test("assertStrictEquals compares identities", () => {
  const one = {};
  assertStrictEquals(one, one);
  failing(() => assertStrictEquals({}, {}));
  assertNotStrictEquals({}, {});
  failing(() => assertNotStrictEquals(one, one));
});

Deno.test("assertExists takes all but null and undefined", () => {
  assertExists(0);
  assertExists("");
  failing(() => assertExists(null));
  contains(failing(() => assertExists(undefined, "gone")), "gone");
});

Deno.test("strings are searched", () => {
  assertStringIncludes("abc", "bc");
  contains(failing(() => assertStringIncludes("abc", "d")), '"d"');
  assertMatch("abc", /^a.c$/);
  contains(failing(() => assertMatch("abc", /d/)), "/d/");
});

Deno.test("numbers and bigints are compared", () => {
  assertGreater(2, 1);
  failing(() => assertGreater(1, 1));
  assertGreaterOrEqual(1n, 1n);
  failing(() => assertGreaterOrEqual(0n, 1n));
  assertLess(1, 2);
  failing(() => assertLess(NaN, 2));
  assertLessOrEqual(1, 1);
  contains(failing(() => assertLessOrEqual(2, 1, "high")), "high");
  assertAlmostEquals(0.1 + 0.2, 0.3);
  assertAlmostEquals(10, 11, 1);
  failing(() => assertAlmostEquals(10, 11.5, 1));
});

Deno.test("assertInstanceOf names both classes", () => {
  assertInstanceOf(new TypeError("x"), Error);
  const message = failing(() => assertInstanceOf(new Date(), Error));
  contains(message, "Error");
  contains(message, "Date");
  failing(() => assertInstanceOf(null, Error));
});

Deno.test("fail and unreachable always fail", () => {
  contains(failing(() => fail("why")), "why");
  failing(() => unreachable());
});

Deno.test("assertThrows gives back what was thrown", () => {
  const error = assertThrows(boom, TypeError, "boom");
  assertEquals(error.message, "A boom");
  assertEquals(
    assertThrows(() => {
      throw 1;
    }),
    1,
  );
  assertThrows(boom, "only a message");
  contains(failing(() => assertThrows(() => {})), "to throw");
  contains(failing(() => assertThrows(boom, RangeError)), "RangeError");
  contains(failing(() => assertThrows(boom, TypeError, "bang")), "bang");
  const notAnError = () => {
    throw 1;
  };
  failing(() => assertThrows(notAnError, Error));
});

Deno.test("assertRejects gives back the reason", async () => {
  const reject = () => Promise.reject(new TypeError("A boom"));
  const error = await assertRejects(reject, TypeError, "boom");
  assertEquals(error.message, "A boom");
  await assertRejects(reject, "only a message");
  const resolve = () => Promise.resolve();
  contains(await rejecting(() => assertRejects(resolve)), "to reject");
  contains(
    await rejecting(() => assertRejects(reject, RangeError)),
    "RangeError",
  );
  await rejecting(() => assertRejects(boom));
});
