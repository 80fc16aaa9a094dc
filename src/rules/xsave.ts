import type { Rule } from './rule.ts'

/** Rules XSAVE-*: KVM's XSAVE ioctls. */
export const XSAVE_RULES: readonly Rule[] = []
