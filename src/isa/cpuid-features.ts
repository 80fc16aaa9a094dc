/**
 * CPUID feature bits, and the feature bits of three read-only MSRs that QEMU's `-cpu` can set too.
 *
 * One entry is one register of one leaf ("feature word"), in the order of the manual. `bits` are named as QEMU's `-cpu` flags;
 * `more` are bits for which QEMU has no flag, named as Linux does (arch/x86/include/asm/cpufeatures.h, `_` written `-`) or, if
 * Linux has no name either, after the manual. A name belongs to exactly one bit. On AMD the bits of `AMD_EDX_ALIASES` of
 * 80000001H.EDX repeat 1.EDX (APM Vol. 3 App. E.3.6); the model builder copies them.
 *
 * Run-time bits (`osxsave`, `ospke`) are never set in a model: the processor answers them from CR4.
 */

export type CpuidRegister = 'eax' | 'ebx' | 'ecx' | 'edx'

interface CpuidWordShape {
  readonly leaf: number
  readonly subleaf: number
  readonly register: CpuidRegister
  readonly source: string
  readonly bits: Readonly<Record<string, number>>
  readonly more: Readonly<Record<string, number>>
}

const SDM = 'SDM Vol. 2A "CPUID" Table 3-8'
const APM = 'APM Vol. 3 Appendix E'

