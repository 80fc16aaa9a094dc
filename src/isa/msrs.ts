import type { CpuModel } from './cpu-model.ts'
import type { FeatureName } from './cpuid-features.ts'
import * as msr from './msr-index.ts'

/**
 * What a bare processor does at RDMSR and WRMSR of each register. SDM Vol. 4 ch. 2, APM Vol. 2 App. A; CET-03, SLD §1.
 *
 * features  any of them makes the register exist; none listed: every 64-bit part. Not existing means #GP(0).
 * stated    only models that state its value have it: what it holds follows from no feature.
 * vendor    only that vendor's parts have it.
 * access    `ro`: WRMSR is #GP(0); `wo`: RDMSR is #GP(0).
 * writable  groups of bits software may set, each with the features that define it. A set bit outside is #GP(0) (*reserved*).
 *           For `ro` registers empty. The widest group is all ones: no reserved bits.
 * rule      further demand on the value, else #GP(0).
 * scope     `core`: hyper-threads of a core share it.
 * reset     value after RESET unless the CPU model states one.
 */
export interface MsrFacts {
  readonly name: string
  readonly index: number
  readonly features: readonly FeatureName[]
  readonly stated?: true
  readonly vendor?: CpuModel['vendor']
  readonly access: 'rw' | 'ro' | 'wo'
  readonly writable: readonly WritableBits[]
  readonly rule: MsrRule
  readonly scope: 'thread' | 'core'
  readonly reset: bigint
  readonly source: string
}

export interface WritableBits {
  readonly mask: bigint
  readonly features?: readonly FeatureName[]
}

/**
 * none: nothing further. canonical: an address of the processor's widest linear form. canonical-aligned4: and a multiple of 4.
 * memory-types: eight bytes, each 0, 1, 4, 5, 6 or (PAT only) 7. apic-base, efer, xfd, xss, cet: see the register's own rules.
 */
export type MsrRule = 'none' | 'canonical' | 'canonical-aligned4' | 'memory-types' | 'apic-base' | 'efer' | 'xfd' | 'xss' | 'cet'

const ALL = 0xffff_ffff_ffff_ffffn
const LOW32 = 0xffff_ffffn
const all: readonly WritableBits[] = [{ mask: ALL }]
const bits = (mask: bigint, ...features: FeatureName[]): WritableBits => (features.length === 0 ? { mask } : { mask, features })

interface Row {
  features?: readonly FeatureName[]
  stated?: true
  vendor?: CpuModel['vendor']
  access?: 'rw' | 'ro' | 'wo'
  writable?: readonly WritableBits[]
  rule?: MsrRule
  scope?: 'core'
  reset?: bigint
  source: string
}

const define = (name: keyof typeof msr, row: Row): MsrFacts => ({
  name,
  // biome-ignore lint/performance/noDynamicNamespaceImportAccess: the index is derived from the name, never written twice
  index: msr[name],
  features: row.features ?? [],
  ...(row.stated === undefined ? {} : { stated: row.stated }),
  ...(row.vendor === undefined ? {} : { vendor: row.vendor }),
  access: row.access ?? 'rw',
  writable: row.access === 'ro' ? [] : (row.writable ?? all),
  rule: row.rule ?? 'none',
  scope: row.scope ?? 'thread',
  reset: row.reset ?? 0n,
  source: row.source,
})

const V4 = 'SDM Vol. 4 Table 2-2'
const CET = 'SDM Vol. 1 §17.3.3; CET §1, CET-03'
const APM = 'APM Vol. 2 App. A'

/** CET-03. Bits 9:6 are reserved everywhere; which of the others exist follows from the feature, on the bare CPU. */
const cetBits: readonly WritableBits[] = [bits(0x3n, 'shstk'), bits(0xffff_ffff_ffff_fc3cn, 'ibt')]

/** 480H..491H: what a processor's VMX can do. */
const VMX_CAPABILITIES: readonly (keyof typeof msr)[] = [
  'MSR_IA32_VMX_BASIC',
  'MSR_IA32_VMX_PINBASED_CTLS',
  'MSR_IA32_VMX_PROCBASED_CTLS',
  'MSR_IA32_VMX_EXIT_CTLS',
  'MSR_IA32_VMX_ENTRY_CTLS',
  'MSR_IA32_VMX_MISC',
  'MSR_IA32_VMX_CR0_FIXED0',
  'MSR_IA32_VMX_CR0_FIXED1',
  'MSR_IA32_VMX_CR4_FIXED0',
  'MSR_IA32_VMX_CR4_FIXED1',
  'MSR_IA32_VMX_VMCS_ENUM',
  'MSR_IA32_VMX_PROCBASED_CTLS2',
  'MSR_IA32_VMX_EPT_VPID_CAP',
  'MSR_IA32_VMX_TRUE_PINBASED_CTLS',
  'MSR_IA32_VMX_TRUE_PROCBASED_CTLS',
  'MSR_IA32_VMX_TRUE_EXIT_CTLS',
  'MSR_IA32_VMX_TRUE_ENTRY_CTLS',
  'MSR_IA32_VMX_VMFUNC',
]

