/**
 * The procedures are written down as for direct resource management; this says what the same steps are called in
 * indirect mode, where the report has a clause of its own and other numbers for the same order of steps.
 */
import type { JsonValue } from '@bufbuild/protobuf';
import type { OperationDefinition, PlanItem, Step } from '../../../sdk/operations/engine.ts';

type Clause = { clause: string; steps: Readonly<Record<string, string>> };

/** GR NFV-TST 005: the clause and step of indirect mode for those of direct mode. */
const indirect: Readonly<Record<string, Clause>> = {
  '6.4.1': {
    clause: '6.4.2',
    steps: {
      ...{ '5': '5', '9': '11', '13': '17', '17': '23', '21': '29' },
      ...{ '25': '35', '26': '36', '30': '42', '34': '48', '38': '54' },
    },
  },
  '6.4.3': {
    clause: '6.4.4',
    steps: { '5': '5', '9': '11', '13': '17', '17': '23', '21': '29', '25': '35', '29': '41' },
  },
  '6.6.1': { clause: '6.6.2', steps: { '2': '2', '4': '4-5', '5': '6-7' } },
  '6.6.3': { clause: '6.6.4', steps: { '2': '2', '4': '4-5', '5': '6-7' } },
};

/** True for the clauses that revert a VNFC, in either mode. */
export function isVnfcReversion(clause: string): boolean {
  return clause === '6.4.3' || clause === '6.4.4';
}

/** The same operation, told as in indirect mode. */
export function inIndirectMode<Input extends JsonValue>(
  definition: OperationDefinition<Input>,
): OperationDefinition<Input> {
  return { ...definition, plan: (input) => definition.plan(input).map(item) };
}

function item<Input extends JsonValue>(planned: PlanItem<Input>): PlanItem<Input> {
  if ('chains' in planned) return { chains: planned.chains.map((chain) => chain.map(told)) };
  return told(planned);
}

function told<Input extends JsonValue>(step: Step<Input>): Step<Input> {
  const { clause, clauseStep = '', extend } = step;
  const other = indirect[clause];
  // One call may carry out two steps: "17, 21".
  const numbers = clauseStep.split(', ').map((number) => other?.steps[number]);
  return {
    ...step,
    ...(other && clauseStep !== '' && { clause: other.clause, clauseStep: numbers.join(', ') }),
    ...(step.callee === 'vim' && { via: 'nfvo' }),
    ...(extend && {
      extend: (output: JsonValue | undefined, input: Input) => extend(output, input).map(item),
    }),
  };
}
