import { xfeatures } from '../isa/xfeatures.ts'

/**
 * Why something was refused: data first, a sentence last. The same object is what errors of the library carry, what `--explain` prints
 * and what traces and tests compare, so its field names are stable. It is made when something is refused, never before.
 */
export interface Refusal {
  /** What came of it, as the field writes it: `EPERM`, `SIGILL`, `#GP(0)`, `#NM`. */
  readonly outcome: string
  /** Error number of the call; 0 where the refusal is an exception or a signal. */
  readonly errno: number
  /** ID of the rule that refused: `PERM-23`. */
  readonly rule: string
  /** What was asked for; null where the sentence says all there is. */
  readonly asked: Asked | null
  /** The bits that stood in the way; null where it is not about bits. */
  readonly bits: NamedBits | null
  /** The values that did not fit together: what was given, what could have been accepted. */
  readonly sides: readonly Side[]
  /** The gates that were consulted, in the order in which they were; the last one decided. */
  readonly chain: readonly Gate[]
  /** One sentence with all of it, without errno, call and rule. */
  readonly sentence: string
}

/** What a request was about. `name` tells which one: `XTILE_DATA`, `MSR_IA32_XFD`, `CR4`. */
export interface Asked {
  readonly kind: 'component' | 'register' | 'MSR' | 'CPUID' | 'image' | 'stack' | 'frame' | 'instruction' | 'list' | 'buffer'
  readonly name: string
  /** The value that was to be loaded, the component's number, or a size in bytes; null for none. */
  readonly value: bigint | null
}

/** A mask with the names of its bits, in bit order. */
export interface NamedBits {
  readonly mask: bigint
  readonly names: readonly string[]
}

/** One of the values that were compared. `names` are those of its bits; empty where it is a size or a number. */
export interface Side {
  readonly name: string
  readonly value: bigint
  readonly names: readonly string[]
}

/** What can stand between a request and extended state. */
export type GateName =
  | 'component number'
  | 'dynamic component'
  | 'CPUID bit'
  | 'guest CPUID'
  | 'host KVM'
  | 'CPL'
  | 'XCR number'
  | 'XCR0'
  | 'XSS'
  | 'CR4'
  | 'permission'
  | 'vCPU lock'
  | 'XFD'
  | 'sigaltstack'
  | 'guest FPU image'
  | 'task FPU image'
  | 'XSAVE header'
  | 'MXCSR'
  | 'memory'
  | 'MSR'
  | 'CPUID fixed'

export interface Gate {
  readonly gate: GateName
  /** Whose value it is: `XCR0 of the host`, `AMX-TILE`. */
  readonly what: string
  readonly value: bigint
  /** `trapped`: the processor hands the decision to the next gate (an armed XFD bit raises #NM, and the kernel looks). */
  readonly verdict: 'passed' | 'trapped' | 'refused'
}

/** What a refusal has beside errno, rule and sentence. */
export type RefusalDetails = Partial<Pick<Refusal, 'asked' | 'bits' | 'sides' | 'chain'>>

/** A refusal that is an exception or a signal. */
export function exceptionRefusal(outcome: string, rule: string, sentence: string, details: RefusalDetails = {}): Refusal {
  return { outcome, errno: 0, rule, asked: null, bits: null, sides: [], chain: [], ...details, sentence }
}

/** An unsigned 64-bit value of two halves. */
export const u64Of = (lo: number, hi = 0): bigint => (BigInt(hi >>> 0) << 32n) | BigInt(lo >>> 0)

/** Names of state components, in bit order; those without one as `bit 62`. */
export function componentNames(mask: bigint): string[] {
  const names: string[] = []
  for (let nr = 0; nr < 64; nr++) if ((mask >> BigInt(nr)) & 1n) names.push(xfeatures[nr]?.name ?? `bit ${nr}`)
  return names
}

export const componentBits = (lo: number, hi = 0): NamedBits => {
  const mask = u64Of(lo, hi)
  return { mask, names: componentNames(mask) }
}

/** A side that is a set of components. */
export const componentSide = (name: string, lo: number, hi = 0): Side => {
  const value = u64Of(lo, hi)
  return { name, value, names: componentNames(value) }
}

/** A side that is a number of things, or a size in bytes. */
export const countSide = (name: string, value: number): Side => ({
  name,
  value: BigInt(Math.max(0, Math.floor(value))),
  names: [],
})

/** `XTILE_DATA (bit 18)`, `XTILE_CFG (bit 17) and XTILE_DATA (bit 18)`, `bit 62`. */
export function describeComponents({ mask }: NamedBits): string {
  const texts: string[] = []
  for (let nr = 0; nr < 64; nr++) {
    if (((mask >> BigInt(nr)) & 1n) === 0n) continue
    const name = xfeatures[nr]?.name
    texts.push(name === undefined ? `bit ${nr}` : `${name} (bit ${nr})`)
  }
  const last = texts.pop() ?? 'nothing'
  return texts.length === 0 ? last : `${texts.join(', ')} and ${last}`
}

const gate =
  (verdict: Gate['verdict']) =>
  (name: GateName, what: string, value: number | bigint | boolean): Gate => ({
    gate: name,
    what,
    value:
      typeof value === 'bigint'
        ? value
        : typeof value === 'boolean'
          ? value
            ? 1n
            : 0n
          : BigInt(value < 0 ? value >>> 0 : value),
    verdict,
  })
export const passed = gate('passed')
export const trapped = gate('trapped')
export const refusedBy = gate('refused')
/** Passed or refused, as `ok` says. */
export const gateOf = (ok: boolean): ReturnType<typeof gate> => (ok ? passed : refusedBy)
