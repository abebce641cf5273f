/**
 * The durable operations engine: procedures that never half-happen.
 *
 *     const createSnapshot: OperationDefinition<{ vnfInstanceId: string; snapshotId: string }> = {
 *       name: 'create-snapshot',
 *       operation: OperationType.CREATE_SNAPSHOT,
 *       onFailure: 'rollback',
 *       plan: (input) => [
 *         { name: 'grant', clause: '6.5.1', clauseStep: '3', caller: 'vnfm', callee: 'nfvo', starting: true,
 *           run: async (context) => { context.grant((await nfvo.grant({…}, { signal: context.signal })).grantId); } },
 *         { name: 'select', clause: 'Micromano', caller: 'vnfm', callee: 'vnfm',
 *           run: async () => ({ vnfcs: ['a', 'b'] }),
 *           // The VNFCs are known only now. A pure function: it is called again after a restart.
 *           extend: (output) => {
 *             const { vnfcs } = output as { vnfcs: string[] };
 *             return [
 *               parallel(vnfcs.map((vnfc) => hold(vnfc))),
 *               parallel(vnfcs.map((vnfc) => capture(vnfc))),
 *               { name: 'release', …, phase: 'release', always: true, releases: vnfcs.map((vnfc) => `hold ${vnfc}`),
 *                 run: async (context) => {…} },
 *             ];
 *           } },
 *       ],
 *       // In the transaction that records the state: the snapshot becomes visible, or vanishes, with it.
 *       stateChanged: async (tx, { to, input }) => {
 *         if (to === OperationState.ROLLED_BACK) await tx.collection(snapshots).delete(input.snapshotId);
 *       },
 *     };
 *     const hold = (vnfc: string): Step<…> => ({
 *       name: `hold ${vnfc}`, clause: '6.5.1', clauseStep: '5', caller: 'vnfm', callee: 'vim', phase: 'hold',
 *       vnfcInstanceId: vnfc, hold: true, deadlineMs: 10_000,
 *       run: async (context) => ({ leaseId: (await vim.hold({ operationId: context.operationId,
 *         stepId: context.stepId, … }, { signal: context.signal })).lease!.leaseId }),
 *       compensate: async (context) => { await vim.release({…}, { signal: context.signal }); },
 *     });
 *
 *     const engine = new OperationEngine({ store, clock, logger, definitions: [createSnapshot] });
 *     await engine.start();                                    // takes up what a crash left open
 *     const { id } = await engine.accept({
 *       definition: 'create-snapshot', input: { vnfInstanceId, snapshotId }, key: vnfInstanceId, vnfInstanceId,
 *       request: { id: request.requestId, method: 'CreateVnfSnapshot', body: toBinary(Schema, request) },
 *       record: async (tx, operationId) => { await tx.collection(snapshots).insert(snapshotId, snapshot); },
 *     });                                                      // durable; the work goes on in the background
 *     for await (const occurrence of engine.watch(id)) …       // or: await engine.finished(id)
 *     services: [operationOccurrenceService(engine)]           // from ./service.ts
 *     await engine.stop();                                     // steps are interrupted and stay resumable
 *
 * Order of events. `accept` commits the occurrence (STARTING), the lock on `key`, the request id and the caller's
 * records in one transaction. Starting steps run; then PROCESSING. A step's intent is committed before `run`, its
 * output with its end. COMPLETED when all steps are done. On failure: pending `always` steps run, open holds are
 * compensated, then by `onFailure` ROLLING_BACK (compensations in reverse order) → ROLLED_BACK, or FAILED_TEMP.
 * A failure of a starting step → ROLLED_BACK. FAILED_TEMP keeps the lock until Retry, Rollback or Fail.
 * After a crash an open step is run again with `resumed: true`; but if something was held and not yet on its way
 * to be released, it is released and the operation is rolled back.
 */
export { type OperationDefinition, parallel, type Step, sequence } from './definition.ts';
