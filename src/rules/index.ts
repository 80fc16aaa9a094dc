import { CET_RULES } from './cet.ts'
import { GFPU_RULES } from './gfpu.ts'
import { PERM_RULES } from './perm.ts'
import type { Rule } from './rule.ts'
import { SLD_RULES } from './sld.ts'
import { XSAVE_RULES } from './xsave.ts'

export type { Rule } from './rule.ts'

/** Every rule, in the order of the specification: extended state, then split locks. */
export const rules: readonly Rule[] = [...PERM_RULES, ...GFPU_RULES, ...XSAVE_RULES, ...CET_RULES, ...SLD_RULES]

/** The rule called `id` (`XSAVE-18`), undefined for one that is not of this subject. */
export function ruleById(id: string): Rule | undefined {
  return rules.find((rule) => rule.id === id)
}
