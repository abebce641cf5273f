// Where things are in linear memory. Literals and constants of the compiler are below 64 KiB; above
// it, these.

/** The component's own state, see state.ts. */
export const stateBase: usize = 0x10000;
/** A line read from the VNF channel, at most lineBytesMax. */
export const requestBase: usize = 0x11000;
/** A line being written. */
export const textBase: usize = 0x13000;
/** An Ethernet frame received. */
export const receiveBase: usize = 0x15000;
/** An Ethernet frame being sent. */
export const sendBase: usize = 0x16000;
/** A block of the disk. */
export const blockBase: usize = 0x20000;
/** Records of the latest numbers: the component's working set. */
export const tableBase: usize = 0x80000;
/** 32768 records of 32 bytes. */
export const tableRecords: u64 = 32768;

export const lineBytesMax: i32 = 4096;
