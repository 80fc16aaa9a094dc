/** What the host does about split locks and bus locks (enum split_lock_detect_state). */
export type SplitLockMode = 'off' | 'warn' | 'fatal' | 'ratelimit'

/** Boot parameter `split_lock_detect=`, read. */
export interface SplitLockOption {
  readonly mode: SplitLockMode
  /** `ratelimit:N`: bus locks a second that the whole system may take; Infinity in every other mode. */
  readonly perSecond: number
}

/**
 * Reads `split_lock_detect=`: `off`, `warn`, `fatal`, `ratelimit:N` with 1 <= N <= 1000. Absent or not understood is `warn`.
 * SLD-13; Linux 6.12 arch/x86/kernel/cpu/intel.c sld_state_setup(), match_option().
 */
export function parseSplitLockOption(text: string | undefined): SplitLockOption {
  if (text === 'off' || text === 'warn' || text === 'fatal') return { mode: text, perSecond: Number.POSITIVE_INFINITY }
  // sscanf("%d"): what follows the number is not looked at.
  const limit = Number(/^ratelimit:([+-]?\d+)/.exec(text ?? '')?.[1] ?? 0)
  if (limit >= 1 && limit <= 1000) return { mode: 'ratelimit', perSecond: limit }
  return { mode: 'warn', perSecond: Number.POSITIVE_INFINITY }
}