export const msrFacts: readonly MsrFacts[] = [
  define('MSR_IA32_TSC', { features: ['tsc'], source: V4 }),
  define('MSR_IA32_PLATFORM_ID', { vendor: 'GenuineIntel', access: 'ro', source: V4 }),
  define('MSR_IA32_APICBASE', {
    features: ['apic'],
    rule: 'apic-base',
    reset: 0xfee00900n,
    source: `${V4}; SDM Vol. 3A §11.4.4`,
  }),
  define('MSR_TEST_CTRL', {
    vendor: 'GenuineIntel',
    writable: [bits(0xa0000000n)],
    scope: 'core',
    source: 'SDM Vol. 4, MSR_TEST_CTRL; SLD-06, SLD-07',
  }),
  define('MSR_SMI_COUNT', { vendor: 'GenuineIntel', access: 'ro', source: V4 }),
  // Locked by firmware with VMX outside SMX on, or nothing could use VMX.
  define('MSR_IA32_FEAT_CTL', { features: ['vmx', 'smx', 'sgx'], access: 'ro', reset: 0x5n, source: `${V4}: locked` }),
  define('MSR_IA32_TSC_ADJUST', { features: ['tsc-adjust'], source: V4 }),
  define('MSR_IA32_SPEC_CTRL', {
    features: ['spec-ctrl', 'ibrs', 'amd-stibp', 'amd-ssbd'],
    writable: [
      bits(0x1n, 'spec-ctrl', 'ibrs'),
      bits(0x2n, 'stibp', 'amd-stibp'),
      bits(0x4n, 'ssbd', 'amd-ssbd'),
      bits(0x18n, 'ipred-ctrl'),
      bits(0x60n, 'rrsba-ctrl'),
      bits(0x80n, 'intel-psfd', 'amd-psfd'),
      bits(0x100n, 'ddpd-u'),
      bits(0x400n, 'bhi-ctrl'),
    ],
    source: V4,
  }),
  define('MSR_IA32_PRED_CMD', {
    features: ['spec-ctrl', 'ibpb'],
    access: 'wo',
    writable: [bits(0x1n), bits(0x80n, 'sbpb')],
    source: V4,
  }),
  define('MSR_IA32_UCODE_WRITE', { vendor: 'GenuineIntel', access: 'wo', rule: 'canonical', source: V4 }),
  // Written with 0 before CPUID to ask for the revision.
  define('MSR_IA32_UCODE_REV', { source: `${V4}; SDM Vol. 3A §10.11.7` }),
  define('MSR_PLATFORM_INFO', { vendor: 'GenuineIntel', access: 'ro', reset: 0x80000000n, source: V4 }),
  define('MSR_IA32_CORE_CAPS', { features: ['core-capability'], access: 'ro', source: 'SLD §1' }),
  define('MSR_IA32_UMWAIT_CONTROL', { features: ['waitpkg'], writable: [bits(0xffff_fffdn)], source: V4 }),
  define('MSR_MTRRcap', { features: ['mtrr'], access: 'ro', reset: 0x508n, source: V4 }),
  define('MSR_IA32_ARCH_CAPABILITIES', { features: ['arch-capabilities'], access: 'ro', source: V4 }),
  define('MSR_IA32_FLUSH_CMD', { features: ['flush-l1d'], access: 'wo', writable: [bits(0x1n)], source: V4 }),
  define('MSR_IA32_TSX_CTRL', { features: ['tsx-ctrl'], writable: [bits(0x3n)], source: V4 }),
  // Bit 0: CPUID at CPL 3 raises #GP.
  define('MSR_MISC_FEATURES_ENABLES', { vendor: 'GenuineIntel', writable: [bits(0x1n)], source: 'SDM Vol. 4 Table 2-20, 140H' }),
  define('MSR_IA32_SYSENTER_CS', { features: ['sep'], writable: [bits(LOW32)], source: V4 }),
  define('MSR_IA32_SYSENTER_ESP', { features: ['sep'], rule: 'canonical', source: V4 }),
  define('MSR_IA32_SYSENTER_EIP', { features: ['sep'], rule: 'canonical', source: V4 }),
  define('MSR_IA32_MCG_CAP', { features: ['mca'], access: 'ro', reset: 0n, source: `${V4}: no banks` }),
  define('MSR_IA32_MCG_STATUS', { features: ['mca'], writable: [bits(0xfn)], source: V4 }),
  define('MSR_IA32_PERF_STATUS', { features: ['est'], access: 'ro', source: V4 }),
  define('MSR_IA32_PERF_CTL', { features: ['est'], writable: [bits(0x1_0000_ffffn)], source: V4 }),
  define('MSR_IA32_MISC_ENABLE', { vendor: 'GenuineIntel', reset: 0x1n, source: V4 }),
  ...VMX_CAPABILITIES.map((name) => define(name, { stated: true, access: 'ro', source: 'SDM Vol. 3D Appendix A' })),
  define('MSR_IA32_XFD', { features: ['xfd'], rule: 'xfd', source: 'SDM Vol. 1 §13.14; PERM-33' }),
  define('MSR_IA32_XFD_ERR', { features: ['xfd'], rule: 'xfd', source: 'SDM Vol. 1 §13.14; PERM-33' }),
  define('MSR_IA32_DEBUGCTLMSR', {
    writable: [bits(0x3n), bits(0x4n, 'bus-lock-detect')],
    source: `${V4}: LBR, BTF, bus-lock detection; tracing and performance bits not modelled`,
  }),
  define('MSR_IA32_LASTINTFROMIP', { access: 'ro', source: V4 }),
  define('MSR_IA32_LASTINTTOIP', { access: 'ro', source: V4 }),
  define('MSR_IA32_CR_PAT', {
    features: ['pat'],
    rule: 'memory-types',
    reset: 0x0007040600070406n,
    source: 'SDM Vol. 3A §12.12.2',
  }),
  define('MSR_MTRRfix64K_00000', { features: ['mtrr'], rule: 'memory-types', source: 'SDM Vol. 3A §12.11.2' }),
  define('MSR_MTRRfix16K_80000', { features: ['mtrr'], rule: 'memory-types', source: 'SDM Vol. 3A §12.11.2' }),
  define('MSR_MTRRfix16K_A0000', { features: ['mtrr'], rule: 'memory-types', source: 'SDM Vol. 3A §12.11.2' }),
  define('MSR_MTRRdefType', { features: ['mtrr'], writable: [bits(0xcffn)], source: 'SDM Vol. 3A §12.11.2.1' }),
  define('MSR_IA32_U_CET', { features: ['shstk', 'ibt'], writable: cetBits, rule: 'cet', source: CET }),
  define('MSR_IA32_S_CET', { features: ['shstk', 'ibt'], writable: cetBits, rule: 'cet', source: CET }),
  define('MSR_IA32_PL0_SSP', { features: ['shstk'], rule: 'canonical-aligned4', source: CET }),
  define('MSR_IA32_PL1_SSP', { features: ['shstk'], rule: 'canonical-aligned4', source: CET }),
  define('MSR_IA32_PL2_SSP', { features: ['shstk'], rule: 'canonical-aligned4', source: CET }),
  define('MSR_IA32_PL3_SSP', { features: ['shstk'], rule: 'canonical-aligned4', source: CET }),
  define('MSR_IA32_INT_SSP_TAB', { features: ['shstk'], rule: 'canonical', source: CET }),
  define('MSR_IA32_TSC_DEADLINE', { features: ['tsc-deadline'], source: V4 }),
  define('MSR_IA32_PKRS', { features: ['pks'], writable: [bits(LOW32)], source: V4 }),
  define('MSR_IA32_BNDCFGS', { features: ['mpx'], writable: [bits(0xffff_ffff_ffff_f003n)], rule: 'canonical', source: V4 }),
  // Bit 31 valid, bits 19:0 the PASID.
  define('MSR_IA32_PASID', { features: ['enqcmd'], writable: [bits(0x800f_ffffn)], source: V4 }),
  define('MSR_IA32_XSS', { features: ['xsaves'], rule: 'xss', source: 'SDM Vol. 1 §13.3; CET-04' }),
  define('MSR_ARCH_LBR_CTL', { features: ['arch-lbr'], writable: [bits(0x7f_000fn)], source: 'SDM Vol. 3B §18.1' }),
  define('MSR_ARCH_LBR_DEPTH', { features: ['arch-lbr'], writable: [bits(0x38n)], reset: 32n, source: 'SDM Vol. 3B §18.1' }),
  define('MSR_EFER', { features: ['lm', 'nx', 'syscall'], rule: 'efer', source: 'SDM Vol. 3A §2.2.1' }),
  define('MSR_STAR', { features: ['syscall'], source: V4 }),
  define('MSR_LSTAR', { features: ['lm'], rule: 'canonical', source: V4 }),
  define('MSR_CSTAR', { features: ['lm'], rule: 'canonical', source: V4 }),
  define('MSR_SYSCALL_MASK', { features: ['lm'], writable: [bits(LOW32)], source: V4 }),
  define('MSR_FS_BASE', { features: ['lm'], rule: 'canonical', source: V4 }),
  define('MSR_GS_BASE', { features: ['lm'], rule: 'canonical', source: V4 }),
  define('MSR_KERNEL_GS_BASE', { features: ['lm'], rule: 'canonical', source: V4 }),
  define('MSR_TSC_AUX', { features: ['rdtscp', 'rdpid'], writable: [bits(LOW32)], source: V4 }),
  define('MSR_AMD64_SYSCFG', { vendor: 'AuthenticAMD', source: APM }),
  define('MSR_K7_HWCR', { vendor: 'AuthenticAMD', source: APM }),
  define('MSR_AMD64_NB_CFG', { vendor: 'AuthenticAMD', source: APM }),
  define('MSR_VM_CR', { features: ['svm'], writable: [bits(0x1fn)], source: `${APM}; §15.30.1` }),
  define('MSR_VM_HSAVE_PA', { features: ['svm'], source: `${APM}; §15.30.4` }),
  define('MSR_AMD64_OSVW_ID_LENGTH', { features: ['osvw'], source: APM }),
  define('MSR_AMD64_OSVW_STATUS', { features: ['osvw'], source: APM }),
  define('MSR_AMD64_DE_CFG', { vendor: 'AuthenticAMD', source: APM }),
]

