// The state that both components have, at fixed addresses: what a warm revert brings back.
import { stateBase } from "./memory-map";

/** gateway: the last number issued; database: the last number recorded. */
export function counter(): u64 { return load<u64>(stateBase); }
export function setCounter(value: u64): void { store<u64>(stateBase, value); }
/** Lines written to the log of the data disk. */
export function lines(): u64 { return load<u64>(stateBase, 8); }
export function setLines(value: u64): void { store<u64>(stateBase, value, 8); }
/** Random at each boot. */
export function bootId(): u64 { return load<u64>(stateBase, 16); }
export function setBootId(value: u64): void { store<u64>(stateBase, value, 16); }
/** Prepared for a snapshot until this time of the guest's clock; 0: not prepared. */
export function preparedUntil(): i64 { return load<i64>(stateBase, 24); }
export function setPreparedUntil(value: i64): void { store<i64>(stateBase, value, 24); }
/** The file system (here: the log) is frozen by the driver. */
export function frozen(): bool { return load<u8>(stateBase, 32) != 0; }
export function setFrozen(value: bool): void { store<u8>(stateBase, value ? 1 : 0, 32); }
/** The first fault seen, one of the codes in fault.ts; 0: none. */
export function fault(): u32 { return load<u32>(stateBase, 36); }
export function setFault(code: u32): void { if (fault() == 0) store<u32>(stateBase, code, 36); }
/**
 * The nonce of the latest number: two numbers that are equal but were issued apart differ in it.
 */
export function nonce(): u64 { return load<u64>(stateBase, 40); }
export function setNonce(value: u64): void { store<u64>(stateBase, value, 40); }
/** gateway: the last number acknowledged. */
export function acknowledged(): u64 { return load<u64>(stateBase, 48); }
export function setAcknowledged(value: u64): void { store<u64>(stateBase, value, 48); }
/** gateway: the time of the last sending. */
export function sentAt(): i64 { return load<i64>(stateBase, 56); }
export function setSentAt(value: i64): void { store<i64>(stateBase, value, 56); }
/** Which half of the data disk holds the current log. */
export function logHalf(): u32 { return load<u32>(stateBase, 64); }
export function setLogHalf(value: u32): void { store<u32>(stateBase, value, 64); }
/** The peer's MAC address is known; it is at peerAddress. */
export function peerKnown(): bool { return load<u8>(stateBase, 68) != 0; }
export function setPeerKnown(): void { store<u8>(stateBase, 1, 68); }
export function forgetPeer(): void { store<u8>(stateBase, 0, 68); }
export const peerAddress: usize = stateBase + 72;

/** Nothing may be issued, recorded or written. */
export function standing(): bool { return preparedUntil() != 0 || frozen(); }
