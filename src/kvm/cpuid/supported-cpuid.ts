import { XFEATURE_MASK_XTILE_CFG, XFEATURE_MASK_XTILE_DATA } from '../../isa/xfeatures.ts'
import { compactedSize, standardSize, type XstateLayout } from '../../isa/xstate-layout.ts'
import type { HostCpu, KvmCpuCaps } from './cpu-caps.ts'
import { type CpuidEntry, isIndexedLeaf, KVM_CPUID_FLAG_SIGNIFCANT_INDEX } from './entries.ts'

/** Highest leaves KVM 6.12 reports. KAPI-82. */
const MAX_BASIC_LEAF = 0x24
const MAX_EXTENDED_LEAF = 0x80000022
const KVM_CPUID_SIGNATURE = 0x40000000
const KVM_CPUID_FEATURES = 0x40000001

/** Bits of 0x40000001.EAX: features 0 1 3 4 5 6 7 9 10 11 12 13 14 and 24. KAPI-83. */
const KVM_PV_FEATURES = 0x01007efb

/** v9 and v10 only: these bits mean something else today (SLD-50). */
const PV_SPLIT_LOCK_DETECT = 1 << 15
const PV_SPLIT_LOCK_FATAL = 1 << 1
const CORE_CAPABILITIES = 1 << 30

export interface SupportedCpuidInput {
  readonly host: HostCpu
  readonly caps: KvmCpuCaps
  readonly xstate: XstateLayout
  /** KVM-supported XCR0 and XSS of this host (GFPU-07). */
  readonly supportedXcr0: number
  readonly supportedXss: number
  /** Components the calling process's group leader may give to guests (guest state_perm). */
  readonly guestPermission: number
  /** `profile.kvm.hidesXtileCfgWithoutPermission`. */
  readonly hidesXtileCfg: boolean
  /** `profile.kvm.reportsTmulSubleaf1`. */
  readonly reportsTmulSubleaf1: boolean
  /** Split-lock detection is offered to guests: MSR_IA32_CORE_CAPS is there (SLD-44), with v10's hints (SLD-50). */
  readonly splitLock?: { readonly hints: boolean; readonly hostIsFatal: boolean } | null
}

/**
 * KVM-supported XCR0 as the calling process may see it: without guest permission for tile data, XTILE_DATA is hidden, and
 * then XTILE_CFG too where the kernel does so (`profile.kvm.hidesXtileCfgWithoutPermission`). XSAVE-40.
 */
export function filteredXcr0(supportedXcr0: number, guestPermission: number, hidesXtileCfg: boolean): number {
  if ((supportedXcr0 & XFEATURE_MASK_XTILE_DATA) === 0) return supportedXcr0
  let filtered = supportedXcr0 & guestPermission
  if (hidesXtileCfg && (filtered & XFEATURE_MASK_XTILE_DATA) === 0) filtered &= ~XFEATURE_MASK_XTILE_CFG
  return filtered >>> 0
}

/**
 * The list KVM_GET_SUPPORTED_CPUID returns: every leaf the host has, cut down to what KVM can give a guest.
 * Order: 0..max, 0x80000000..max, 0x40000000, 0x40000001; subleaves behind their leaf. KAPI-81..84, XSAVE-40..47.
 */
export function supportedCpuid(input: SupportedCpuidInput): CpuidEntry[] {
  const list: CpuidEntry[] = []
  for (const [base, limit] of [
    [0, MAX_BASIC_LEAF],
    [0x80000000, MAX_EXTENDED_LEAF],
  ] as const) {
    const first = appendLeaf(input, list, base, limit)
    for (let leaf = base + 1; leaf <= first.eax; leaf++) appendLeaf(input, list, leaf, limit)
  }
  list.push(entry(KVM_CPUID_SIGNATURE, 0, 0, KVM_CPUID_FEATURES, 0x4b4d564b, 0x564b4d56, 0x4d))
  const { splitLock } = input
  const hinted = splitLock?.hints === true
  list.push(
    entry(
      KVM_CPUID_FEATURES,
      0,
      0,
      KVM_PV_FEATURES | (hinted ? PV_SPLIT_LOCK_DETECT : 0),
      0,
      0,
      hinted && splitLock.hostIsFatal ? PV_SPLIT_LOCK_FATAL : 0,
    ),
  )
  return list
}

function entry(fn: number, index: number, flags: number, eax: number, ebx: number, ecx: number, edx: number): CpuidEntry {
  return { function: fn, index, flags, eax, ebx, ecx, edx }
}

