/** Why a file is not a program this host can run. */
export type ProgramErrorCode =
  | 'not-found'
  | 'is-directory'
  | 'not-readable'
  | 'not-elf'
  | 'truncated'
  | 'not-x86-64'
  | 'not-executable-type'
  | 'dynamic'
  | 'bad-program-headers'
  | 'bad-segment'
  | 'no-memory'
  | 'arguments-too-long'

/** A program cannot be started; one sentence says why. Thrown by `spawn`; execve turns it into an errno. */
export class ProgramError extends Error {
  readonly code: ProgramErrorCode
  readonly path: string
  /** What execve(2) returns for it, negative. */
  readonly errno: number

  constructor(code: ProgramErrorCode, path: string, because: string, errno: number) {
    super(`${path}: ${because}`)
    this.name = 'ProgramError'
    this.code = code
    this.path = path
    this.errno = errno
  }
}
