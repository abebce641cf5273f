// What the wasmvm driver offers to its guests: the "hardware". The names are the imports of
// namespace "vm". An address or a length outside of memory, or an index of a device that is not
// there, ends the guest.

/** How many disks there are, in the order of their attachment. */
@external("vm", "disk_count") export declare function diskCount(): i32;
/** The size of a disk in bytes. */
@external("vm", "disk_size") export declare function diskSize(disk: i32): i64;
/** Reads; 0, or -1 when the host failed. */
@external("vm", "disk_read")
export declare function diskRead(disk: i32, offset: i64, target: usize, length: i32): i32;
/** Writes into the host's cache, durable after diskFlush; 0, or -1 when the host failed. */
@external("vm", "disk_write")
export declare function diskWrite(disk: i32, offset: i64, source: usize, length: i32): i32;
/** Makes all writes durable; 0, or -1 when the host failed. */
@external("vm", "disk_flush") export declare function diskFlush(disk: i32): i32;

/** How many network interfaces there are. */
@external("vm", "net_count") export declare function netCount(): i32;
/** Writes the 6 bytes of an interface's MAC address. */
@external("vm", "net_mac") export declare function netMac(index: i32, target: usize): void;
/** Sends an Ethernet frame of 14 to 1514 bytes. Frames may be lost, never repeated or reordered. */
@external("vm", "net_send")
export declare function netSend(index: i32, source: usize, length: i32): void;
/**
 * Takes the next received frame, cut to `capacity`; returns its length, or -1 when there is none.
 */
@external("vm", "net_receive")
export declare function netReceive(index: i32, target: usize, capacity: i32): i32;

/** Milliseconds since boot, by the guest's own ticks: they stand still while the guest does. */
@external("vm", "clock_ms") export declare function clockMs(): i64;
/** 64 random bits from the guest's own generator, whose state is part of snapshots. */
@external("vm", "random") export declare function random(): i64;
/** Writes a line to the console. */
@external("vm", "log") export declare function consoleLog(source: usize, length: i32): void;

/**
 * Takes the next line from the VNF channel without its line end; returns its length, or -1 when
 * there is none.
 */
@external("vm", "channel_read")
export declare function channelRead(target: usize, capacity: i32): i32;
/** Sends a line to the VNF channel. */
@external("vm", "channel_write")
export declare function channelWrite(source: usize, length: i32): void;

/** Reads a guest parameter, cut to `capacity`; returns its length, or -1 when it was not given. */
@external("vm", "parameter")
export declare function parameter(key: usize, keyLength: i32, target: usize, capacity: i32): i32;
/** Reads the generation id, which changes with every revert; returns its length. */
@external("vm", "generation") export declare function generation(target: usize, capacity: i32): i32;
/** Switches the machine off at the end of this tick. */
@external("vm", "power_off") export declare function powerOff(): void;
