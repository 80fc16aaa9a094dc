/**
 * Where a recorded kernel or one of the kernel's own test programs shows a rule. `npm run oracle` replays the recordings and
 * `npm run conformance` runs the programs; this table says which of them bear on which rules.
 */
export interface Agreement {
  /** Prefixes of scenario names, or programs. */
  readonly by: string
  /** Spaces between, `a..b` for ranges, within one subject. */
  readonly rules: Readonly<Partial<Record<Subject, string>>>
}

export type Subject = 'PERM' | 'GFPU' | 'XSAVE' | 'CET' | 'SLD'

/** Scenarios of the recordings in test/fixtures/oracle, by the start of their names. */
export const SCENARIOS: readonly Agreement[] = [
  { by: 'perm.initial, perm.req, perm.seq', rules: { PERM: '01 17 19..21' } },
  { by: 'perm.bad_pointer_and_unknown_ops', rules: { PERM: '16 18' } },
  { by: 'perm.thread, perm.fork, perm.exec', rules: { PERM: '14 22 24..26' } },
  { by: 'kvm.perm_order', rules: { PERM: '15 17 21 23 24', GFPU: '04 50', XSAVE: '01 05' } },
  { by: 'cpuid.native', rules: { PERM: '04..06 11', CET: '01 05' } },
  { by: 'kvm.supported_cpuid', rules: { PERM: '04..06 11', XSAVE: '40..47', CET: '27' } },
  { by: 'guest.regs', rules: { PERM: '04..06 11', GFPU: '08 26 44 45', XSAVE: '46 50 51 54 55', CET: '27' } },
  { by: 'kvm.caps', rules: { GFPU: '07', XSAVE: '01 02' } },
  { by: 'kvm.fresh', rules: { PERM: '05 10 12', GFPU: '02 03 34 40', XSAVE: '03..10 28 50' } },
  { by: 'kvm.set_xsave', rules: { PERM: '05 10 12', XSAVE: '05..11 14 17..23 26 27 36 58', CET: '26' } },
  { by: 'sys.info, sigaltstack', rules: { PERM: '27..30' } },
  { by: 'amx.use', rules: { PERM: '35 37..39 43 49 67' } },
  { by: 'sigframe', rules: { PERM: '45..49' } },
  { by: 'sigreturn', rules: { PERM: '49..52 54 67..70' } },
  { by: 'ptrace', rules: { PERM: '10 55..57 71' } },
  { by: 'guest.amx', rules: { PERM: '35', GFPU: '11 20 26 27 30..32 47', XSAVE: '11 13 46 50' } },
  { by: 'guest.misc', rules: { GFPU: '17 20', XSAVE: '11 13 46 50', CET: '06 27' } },
  { by: 'kvm.set_cpuid2', rules: { GFPU: '08 39 42 43', XSAVE: '26 48..52', CET: '22 27' } },
  { by: 'kvm.set_xcrs', rules: { GFPU: '08 26 44 45', XSAVE: '30 32' } },
  { by: 'kvm.msr', rules: { GFPU: '26 27 34', XSAVE: '55..57', CET: '27' } },
  { by: 'kvm.order', rules: { GFPU: '26 27 31..33 40 41 46 47 50..52', XSAVE: '04 05 13 16 18 32' } },
  { by: 'kernel log of danger.order', rules: { PERM: '36 41 42', GFPU: '09 10 33 51 53' } },
]

/** The kernel's test programs that `.ci/run` requires. */
export const PROGRAMS: readonly Agreement[] = [
  { by: 'amx_64', rules: { PERM: '24 43 57' } },
  { by: 'sigaltstack_64', rules: { PERM: '28 32' } },
  { by: 'corrupt_xstate_header_64', rules: { PERM: '52' } },
  { by: 'amx_test', rules: { GFPU: '30 31', XSAVE: '04 55' } },
  { by: 'xcr0_cpuid_test', rules: { GFPU: '44 45' } },
  { by: 'state_test', rules: { GFPU: '30 31' } },
  { by: 'cpuid_test', rules: { XSAVE: '49 52' } },
  { by: 'xss_msr_test', rules: { XSAVE: '55' } },
]

/** What agrees with each rule, by its ID. */
export function agreements(): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>()
  for (const { by, rules } of [...SCENARIOS, ...PROGRAMS])
    for (const [subject, numbers] of Object.entries(rules))
      for (const id of numbers.split(' ').flatMap((part) => spread(subject, part))) found.set(id, [...(found.get(id) ?? []), by])
  return found
}

function spread(subject: string, part: string): string[] {
  const [first, last = first] = part.split('..').map(Number)
  return Array.from({ length: last - first + 1 }, (_, i) => `${subject}-${String(first + i).padStart(2, '0')}`)
}
