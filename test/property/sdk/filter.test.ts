import { create } from '@bufbuild/protobuf';
import test from 'ava';
import fc from 'fast-check';
import { LifecycleOperationOccurrenceSchema } from '../../../gen/nfv/operation/v1/operation_occurrence_pb.js';
import { Code, isRpcError } from '../../../sdk/errors.ts';
import { parseFilter } from '../../../sdk/filter.ts';

const seed = Number(process.env.FC_SEED ?? 20261122);
const schema = LifecycleOperationOccurrenceSchema;
const quote = (text: string) => `'${text.replaceAll("'", "''")}'`;

test('filter: any text in quotes comes through whole', (t) => {
  t.notThrows(() =>
    fc.assert(
      fc.property(fc.string({ maxLength: 40 }), fc.string({ maxLength: 40 }), (id, other) => {
        const message = create(schema, { id });
        if (!parseFilter(schema, `(eq,id,${quote(id)})`)(message)) throw new Error('eq');
        const same = id === other;
        if (parseFilter(schema, `(in,id,${quote(other)},${quote(other)})`)(message) !== same)
          throw new Error('in');
        if (parseFilter(schema, `(neq,id,${quote(other)})`)(message) === same)
          throw new Error('neq');
      }),
      { seed, numRuns: 500 },
    ),
  );
});

test('filter: any text is parsed or refused with a position within it', (t) => {
  const pieces = fc.constantFrom(
    '(',
    ')',
    ',',
    ';',
    "'",
    '/',
    '~',
    '@key',
    'eq',
    'in',
    'id',
    'steps',
    'name',
    'error',
    '1',
  );
  const texts = fc.oneof(
    fc.string(),
    fc.array(pieces).map((parts) => parts.join('')),
  );
  t.notThrows(() =>
    fc.assert(
      fc.property(texts, (text) => {
        try {
          parseFilter(schema, text)(create(schema));
        } catch (error) {
          if (!isRpcError(error, Code.INVALID_ARGUMENT)) throw error;
          const position = Number(error.metadata.position);
          if (!(position >= 1 && position <= text.length + 1)) throw new Error(`at ${position}`);
        }
      }),
      { seed, numRuns: 5000 },
    ),
  );
});

test('filter: two expressions on one list hold together exactly when one element satisfies both', (t) => {
  const steps = fc.array(fc.record({ index: fc.nat({ max: 3 }), attempts: fc.nat({ max: 3 }) }));
  t.notThrows(() =>
    fc.assert(
      fc.property(steps, fc.nat({ max: 3 }), fc.nat({ max: 3 }), (list, index, attempts) => {
        const filter = `(eq,steps/index,${index});(gte,steps/attempts,${attempts})`;
        const found = parseFilter(schema, filter)(create(schema, { steps: list }));
        const expected = list.some((step) => step.index === index && step.attempts >= attempts);
        if (found !== expected) throw new Error(filter);
      }),
      { seed, numRuns: 500 },
    ),
  );
});