/** Families of equal registers. */
export interface MsrRange {
  readonly name: string
  readonly first: number
  readonly count: number
  readonly features: readonly FeatureName[]
  readonly source: string
}

export const msrRanges: readonly MsrRange[] = [
  { name: 'MTRR variable ranges', first: 0x200, count: 20, features: ['mtrr'], source: 'SDM Vol. 3A §12.11.2.3' },
  { name: 'MTRRfix4K', first: 0x268, count: 8, features: ['mtrr'], source: 'SDM Vol. 3A §12.11.2.2' },
  { name: 'x2APIC registers', first: 0x800, count: 0x100, features: ['x2apic'], source: 'SDM Vol. 3A Table 11-6' },
  { name: 'LBR_INFO', first: 0x1200, count: 32, features: ['arch-lbr'], source: 'SDM Vol. 3B §18.1' },
  { name: 'LBR_FROM', first: 0x1500, count: 32, features: ['arch-lbr'], source: 'SDM Vol. 3B §18.1' },
  { name: 'LBR_TO', first: 0x1600, count: 32, features: ['arch-lbr'], source: 'SDM Vol. 3B §18.1' },
]

/** The facts of a register by index. */
export const msrByIndex: ReadonlyMap<number, MsrFacts> = new Map(msrFacts.map((m) => [m.index, m]))

