/** The MSR exists but this access is refused: #GP, or reason 1 of an MSR exit. */
export const INVALID = 1
/** There is no such MSR: #GP, or reason 2. */
export const UNSUPPORTED = 2
export type MsrFailure = typeof INVALID | typeof UNSUPPORTED
