/**
 * The steps of the procedures of GR NFV-TST 005 V1.1.1 clauses 6.4 to 6.7, written down by hand from the text: its
 * numbers leave room for messages that only a figure shows. Wording is ours.
 */

/** Who takes part. "sender" is whoever asks: EM, OSS/BSS, NFVO or the VNFM itself. */
export type Block = 'sender' | 'vnfm' | 'nfvo' | 'vim' | 'vnf';

export type ReportStep = {
  /** The number in the text, for example "13" or "4-5". */
  number: string;
  from: Block;
  /** Whom it addresses; the same as `from` for what a block does within itself. */
  to: Block;
  /** Who passes it on, in indirect mode. */
  via?: Block;
  /** The report says "optionally" or "conditionally". */
  optional?: boolean;
  what: string;
};

export type Procedure = { title: string; steps: readonly ReportStep[] };

type Row = readonly [
  number: string,
  from: Block,
  to: Block,
  need: 'always' | 'optional',
  what: string,
];

function steps(rows: readonly Row[], via?: Block): ReportStep[] {
  return rows.map(([number, from, to, need, what]) => ({
    ...{ number, from, to, what },
    ...(need === 'optional' && { optional: true }),
    ...(via && from === 'vnfm' && to === 'vim' && { via }),
  }));
}

const ask: Row = ['1', 'sender', 'vnfm', 'always', 'asks, naming what the action is about'];

/** The opening of 6.4.1 to 6.4.4. */
const opening: readonly Row[] = [
  ask,
  ['2', 'vnfm', 'vnfm', 'always', 'decides from the request and what it knows of the VNF now'],
  ['3', 'vnfm', 'nfvo', 'optional', 'asks for a grant'],
  ['4', 'nfvo', 'vnfm', 'optional', 'grants'],
];

function createVnfc(numbers: readonly string[]): readonly Row[] {
  const [stop, detach, quiesce, compute, volume, save, unquiesce, attach, start, answer] = numbers;
  return [
    ...opening,
    [stop!, 'vnfm', 'vim', 'optional', 'stops or shuts down the compute resource'],
    [detach!, 'vnfm', 'vim', 'optional', 'detaches the volume'],
    [quiesce!, 'vnfm', 'vim', 'optional', 'quiesces the compute resource'],
    [compute!, 'vnfm', 'vim', 'optional', 'takes the snapshot, with or without memory'],
    [volume!, 'vnfm', 'vim', 'optional', 'takes the snapshot of the volume'],
    [save!, 'vnfm', 'vnfm', 'always', 'creates and saves the VNFC snapshot'],
    [unquiesce!, 'vnfm', 'vim', 'optional', 'unquiesces the compute resource'],
    [attach!, 'vnfm', 'vim', 'optional', 'attaches the volume'],
    [start!, 'vnfm', 'vim', 'optional', 'starts the compute resource'],
    [answer!, 'vnfm', 'sender', 'always', 'answers'],
  ];
}

function revertVnfc(numbers: readonly string[]): readonly Row[] {
  const [stop, detach, compute, volume, attach, start, answer] = numbers;
  return [
    ...opening,
    [stop!, 'vnfm', 'vim', 'optional', 'stops or shuts down the compute resource'],
    [detach!, 'vnfm', 'vim', 'optional', 'detaches the volume'],
    [compute!, 'vnfm', 'vim', 'optional', 'reverts the compute resource'],
    [volume!, 'vnfm', 'vim', 'optional', 'reverts the storage resource'],
    [attach!, 'vnfm', 'vim', 'optional', 'attaches the volume'],
    [start!, 'vnfm', 'vim', 'optional', 'starts the compute resource'],
    [answer!, 'vnfm', 'sender', 'always', 'tells the sender that it is done'],
  ];
}

function vnfcPackage(request: string, answer: string, what: string): readonly Row[] {
  return [
    ['1', 'vnfm', 'vnfm', 'always', `decides to ${what} the VNFC snapshot package`],
    ['2', 'vnfm', 'nfvo', 'optional', 'asks for a grant'],
    ['3', 'nfvo', 'vnfm', 'optional', 'grants'],
    [request, 'vnfm', 'vim', 'always', `asks the VIM to ${what} the VNFC snapshot package`],
    [answer, 'vim', 'vnfm', 'always', 'answers'],
  ];
}

const granted: readonly Row[] = [
  ask,
  ['2', 'vnfm', 'nfvo', 'optional', 'asks for a grant'],
  ['3', 'nfvo', 'vnfm', 'optional', 'grants'],
];

const answered: Row = ['5', 'vnfm', 'sender', 'always', 'answers'];

