import type { Rule } from './rule.ts'

/** Rules GFPU-*: the guest FPU. */
export const GFPU_RULES: readonly Rule[] = []
