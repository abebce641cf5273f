// What a component may find out about the other: each is a broken invariant, kept in memory for
// good.

/** The other component knows a number that this one has not issued. */
export const faultFuture: u32 = 1;
/** A number came that is older than what was recorded. */
export const faultPast: u32 = 2;
/** A number came that skips others. */
export const faultGap: u32 = 3;
/** A number came again with another content: it was issued twice. */
export const faultTwice: u32 = 4;
/** The data disk failed. */
export const faultDisk: u32 = 5;

export function faultText(code: u32): string {
  if (code == faultFuture) return "sequence from the future";
  if (code == faultPast) return "sequence from the past";
  if (code == faultGap) return "gap in the sequence";
  if (code == faultTwice) return "sequence issued twice";
  return "disk failed";
}
