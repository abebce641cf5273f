/** Every bound of the kernel, with its unit and its reason. Tests make the times shorter. */
export const kernelLimits = {
  /** More plugins than a site has functional blocks and drivers; bounds every list. */
  pluginsMax: 256,
  /** Plugins that a call may pass; the longest real chain has five. */
  hopsMax: 8,
  /** A plugin outside that does not finish its handshake in this time counts as down. */
  startMs: 15_000,
  /** How often a plugin outside is probed. */
  probeIntervalMs: 2_000,
  /** How long a probe may take; a busy machine needs more than the two seconds promised. */
  probeMs: 5_000,
  /** Probes in a row without an answer, after which a plugin counts as down. */
  probeMissesMax: 3,
  /** The first wait before a plugin is started or reached again; doubled each time. */
  backoffMsMin: 200,
  /** The longest wait. */
  backoffMsMax: 10_000,
  /** Starts in a row that did not last, after which a child process is given up. */
  restartsInARowMax: 10,
  /** A child that ran this long counts as having started well. */
  steadyMs: 60_000,
  /** How long running calls may go on when the kernel drains and nobody says otherwise. */
  drainMs: 10_000,
  /**
   * Streams of responses may have no end, so a drain breaks them off after this time; they resume
   * elsewhere.
   */
  drainStreamsMs: 1_000,
  /** How long one plugin may take to stop: to finish or give back what must not be left half done. */
  stopMs: 20_000,
};

export type KernelLimits = typeof kernelLimits;
