import type { Asked, Gate, Refusal, Side } from '../linux/refusal.ts'
import { ruleById } from '../rules/index.ts'

/** Refusals for people and for programs. */

const hex = (value: bigint): string => `0x${value.toString(16)}`

/** Masks in hex with the names of their bits; counts and single bits as numbers. */
const valueText = (value: bigint, names: readonly string[]): string =>
  names.length === 0 ? (value < 10n ? String(value) : hex(value)) : `${hex(value)} (${names.join(' ')})`

const sideText = ({ name, value, names }: Side): string =>
  `${name}: ${name.endsWith(', bytes') ? String(value) : valueText(value, names)}`

/** Numbers of things are decimal, values of registers and addresses are not. */
const DECIMAL = new Set<Asked['kind']>(['component', 'list', 'stack'])
const askedValue = ({ kind, value }: Asked): string =>
  value === null ? '' : ` = ${DECIMAL.has(kind) ? String(value) : valueText(value, [])}`

const MARK: Readonly<Record<Gate['verdict'], string>> = { passed: 'ok', trapped: 'trap', refused: 'NO' }

const gateText = ({ gate, what, value, verdict }: Gate): string =>
  `${MARK[verdict].padEnd(4)} ${gate}: ${what} = ${what.endsWith(', bytes') ? String(value) : valueText(value, [])}`

/**
 * The lines that `--explain` prints below the sentence, without indentation: what was asked, the bits, both sides, the chain of gates, and
 * the rule in its own words.
 */
export function explainRefusal(reason: Refusal): string[] {
  const { asked, bits, sides, chain, rule } = reason
  const lines: string[] = []
  if (asked !== null) lines.push(`asked: ${asked.kind} ${asked.name}${askedValue(asked)}`)
  if (bits !== null) lines.push(`bits: ${valueText(bits.mask, bits.names)}`)
  for (const side of sides) lines.push(sideText(side))
  for (const gate of chain) lines.push(gateText(gate))
  const says = ruleById(rule)?.says
  if (says !== undefined) lines.push(`${rule}: ${says}`)
  return lines
}

type Json = null | string | number | readonly Json[] | { readonly [name: string]: Json }

/** The object as JSON has it: 64-bit values are hex strings. */
export function refusalJson(reason: Refusal): { readonly [name: string]: Json } {
  const { outcome, errno, rule, asked, bits, sides, chain, sentence } = reason
  return {
    outcome,
    errno,
    rule,
    asked: asked === null ? null : { ...asked, value: asked.value === null ? null : hex(asked.value) },
    bits: bits === null ? null : { mask: hex(bits.mask), names: bits.names },
    sides: sides.map(({ name, value, names }) => ({ name, value: hex(value), names })),
    chain: chain.map(({ gate, what, value, verdict }) => ({ gate, what, value: hex(value), verdict })),
    sentence,
  }
}
