import { MSR_TEST_CTRL } from '../../../isa/msr-index.ts'
import { registerCallOut } from '../../translate/call-outs.ts'

const VECTOR_AC = 17
/** MSR_TEST_CTRL[29]: split locks raise #AC. */
const SPLIT_LOCK_DETECTION = 1n << 29n

/**
 * Assist: a locked access crosses a cache line. [SLD-02] With detection on it raises #AC(0) at any privilege level, before
 * memory changes; [SLD-03] else it goes on (returns 0).
 */
registerCallOut('split-lock', (p) => {
  if (((p.msrs.get(MSR_TEST_CTRL) ?? 0n) & SPLIT_LOCK_DETECTION) === 0n) return 0
  p.raise(VECTOR_AC, 0, 'split lock')
  return 1
})