// biome-ignore format: a row per register, its bits in the manual's order
export const cpuidWords = {
  '1.ecx': {
    leaf: 1, subleaf: 0, register: 'ecx', source: `${SDM}, 01H`,
    bits: {
      pni: 0, pclmulqdq: 1, dtes64: 2, monitor: 3, 'ds-cpl': 4, vmx: 5, smx: 6, est: 7, tm2: 8, ssse3: 9, cid: 10, fma: 12,
      cx16: 13, xtpr: 14, pdcm: 15, pcid: 17, dca: 18, 'sse4.1': 19, 'sse4.2': 20, x2apic: 21, movbe: 22, popcnt: 23,
      'tsc-deadline': 24, aes: 25, xsave: 26, avx: 28, f16c: 29, rdrand: 30, hypervisor: 31,
    },
    more: { sdbg: 11, osxsave: 27 },
  },
  '1.edx': {
    leaf: 1, subleaf: 0, register: 'edx', source: `${SDM}, 01H`,
    bits: {
      fpu: 0, vme: 1, de: 2, pse: 3, tsc: 4, msr: 5, pae: 6, mce: 7, cx8: 8, apic: 9, sep: 11, mtrr: 12, pge: 13, mca: 14,
      cmov: 15, pat: 16, pse36: 17, pn: 18, clflush: 19, ds: 21, acpi: 22, mmx: 23, fxsr: 24, sse: 25, sse2: 26, ss: 27,
      ht: 28, tm: 29, ia64: 30, pbe: 31,
    },
    more: {},
  },
  '6.eax': {
    leaf: 6, subleaf: 0, register: 'eax', source: `${SDM}, 06H`,
    bits: { arat: 2 },
    more: {
      dtherm: 0, ida: 1, pln: 4, ecmd: 5, pts: 6, hwp: 7, 'hwp-notify': 8, 'hwp-act-window': 9, 'hwp-epp': 10,
      'hwp-pkg-req': 11, hdc: 13, 'turbo-boost-max-3': 14, 'hwp-capabilities': 15, 'hwp-peci-override': 16,
      'hwp-flexible': 17, 'hwp-fast-access': 18, hfi: 19, 'hwp-ignore-idle': 20, itd: 23, 'thermal-interrupt-msr': 24,
    },
  },
  '6.ecx': {
    leaf: 6, subleaf: 0, register: 'ecx', source: `${SDM}, 06H`,
    bits: {},
    more: { aperfmperf: 0, epb: 3 },
  },
  '7.0.ebx': {
    leaf: 7, subleaf: 0, register: 'ebx', source: `${SDM}, 07H subleaf 0`,
    bits: {
      fsgsbase: 0, 'tsc-adjust': 1, sgx: 2, bmi1: 3, hle: 4, avx2: 5, 'fdp-excptn-only': 6, smep: 7, bmi2: 8, erms: 9,
      invpcid: 10, rtm: 11, 'zero-fcs-fds': 13, mpx: 14, avx512f: 16, avx512dq: 17, rdseed: 18, adx: 19, smap: 20,
      avx512ifma: 21, pcommit: 22, clflushopt: 23, clwb: 24, 'intel-pt': 25, avx512pf: 26, avx512er: 27, avx512cd: 28,
      'sha-ni': 29, avx512bw: 30, avx512vl: 31,
    },
    more: { cqm: 12, 'rdt-a': 15 },
  },
  '7.0.ecx': {
    leaf: 7, subleaf: 0, register: 'ecx', source: `${SDM}, 07H subleaf 0`,
    bits: {
      avx512vbmi: 1, umip: 2, pku: 3, waitpkg: 5, avx512vbmi2: 6, shstk: 7, gfni: 8, vaes: 9, vpclmulqdq: 10,
      avx512vnni: 11, avx512bitalg: 12, 'avx512-vpopcntdq': 14, la57: 16, rdpid: 22, 'bus-lock-detect': 24, cldemote: 25,
      movdiri: 27, movdir64b: 28, sgxlc: 30, pks: 31,
    },
    more: { prefetchwt1: 0, ospke: 4, tme: 13, 'key-locker': 23, enqcmd: 29 },
  },
  '7.0.edx': {
    leaf: 7, subleaf: 0, register: 'edx', source: `${SDM}, 07H subleaf 0`,
    bits: {
      'avx512-4vnniw': 2, 'avx512-4fmaps': 3, fsrm: 4, 'avx512-vp2intersect': 8, 'md-clear': 10, serialize: 14,
      'tsx-ldtrk': 16, 'arch-lbr': 19, ibt: 20, 'amx-bf16': 22, 'avx512-fp16': 23, 'amx-tile': 24, 'amx-int8': 25,
      'spec-ctrl': 26, stibp: 27, 'flush-l1d': 28, 'arch-capabilities': 29, 'core-capability': 30, ssbd: 31,
    },
    more: {
      'sgx-keys': 1, uintr: 5, 'srbds-ctrl': 9, 'rtm-always-abort': 11, 'tsx-force-abort': 13, 'hybrid-cpu': 15,
      pconfig: 18,
    },
  },
  '7.1.eax': {
    leaf: 7, subleaf: 1, register: 'eax', source: `${SDM}, 07H subleaf 1`,
    bits: {
      sha512: 0, sm3: 1, sm4: 2, 'avx-vnni': 4, 'avx512-bf16': 5, cmpccxadd: 7, fzrm: 10, fsrs: 11, fsrc: 12, fred: 17,
      lkgs: 18, wrmsrns: 19, 'amx-fp16': 21, 'avx-ifma': 23, lam: 26,
    },
    more: {
      'rao-int': 3, lass: 6, 'arch-perfmon-ext': 8, 'nmi-source': 20, hreset: 22, 'invd-disable-post-bios': 30, movrs: 31,
      msrlist: 27,
    },
  },
  '7.1.ebx': {
    leaf: 7, subleaf: 1, register: 'ebx', source: `${SDM}, 07H subleaf 1`,
    bits: {},
    more: { 'intel-ppin': 0, pbndkb: 1 },
  },
  '7.1.edx': {
    leaf: 7, subleaf: 1, register: 'edx', source: `${SDM}, 07H subleaf 1`,
    bits: {
      'avx-vnni-int8': 4, 'avx-ne-convert': 5, 'amx-complex': 8, 'avx-vnni-int16': 10, prefetchiti: 14, avx10: 19, apx: 21,
    },
    more: { 'user-timer': 13, 'user-msr': 15, 'uiret-uif': 17, 'cet-sss': 18 },
  },
  '7.2.edx': {
    leaf: 7, subleaf: 2, register: 'edx', source: `${SDM}, 07H subleaf 2`,
    bits: { 'intel-psfd': 0, 'ipred-ctrl': 1, 'rrsba-ctrl': 2, 'ddpd-u': 3, 'bhi-ctrl': 4, 'mcdt-no': 5 },
    more: { 'uc-lock-dis': 6, 'monitor-mitg-no': 7 },
  },
  'd.1.eax': {
    leaf: 0xd, subleaf: 1, register: 'eax', source: `${SDM}, 0DH subleaf 1`,
    bits: { xsaveopt: 0, xsavec: 1, xgetbv1: 2, xsaves: 3, xfd: 4 },
    more: {},
  },
  '14.0.ebx': {
    leaf: 0x14, subleaf: 0, register: 'ebx', source: `${SDM}, 14H subleaf 0`,
    bits: {},
    more: { 'pt-cr3-filter': 0, 'pt-psb-cyc': 1, 'pt-ip-filter': 2, 'pt-mtc': 3, 'pt-ptwrite': 4, 'pt-power-events': 5 },
  },
  '14.0.ecx': {
    leaf: 0x14, subleaf: 0, register: 'ecx', source: `${SDM}, 14H subleaf 0`,
    bits: { 'intel-pt-lip': 31 },
    more: { 'pt-topa': 0, 'pt-topa-multiple': 1, 'pt-single-range': 2 },
  },
  '19.eax': {
    leaf: 0x19, subleaf: 0, register: 'eax', source: `${SDM}, 19H`,
    bits: {},
    more: { 'kl-cpl0-only': 0, 'kl-no-encrypt': 1, 'kl-no-decrypt': 2 },
  },
  '19.ebx': {
    leaf: 0x19, subleaf: 0, register: 'ebx', source: `${SDM}, 19H`,
    bits: {},
    more: { aeskle: 0, 'aes-wide-kl': 2, 'kl-iwkey-backup': 4 },
  },
  '1e.1.eax': {
    leaf: 0x1e, subleaf: 1, register: 'eax', source: `${SDM}, 1EH subleaf 1`,
    bits: {},
    more: {
      'amx-int8-alias': 0, 'amx-bf16-alias': 1, 'amx-complex-alias': 2, 'amx-fp16-alias': 3, 'amx-fp8': 4, 'amx-tf32': 6,
      'amx-avx512': 7, 'amx-movrs': 8,
    },
  },
  '24.0.ebx': {
    leaf: 0x24, subleaf: 0, register: 'ebx', source: `${SDM}, 24H subleaf 0`,
    bits: { 'avx10-128': 16, 'avx10-256': 17, 'avx10-512': 18 },
    more: {},
  },
  '80000001.ecx': {
    leaf: 0x80000001, subleaf: 0, register: 'ecx', source: `${SDM} and ${APM}.4, 80000001H`,
    bits: {
      'lahf-lm': 0, 'cmp-legacy': 1, svm: 2, extapic: 3, cr8legacy: 4, abm: 5, sse4a: 6, misalignsse: 7,
      '3dnowprefetch': 8, osvw: 9, ibs: 10, xop: 11, skinit: 12, wdt: 13, lwp: 15, fma4: 16, tce: 17, 'nodeid-msr': 19,
      tbm: 21, topoext: 22, 'perfctr-core': 23, 'perfctr-nb': 24,
    },
    more: { bpext: 26, ptsc: 27, 'perfctr-llc': 28, mwaitx: 29, 'addr-mask-ext': 30 },
  },
  '80000001.edx': {
    leaf: 0x80000001, subleaf: 0, register: 'edx', source: `${SDM} and ${APM}.4, 80000001H`,
    bits: { syscall: 11, nx: 20, mmxext: 22, 'fxsr-opt': 25, pdpe1gb: 26, rdtscp: 27, lm: 29, '3dnowext': 30, '3dnow': 31 },
    more: {},
  },
  '80000007.ebx': {
    leaf: 0x80000007, subleaf: 0, register: 'ebx', source: `${APM}.4, 80000007H`,
    bits: { 'overflow-recov': 0, succor: 1 },
    more: { smca: 3 },
  },
  '80000007.edx': {
    leaf: 0x80000007, subleaf: 0, register: 'edx', source: `${SDM} and ${APM}.4, 80000007H`,
    bits: { invtsc: 8 },
    more: { 'temperature-sensor': 0, ttp: 3, 'hw-pstate': 7, cpb: 9, 'eff-freq-ro': 10, 'proc-feedback': 11, 'acc-power': 12 },
  },
  '80000008.ebx': {
    leaf: 0x80000008, subleaf: 0, register: 'ebx', source: `${SDM} (bit 9) and ${APM}.4, 80000008H`,
    bits: {
      clzero: 0, xsaveerptr: 2, wbnoinvd: 9, ibpb: 12, ibrs: 14, 'amd-stibp': 15, 'stibp-always-on': 17, 'amd-ssbd': 24,
      'virt-ssbd': 25, 'amd-no-ssb': 26, 'amd-psfd': 28,
    },
    more: {
      irperf: 1, invlpgb: 3, rdpru: 4, mcommit: 8, 'int-wbinvd': 13, 'ibrs-always-on': 16, 'ibrs-preferred': 18,
      'ibrs-same-mode': 19, 'efer-lmsle-mbz': 20, cppc: 27, 'btc-no': 29, 'ibpb-ret': 30, brs: 31,
    },
  },
  '8000000a.edx': {
    leaf: 0x8000000a, subleaf: 0, register: 'edx', source: `${APM}.4, 8000000AH`,
    bits: {
      npt: 0, lbrv: 1, 'svm-lock': 2, 'nrip-save': 3, 'tsc-scale': 4, 'vmcb-clean': 5, flushbyasid: 6, decodeassists: 7,
      'pause-filter': 10, pfthreshold: 12, avic: 13, 'v-vmsave-vmload': 15, vgif: 16, vnmi: 25, 'svme-addr-chk': 28,
    },
    more: {
      gmet: 17, x2avic: 18, 'sss-check': 19, 'v-spec-ctrl': 20, rogpt: 21, 'host-mce-override': 23, 'tlbi-ctl': 24,
      'bus-lock-threshold': 29,
    },
  },
  '8000001f.eax': {
    leaf: 0x8000001f, subleaf: 0, register: 'eax', source: `${APM}.4, 8000001FH`,
    bits: {},
    more: { sme: 0, sev: 1, 'vm-page-flush': 2, 'sev-es': 3, 'sev-snp': 4, vmpl: 5, 'v-tsc-aux': 9, 'sme-coherent': 10 },
  },
  '80000021.eax': {
    leaf: 0x80000021, subleaf: 0, register: 'eax', source: `${APM}.4, 80000021H`,
    bits: {
      'no-nested-data-bp': 0, 'fs-gs-base-ns': 1, 'lfence-always-serializing': 2, 'verw-clear': 5, 'null-sel-clr-base': 6,
      'auto-ibrs': 8, eraps: 24, sbpb: 27, 'ibpb-brtype': 28, 'srso-no': 29, 'srso-user-kernel-no': 30,
    },
    more: {
      'smm-pg-cfg-lock': 3, 'upper-address-ignore': 7, 'no-smm-ctl-msr': 9, 'amd-fsrs': 10, 'amd-fsrc': 11,
      'prefetch-ctl-msr': 13, 'l2-tlb-size-x32': 14, 'amd-erms': 15, 'cpuid-user-dis': 17, epsf: 18,
    },
  },
  '80000021.ecx': {
    leaf: 0x80000021, subleaf: 0, register: 'ecx', source: `${APM}.4, 80000021H`,
    bits: { 'tsa-sq-no': 1, 'tsa-l1-no': 2 },
    more: {},
  },
  '80000022.eax': {
    leaf: 0x80000022, subleaf: 0, register: 'eax', source: `${APM}.4, 80000022H`,
    bits: { 'perfmon-v2': 0 },
    more: { 'lbr-v2': 1, 'lbr-pmc-freeze': 2 },
  },
} as const satisfies Record<string, CpuidWordShape>

