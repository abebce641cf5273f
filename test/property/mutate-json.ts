import fc from 'fast-check';

/** What is done at one place of a JSON value: another value there, or the place taken out. */
export type JsonEdit = { place: number; value?: fc.JsonValue };

const edges = [null, true, 0, -1, 0.5, 1e300, Number.MAX_SAFE_INTEGER, '', '\u0000', [], {}];

/** One to three edits. */
export const jsonEdits: fc.Arbitrary<JsonEdit[]> = fc.array(
  fc.record(
    {
      place: fc.nat(),
      value: fc.oneof(fc.constantFrom<fc.JsonValue>(...edges), fc.jsonValue()),
    },
    { requiredKeys: ['place'] },
  ),
  { minLength: 1, maxLength: 3 },
);

/** A copy with the edits made. Place 0 is the value itself, the others are its parts. */
export function editJson(value: unknown, edits: readonly JsonEdit[]): unknown {
  const root = { value: structuredClone(value) };
  for (const edit of edits) {
    const places = placesOf(root);
    const [holder, key] = places[edit.place % places.length]!;
    if ('value' in edit) holder[key] = edit.value;
    else if (Array.isArray(holder)) holder.splice(Number(key), 1);
    else delete holder[key];
    if (!('value' in root)) return null;
  }
  return root.value;
}

type Holder = Record<string, unknown>;

function placesOf(holder: object): [Holder, string][] {
  return Object.entries(holder).flatMap(([key, value]): [Holder, string][] => [
    [holder as Holder, key],
    ...(typeof value === 'object' && value !== null ? placesOf(value) : []),
  ]);
}