export const procedures: Readonly<Record<string, Procedure>> = {
  '6.4.1': {
    title: 'Create VNFC snapshot, direct',
    steps: steps(createVnfc(['5', '9', '13', '17', '21', '25', '26', '30', '34', '38'])),
  },
  '6.4.2': {
    title: 'Create VNFC snapshot, indirect',
    steps: steps(createVnfc(['5', '11', '17', '23', '29', '35', '36', '42', '48', '54']), 'nfvo'),
  },
  '6.4.3': {
    title: 'Revert to VNFC snapshot, direct',
    steps: steps(revertVnfc(['5', '9', '13', '17', '21', '25', '29'])),
  },
  '6.4.4': {
    title: 'Revert to VNFC snapshot, indirect',
    steps: steps(revertVnfc(['5', '11', '17', '23', '29', '35', '41']), 'nfvo'),
  },
  '6.5.1': {
    title: 'Create VNF snapshot',
    steps: steps([
      ask,
      ['2', 'vnfm', 'vnfm', 'always', 'reads what the VNF is now; is a snapshot needed, possible?'],
      ['3', 'vnfm', 'nfvo', 'optional', 'asks for a grant'],
      ['4', 'nfvo', 'vnfm', 'optional', 'grants'],
      ['5', 'vnfm', 'vnf', 'optional', 'tells of the snapshot and the VNFCs that it concerns'],
      ['6', 'vnf', 'vnf', 'optional', 'prepares'],
      ['7', 'vnf', 'vnfm', 'optional', 'answers'],
      ['8', 'vnfm', 'vnfm', 'always', 'for each VNFC: clause 6.4.1 or 6.4.2'],
      ['9', 'vnfm', 'vnfm', 'always', 'creates and saves the VNF snapshot'],
      ['10', 'vnfm', 'vnf', 'optional', 'tells of the end'],
      ['11', 'vnf', 'vnf', 'optional', 'goes back to normal operation'],
      ['12', 'vnf', 'vnfm', 'optional', 'answers'],
      ['13', 'vnfm', 'vnfm', 'always', 'does what was asked for'],
      ['14', 'vnfm', 'sender', 'always', 'answers with the id of the snapshot'],
    ]),
  },
  '6.5.2': {
    title: 'Revert to VNF snapshot',
    steps: steps([
      ask,
      [
        '2',
        'vnfm',
        'vnfm',
        'always',
        'reads what the VNF is now; is a reversion needed, possible?',
      ],
      ['3', 'vnfm', 'nfvo', 'optional', 'asks for a grant'],
      ['4', 'nfvo', 'vnfm', 'optional', 'grants'],
      ['5', 'vnfm', 'vnf', 'optional', 'tells of the reversion and the VNFCs that it concerns'],
      ['6', 'vnf', 'vnf', 'optional', 'prepares'],
      ['7', 'vnf', 'vnfm', 'optional', 'answers'],
      ['8', 'vnfm', 'vnfm', 'always', 'for each VNFC: clause 6.4.3 or 6.4.4'],
      ['9', 'vnfm', 'vnf', 'optional', 'tells of the end'],
      ['10', 'vnf', 'vnf', 'optional', 'goes back to normal operation'],
      ['11', 'vnf', 'vnfm', 'optional', 'answers'],
      ['12', 'vnfm', 'vnfm', 'always', 'does what was asked for'],
      ['13', 'vnfm', 'sender', 'always', 'tells the sender that it is done'],
    ]),
  },
  '6.6.1': {
    title: 'Create VNFC snapshot package, direct',
    steps: steps(vnfcPackage('4', '5', 'create')),
  },
  '6.6.2': {
    title: 'Create VNFC snapshot package, indirect',
    steps: steps(vnfcPackage('4-5', '6-7', 'create'), 'nfvo'),
  },
  '6.6.3': {
    title: 'Extract VNFC snapshot package, direct',
    steps: steps(vnfcPackage('4', '5', 'extract')),
  },
  '6.6.4': {
    title: 'Extract VNFC snapshot package, indirect',
    steps: steps(vnfcPackage('4-5', '6-7', 'extract'), 'nfvo'),
  },
  '6.7.1': {
    title: 'Create VNF snapshot package',
    steps: steps([
      ask,
      ['2', 'vnfm', 'vnfm', 'always', 'identifies the parameters'],
      ['3', 'vnfm', 'nfvo', 'optional', 'asks for a grant'],
      ['4', 'nfvo', 'vnfm', 'optional', 'grants'],
      // The text names 6.6.1 alone; in indirect mode it can only be 6.6.2.
      ['5', 'vnfm', 'vnfm', 'always', 'for each VNFC: clause 6.6.1 or 6.6.2'],
      ['6', 'vnfm', 'vnfm', 'always', 'compiles the files of the VNF snapshot package'],
      ['7', 'vnfm', 'vnfm', 'always', 'puts the package where packages are stored'],
      ['8', 'vnfm', 'sender', 'always', 'answers'],
    ]),
  },
  '6.7.2': {
    title: 'Extract VNF snapshot package',
    steps: steps([
      ...granted,
      ['4', 'vnfm', 'vnfm', 'always', 'downloads the VNF snapshot package'],
      ['5', 'vnfm', 'vnfm', 'always', 'stores the VNFC snapshot packages and the meta-data'],
      // The text says 6.6.2; what extracts is 6.6.3 and 6.6.4.
      ['6', 'vnfm', 'vnfm', 'always', 'for each VNFC: clause 6.6.3 or 6.6.4'],
      ['7', 'vnfm', 'sender', 'always', 'answers'],
    ]),
  },
  '6.7.3': {
    title: 'Export VNF snapshot package',
    steps: steps([
      ...granted,
      ['4', 'vnfm', 'vnfm', 'always', 'transfers the files to the place named in the request'],
      answered,
    ]),
  },
  '6.7.4': {
    title: 'Import VNF snapshot package',
    steps: steps([
      ...granted,
      ['4', 'vnfm', 'vnfm', 'always', 'transfers the files from the place named in the request'],
      answered,
    ]),
  },
  '6.7.5': {
    title: 'Query VNF snapshot package information',
    steps: steps([
      ...granted,
      ['4', 'vnfm', 'vnfm', 'always', 'gets what satisfies the filter'],
      answered,
    ]),
  },
  '6.7.6': {
    title: 'Delete VNF snapshot package',
    steps: steps([
      ...granted,
      ['4', 'vnfm', 'vnfm', 'always', 'deletes the information on the package'],
      answered,
    ]),
  },
};
