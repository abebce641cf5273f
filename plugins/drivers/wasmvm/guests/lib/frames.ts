// The messages between the components: Ethernet frames of a type of their own, little-endian.
//   14 kind u8 (1: number, 2: acknowledgement), 15 zero u8, 16 number u64, 24 nonce u64,
//   32 counter of the sender u64
import { netCount, netMac, netReceive, netSend } from "./vm";
import { receiveBase, sendBase } from "./memory-map";
import { peerAddress, peerKnown, setPeerKnown } from "./state";

export const kindNumber: u8 = 1;
export const kindAcknowledgement: u8 = 2;
const frameBytes: i32 = 40;
/** EtherType 0x88B5, set aside for local experiments, in network order. */
const etherType: u16 = 0xb588;

/** Sends a message to the peer; to everybody as long as the peer is not known. */
export function send(kind: u8, number: u64, nonce: u64, counter: u64): void {
  if (netCount() == 0) return;
  if (peerKnown()) memory.copy(sendBase, peerAddress, 6);
  else memory.fill(sendBase, 0xff, 6);
  netMac(0, sendBase + 6);
  store<u16>(sendBase, etherType, 12);
  store<u8>(sendBase, kind, 14);
  store<u8>(sendBase, 0, 15);
  store<u64>(sendBase, number, 16);
  store<u64>(sendBase, nonce, 24);
  store<u64>(sendBase, counter, 32);
  netSend(0, sendBase, frameBytes);
}

/** Takes the next message of this kind; false when there is none. Others are dropped. */
export function receive(kind: u8): bool {
  if (netCount() == 0) return false;
  for (;;) {
    const length = netReceive(0, receiveBase, 1514);
    if (length < 0) return false;
    if (length != frameBytes || load<u16>(receiveBase, 12) != etherType) continue;
    if (load<u8>(receiveBase, 14) != kind) continue;
    memory.copy(peerAddress, receiveBase + 6, 6);
    setPeerKnown();
    return true;
  }
}

export function receivedNumber(): u64 { return load<u64>(receiveBase, 16); }
export function receivedNonce(): u64 { return load<u64>(receiveBase, 24); }
export function receivedCounter(): u64 { return load<u64>(receiveBase, 32); }