interface MsrWordShape {
  readonly msr: number
  /** The CPUID feature without which the MSR, and so every bit of it, does not exist. */
  readonly gate: string
  readonly source: string
  readonly bits: Readonly<Record<string, number>>
}

/** Feature bits of read-only MSRs that `-cpu` accepts like CPUID flags. Bit numbers 0..63. */
// biome-ignore format: a row per register, its bits in the manual's order
export const msrWords = {
  MSR_IA32_CORE_CAPS: {
    msr: 0xcf, gate: 'core-capability', source: 'SDM Vol. 4 Table 2-2, CFH; SLD-10',
    bits: { 'split-lock-detect': 5 },
  },
  MSR_IA32_ARCH_CAPABILITIES: {
    msr: 0x10a, gate: 'arch-capabilities', source: 'SDM Vol. 4 Table 2-2, 10AH',
    bits: {
      'rdctl-no': 0, 'ibrs-all': 1, rsba: 2, 'skip-l1dfl-vmentry': 3, 'ssb-no': 4, 'mds-no': 5, 'pschange-mc-no': 6,
      'tsx-ctrl': 7, 'taa-no': 8, 'sbdr-ssdp-no': 13, 'fbsdp-no': 14, 'psdp-no': 15, 'fb-clear': 17, 'pbrsb-no': 24,
      'gds-no': 26, 'rfds-no': 27, 'rfds-clear': 28, 'its-no': 62,
    },
  },
  MSR_IA32_PERF_CAPABILITIES: {
    msr: 0x345, gate: 'pdcm', source: 'SDM Vol. 4 Table 2-2, 345H',
    bits: { 'full-width-write': 13 },
  },
} as const satisfies Record<string, MsrWordShape>

