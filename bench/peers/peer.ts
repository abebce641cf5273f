/**
 * A tool that can make a package of a disk image, and what else it can do. All texts are `sh`
 * scripts over `$IMAGE` (the image), `$NEXT` (a later version of it), `$MAP` (changed-block map)
 * and `$W` (the peer's own folder). A script whose tool does not sync what it writes does so
 * itself, so that all end in the same state; nothing may be written outside of `$W`.
 */
export type Peer = {
  id: string;
  title: string;
  isOurs?: boolean;
  needs: readonly string[];
  /** Before `pack`, not measured. */
  prepare?: string;
  /** Packs `$IMAGE`. */
  pack?: string;
  /** Restores what `pack` made to `$W/back/image`, durably. */
  unpack?: string;
  /** Reads everything back that `pack` made and checks it. */
  verify?: string;
  next?: Next;
  pair?: Pair;
  /** The peer whose `pack` is the same, so that what it made serves both. */
  sharesPackOf?: string;
  roundsMax?: number;
};

/** Packing `$NEXT` after the peer packed `$IMAGE`. */
export type Next = {
  /** What the peer needs of `pack` before; absent: nothing. */
  needsPack: boolean;
  prepare?: string;
  pack: string;
  /** Restores `$NEXT` to `$W/back/image`. */
  unpack: string;
};

/** Packing `$IMAGE` and `$OTHER` together, then restoring only `$OTHER` to `$W/back/image`. */
export type Pair = { pack: string; unpack: string };