/** A raw copy of the host's answer, appended. */
function appendHost(input: SupportedCpuidInput, list: CpuidEntry[], leaf: number, index: number): CpuidEntry {
  const flags = isIndexedLeaf(leaf) ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0
  const e = entry(leaf, index, flags, 0, 0, 0, 0)
  // 0x80000021 is synthesized on hosts whose own range ends before it.
  if (leaf < 0x80000000 || leaf <= input.host.cpuid(0x80000000, 0).eax >>> 0) {
    const r = input.host.cpuid(leaf, index)
    e.eax = r.eax >>> 0
    e.ebx = r.ebx >>> 0
    e.ecx = r.ecx >>> 0
    e.edx = r.edx >>> 0
  }
  list.push(e)
  return e
}

type LeafRule = (e: CpuidEntry, input: SupportedCpuidInput, list: CpuidEntry[], limit: number) => void

function appendLeaf(input: SupportedCpuidInput, list: CpuidEntry[], leaf: number, limit: number): CpuidEntry {
  const first = appendHost(input, list, leaf, 0)
  const rule = LEAF_RULES.get(leaf) ?? zero
  rule(first, input, list, limit)
  return first
}

const zero: LeafRule = (e) => {
  e.eax = e.ebx = e.ecx = e.edx = 0
}
const keep: LeafRule = () => {}

const maximumLeaf: LeafRule = (e, input, _list, limit) => {
  e.eax = Math.min(e.eax, limit)
  // Serializing LFENCE and NullSelectorClearsBase are announced in 0x80000021 even where the host's range ends earlier, but
  // only if the host has AMD's topology leaves at all (else QEMU would read another leaf's data as 0x8000001d).
  const announces = input.caps.has('LFENCE_RDTSC') || input.caps.has('NULL_SEL_CLR_BASE')
  if (e.function === 0x80000000 && e.eax >= 0x8000001d && announces) e.eax = Math.max(e.eax, 0x80000021)
}

const cacheLeaves: LeafRule = (e, input, list) => {
  let last = e
  for (let i = 1; (last.eax & 0x1f) !== 0; i++) last = appendHost(input, list, e.function, i)
}

const structuredFeatures: LeafRule = (e, input, list) => {
  const highest = (e.eax = Math.min(e.eax, 2))
  e.ebx = input.caps.word('CPUID_7_0_EBX')
  e.ecx = input.caps.word('CPUID_7_ECX')
  e.edx = (input.caps.word('CPUID_7_EDX') | (input.splitLock ? CORE_CAPABILITIES : 0)) >>> 0
  if (highest >= 1) {
    const sub1 = appendHost(input, list, 7, 1)
    sub1.eax = input.caps.word('CPUID_7_1_EAX')
    sub1.edx = input.caps.word('CPUID_7_1_EDX')
    sub1.ebx = sub1.ecx = 0
  }
  if (highest >= 2) {
    const sub2 = appendHost(input, list, 7, 2)
    sub2.edx = input.caps.word('CPUID_7_2_EDX')
    sub2.eax = sub2.ebx = sub2.ecx = 0
  }
}

/** Leaf 0xD with the sizes of what the caller may use. XSAVE-41..43. */
const extendedState: LeafRule = (e, input, list) => {
  const xcr0 = filteredXcr0(input.supportedXcr0, input.guestPermission, input.hidesXtileCfg)
  e.eax = (e.eax & xcr0) >>> 0
  e.ebx = e.ecx = standardSize(input.xstate, xcr0)
  e.edx = 0
  if (xcr0 === 0) return
  const sub1 = appendHost(input, list, 0xd, 1)
  sub1.eax = input.caps.word('CPUID_D_1_EAX')
  const compacts = input.caps.has('XSAVES') || input.caps.has('XSAVEC')
  sub1.ebx = compacts ? compactedSize(input.xstate, (xcr0 | input.supportedXss) >>> 0) : 0
  sub1.ecx = (sub1.ecx & input.supportedXss) >>> 0
  sub1.edx = 0
  for (let nr = 2; nr < 32; nr++) {
    if ((((xcr0 | input.supportedXss) >>> nr) & 1) === 0) continue
    const component = appendHost(input, list, 0xd, nr)
    if (!input.caps.has('XFD')) component.ecx &= ~4
    component.edx = 0
  }
}