type CpuidWords = typeof cpuidWords
type MsrWords = typeof msrWords
type NamesOf<W> = W extends { bits: infer B; more: infer M } ? keyof B | keyof M : W extends { bits: infer B } ? keyof B : never

/** Name of a CPUID feature bit. */
export type CpuidFeatureName = { [W in keyof CpuidWords]: NamesOf<CpuidWords[W]> }[keyof CpuidWords]
/** Name of a feature bit in a read-only MSR. */
export type MsrFeatureName = { [W in keyof MsrWords]: NamesOf<MsrWords[W]> }[keyof MsrWords]
export type FeatureName = CpuidFeatureName | MsrFeatureName

export interface CpuidFeature {
  readonly kind: 'cpuid'
  readonly name: CpuidFeatureName
  readonly leaf: number
  readonly subleaf: number
  readonly register: CpuidRegister
  readonly bit: number
  /** `-cpu` of QEMU knows the name. */
  readonly namedByQemu: boolean
  readonly source: string
}

export interface MsrFeature {
  readonly kind: 'msr'
  readonly name: MsrFeatureName
  readonly msr: number
  readonly bit: number
  readonly gate: CpuidFeatureName
  readonly namedByQemu: true
  readonly source: string
}

export type Feature = CpuidFeature | MsrFeature

