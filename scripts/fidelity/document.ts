import { basename } from 'node:path'
import type { Rule } from '../../src/rules/index.ts'
import { SLD_CHECKS } from '../../src/rules/sld.ts'
import { agreements, PROGRAMS } from './agreements.ts'
import type { Proof } from './proofs.ts'

/** docs/fidelity.md: every rule, what proves it, and what recorded it. */

/** Tests named for one rule; the others are counted. */
const SHOWN = 3

const SUBJECTS: readonly { readonly prefix: string; readonly title: string }[] = [
  { prefix: 'PERM', title: 'Components, permissions, XFD, frames' },
  { prefix: 'GFPU', title: "The guest's FPU" },
  { prefix: 'XSAVE', title: "KVM's XSAVE ioctls" },
  { prefix: 'CET', title: 'CET and supervisor components' },
  { prefix: 'SLD', title: 'Split-lock detection' },
]

/** Checks that a subject asks for beside its rules, by their IDs. */
export const CHECKS: readonly string[] = Array.from({ length: SLD_CHECKS }, (_, i) => `SLD-T${i + 1}`)

export interface Evidence {
  readonly rules: readonly Rule[]
  readonly proofs: readonly Proof[]
  /** Reason by rule. */
  readonly unmet: Readonly<Record<string, string>>
}

/** Rules of a subject that has rows; the others are not written down yet. */
export function subjectHasRows(rules: readonly Rule[], id: string): boolean {
  const prefix = id.replace(/-.*/, '-')
  return rules.some((rule) => rule.id.startsWith(prefix))
}

/** IDs that tests or the table of reasons name although no rule is called so. */
export function unknownIds({ rules, proofs, unmet }: Evidence): string[] {
  const known = new Set(rules.map(({ id }) => id))
  const complain = (id: string) => !known.has(id) && subjectHasRows(rules, id)
  const lines = proofs.flatMap(({ file, name, named }) => named.filter(complain).map((id) => `${file}: '${name}' names ${id}`))
  return [...lines, ...Object.keys(unmet).filter(complain)]
}

/** Rules without a test and without a reason. */
export function unproved({ rules, proofs, unmet }: Evidence): string[] {
  const proved = new Set(proofs.flatMap(({ ids }) => ids))
  return rules.map(({ id }) => id).filter((id) => !proved.has(id) && !(id in unmet))
}

/** Checks that no test makes. */
export function missingChecks({ proofs }: Evidence): string[] {
  const made = new Set(proofs.flatMap(({ checks }) => checks))
  return CHECKS.filter((id) => !made.has(id))
}

export function documentOf(evidence: Evidence): string {
  const { rules, proofs, unmet } = evidence
  const open = unproved(evidence)
  const lines = [
    '# What is modelled, and what proves it',
    '',
    'Every rule of extended state and of split locks that the model follows, the tests that prove it, and the recordings of real kernels',
    '(`npm run oracle`) or programs of the kernel (`npm run conformance`) that show it too. Written by `npm run fidelity` from',
    '`src/rules` and the names of the tests; `npm run fidelity -- --check` fails when it is not current. `npm run mutate` breaks',
    'the line behind a rule and expects its test to fail.',
    '',
    '| rules | in all | proved by tests | also recorded or in a kernel program | not met |',
    '|---|---|---|---|---|',
  ]
  const recorded = agreements()
  const proved = new Set(proofs.flatMap(({ ids }) => ids))
  for (const { prefix, title } of SUBJECTS) {
    const own = rules.filter(({ id }) => id.startsWith(`${prefix}-`))
    const count = (keep: (id: string) => boolean) => own.filter(({ id }) => keep(id)).length
    const figures = [own.length, count((id) => proved.has(id)), count((id) => recorded.has(id)), count((id) => id in unmet)]
    lines.push(`| ${prefix}: ${title} | ${figures.join(' | ')} |`)
  }
  for (const { prefix, title } of SUBJECTS) {
    const own = rules.filter(({ id }) => id.startsWith(`${prefix}-`))
    if (own.length === 0) continue
    lines.push('', `## ${prefix}: ${title}`, '', '| rule | says | proved by | agrees |', '|---|---|---|---|')
    for (const { id, says } of own) {
      const tests = testsOf(proofs, id)
      const agrees = (recorded.get(id) ?? []).map(asCode).join('<br>')
      lines.push(`| ${id} | ${asText(says)} | ${tests === '' ? 'not yet proved' : tests} | ${agrees} |`)
    }
    const checks = CHECKS.filter((id) => id.startsWith(`${prefix}-`))
    if (checks.length === 0) continue
    lines.push('', '| check | made by |', '|---|---|')
    for (const check of checks) lines.push(`| ${check} | ${linksTo(proofs.filter((proof) => proof.checks.includes(check)))} |`)
  }
  lines.push('', '## Not met', '')
  const reasons = Object.entries(unmet).map(([id, reason]) => `- ${id}: ${reason}`)
  if (open.length > 0) reasons.push(`- No test yet: ${open.join(', ')}.`)
  lines.push(...(reasons.length === 0 ? ['None.'] : reasons), '')
  return lines.join('\n')
}

const testsOf = (proofs: readonly Proof[], id: string): string => linksTo(proofs.filter(({ ids }) => ids.includes(id)))

/** `permissions.test.ts`: a name; another name. At most a few of them. */
function linksTo(own: readonly Proof[]): string {
  // A test that names few rules is about this one.
  const shown = [...own].sort((a, b) => a.ids.length - b.ids.length).slice(0, SHOWN)
  const byFile = new Map<string, string[]>()
  for (const { file, name } of shown) byFile.set(file, [...(byFile.get(file) ?? []), asText(name)])
  const lines = [...byFile].map(([file, names]) => `[${basename(file)}](../${file}): ${names.join('; ')}`)
  if (own.length > SHOWN) lines.push(`and ${own.length - SHOWN} more`)
  return lines.join('<br>')
}

const asCode = (by: string): string => (PROGRAMS.some((program) => program.by === by) ? `\`${by}\`` : by)

const asText = (text: string): string => text.replace(/[|<>*`\\]/g, (c) => `\\${c}`).replace(/\s+/g, ' ')