const tileLeaf: LeafRule = (e, input, list) => {
  if (!input.caps.has('AMX_TILE')) return zero(e, input, list, 0)
  if (e.function === 0x1e) {
    if (input.reportsTmulSubleaf1) appendHost(input, list, 0x1e, 1)
    return
  }
  const palettes = e.eax
  for (let i = 1; i <= palettes; i++) appendHost(input, list, 0x1d, i)
}

const addressSizes: LeafRule = (e, input) => {
  const physical = e.eax & 0xff
  const virtual = Math.max((e.eax >>> 8) & 0xff, 48)
  // GPAs are limited to 48 bits where the second stage has only four levels; five need LA57 on the host. KAPI-82.
  const guestPhysical = input.caps.hostHas('LA57') ? physical : Math.min(physical, 48)
  e.eax = physical | (virtual << 8) | (guestPhysical << 16)
  e.ebx = input.caps.word('CPUID_8000_0008_EBX')
  e.ecx = (e.ecx & ~0xffff0f00) >>> 0
  e.edx = 0
}

const avx10: LeafRule = (e, input, list) => {
  if (!input.caps.has('AVX10')) return zero(e, input, list, 0)
  e.ebx = (input.caps.word('CPUID_24_0_EBX') | Math.min(e.ebx & 0xff, 1)) >>> 0
  e.eax = e.ecx = e.edx = 0
}

/** What is done to each leaf; a leaf without a row is reported as zero. Linux 6.12 __do_cpuid_func(). */
const LEAF_RULES = new Map<number, LeafRule>([
  [0x0, maximumLeaf],
  [
    0x1,
    (e, { caps }) => {
      e.edx = caps.word('CPUID_1_EDX')
      e.ecx = caps.word('CPUID_1_ECX')
    },
  ],
  [0x2, keep],
  [0x4, cacheLeaves],
  [
    0x6, // only ARAT
    (e) => {
      e.eax = 4
      e.ebx = e.ecx = e.edx = 0
    },
  ],
  [0x7, structuredFeatures],
  [
    0xb, // no topology, but EDX keeps the APIC id of the processor that executed it
    (e) => {
      e.eax = e.ebx = e.ecx = 0
    },
  ],
  [
    0x1f,
    (e) => {
      e.eax = e.ebx = e.ecx = 0
    },
  ],
  [0xd, extendedState],
  [0x1d, tileLeaf],
  [0x1e, tileLeaf],
  [0x24, avx10],
  [0x80000000, maximumLeaf],
  [
    0x80000001,
    (e, { caps }) => {
      e.ebx = (e.ebx & ~0x0fff0000) >>> 0
      e.edx = caps.word('CPUID_8000_0001_EDX')
      e.ecx = caps.word('CPUID_8000_0001_ECX')
    },
  ],
  [0x80000005, keep],
  [
    0x80000006,
    (e) => {
      e.edx = (e.edx & ~0x30000) >>> 0
    },
  ],
  [
    0x80000007,
    (e, { caps }) => {
      e.edx = caps.word('CPUID_8000_0007_EDX')
      e.eax = e.ebx = e.ecx = 0
    },
  ],
  [0x80000008, addressSizes],
  [
    0x8000000a, // SVM revision 1, eight ASIDs
    (e, { caps }, _list, _limit) => {
      const has = caps.has('SVM')
      e.eax = has ? 1 : 0
      e.ebx = has ? 8 : 0
      e.ecx = 0
      e.edx = has ? caps.word('CPUID_8000_000A_EDX') : 0
    },
  ],
  [
    0x80000019,
    (e) => {
      e.ecx = e.edx = 0
    },
  ],
  [
    0x8000001a,
    (e) => {
      e.eax &= 7
      e.ebx = e.ecx = e.edx = 0
    },
  ],
  [0x8000001d, cacheLeaves],
  [
    0x80000021,
    (e, { caps }) => {
      e.eax = caps.word('CPUID_8000_0021_EAX')
      e.ecx = caps.word('CPUID_8000_0021_ECX')
      e.ebx = e.edx = 0
    },
  ],
])

/** KVM_GET_EMULATED_CPUID: features KVM would emulate on a host without them. KAPI §2.1. */
export function emulatedCpuid(caps: KvmCpuCaps): CpuidEntry[] {
  return [
    entry(0, 0, 0, 7, 0, 0, 0),
    entry(1, 0, 0, 0, 0, 1 << 22 /* MOVBE */, 0),
    entry(7, 0, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, 0, 0, caps.has('RDTSCP') ? 1 << 22 /* RDPID */ : 0, 0),
  ]
}
