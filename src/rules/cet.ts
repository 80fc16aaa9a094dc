import type { Rule } from './rule.ts'

/** Rules CET-*: CET and supervisor components. */
export const CET_RULES: readonly Rule[] = []