const names = new Map<number, string>(Object.entries(msr).map(([name, index]): [number, string] => [index, name]))

/** `MSR_IA32_XFD`, or `MSR 0x1234` for one without a name. */
export function msrName(index: number): string {
  return names.get(index) ?? `MSR 0x${index.toString(16)}`
}

/** Whether this model has the register at all. */
export function msrExists(facts: MsrFacts, model: CpuModel): boolean {
  if (model.msrs.has(facts.index)) return true
  if (facts.stated === true) return false
  if (facts.vendor !== undefined && facts.vendor !== model.vendor) return false
  if (facts.index === msr.MSR_TEST_CTRL) return model.splitLockDetect
  return facts.features.length === 0 || facts.features.some((f) => model.has(f))
}

/** Bits software may set on this model; a set bit outside is #GP(0). Registers with a rule of their own may narrow it. */
export function msrWritableMask(facts: MsrFacts, model: CpuModel): bigint {
  const stated = model.msrWritable.get(facts.index)
  if (stated !== undefined) return stated
  if (facts.rule === 'xfd') return BigInt(model.xstate.xfdMask)
  if (facts.rule === 'xss') return BigInt(model.xssSupported)
  let mask = 0n
  for (const group of facts.writable) {
    if (group.features === undefined || group.features.some((f) => model.has(f))) mask |= group.mask
  }
  return mask
}

/** Value after RESET: the model's own, else the register's. */
export function msrResetValue(facts: MsrFacts, model: CpuModel): bigint {
  return model.msrs.get(facts.index) ?? facts.reset
}
