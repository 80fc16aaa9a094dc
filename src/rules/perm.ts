import type { Rule } from './rule.ts'

/** Rules PERM-*: components, layout, permissions, XFD, frames. */
export const PERM_RULES: readonly Rule[] = []
