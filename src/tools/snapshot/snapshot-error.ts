/** Why a file is not a saved guest that this version can read. */
export type SnapshotErrorCode =
  | 'not-a-snapshot'
  | 'other-architecture'
  | 'newer-version'
  | 'truncated'
  | 'too-large'
  | 'damaged'
  | 'malformed'

/** A saved guest cannot be read; the message is one line that says why. */
export class SnapshotError extends Error {
  readonly code: SnapshotErrorCode
  constructor(code: SnapshotErrorCode, because: string) {
    super(because)
    this.name = 'SnapshotError'
    this.code = code
  }
}