const byName = new Map<string, Feature>()

function define(feature: Feature): void {
  if (byName.has(feature.name)) throw new Error(`CPUID feature name used twice: ${feature.name}`)
  byName.set(feature.name, feature)
}

for (const word of Object.values(cpuidWords) as CpuidWordShape[]) {
  const { leaf, subleaf, register, source } = word
  for (const [names, namedByQemu] of [
    [word.bits, true],
    [word.more, false],
  ] as const) {
    for (const [name, bit] of Object.entries(names)) {
      define({ kind: 'cpuid', name: name as CpuidFeatureName, leaf, subleaf, register, bit, namedByQemu, source })
    }
  }
}
for (const word of Object.values(msrWords) as MsrWordShape[]) {
  const { msr, source } = word
  for (const [name, bit] of Object.entries(word.bits)) {
    define({
      kind: 'msr',
      name: name as MsrFeatureName,
      msr,
      bit,
      gate: word.gate as CpuidFeatureName,
      namedByQemu: true,
      source,
    })
  }
}

/** Every feature, by name, in table order. */
export const features: ReadonlyMap<string, Feature> = byName

/** Other spellings QEMU accepts. `_` for `-` is accepted everywhere besides. */
export const featureAliases: Readonly<Record<string, FeatureName>> = {
  sse3: 'pni',
  pclmuldq: 'pclmulqdq',
  'sse4-1': 'sse4.1',
  'sse4-2': 'sse4.2',
  xd: 'nx',
  ffxsr: 'fxsr-opt',
  i64: 'lm',
}

/** The feature a user means by `spelling` (QEMU's name, an alias, `_` for `-`), or undefined. */
export function findFeature(spelling: string): Feature | undefined {
  const name = spelling.replaceAll('_', '-')
  return byName.get(featureAliases[name] ?? name)
}

/** Bits of 80000001H.EDX that repeat 1.EDX on AMD: FPU..APIC, MTRR..PSE36, MMX, FXSR. */
export const AMD_EDX_ALIASES = 0x0183f3ff

/** Bits the processor computes when CPUID executes; no model sets them. */
export const runtimeFeatures: ReadonlySet<FeatureName> = new Set<FeatureName>(['osxsave', 'ospke'])
