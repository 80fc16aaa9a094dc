import { type CpuidRegisters, type CpuidRow, type CpuModel, type CpuModelFacts, cpuidRow } from './cpu-model.ts'
import {
  AMD_EDX_ALIASES,
  type CpuidFeature,
  type CpuidRegister,
  type FeatureName,
  features,
  findFeature,
} from './cpuid-features.ts'
import { XSAVE_LEGACY_AND_HEADER } from './xfeatures.ts'
import { gatedComponents } from './xstate-gates.ts'
import { standardSize, type XstateLayout, xstateLayout } from './xstate-layout.ts'

/** A model that contradicts itself: a state component without geometry. Raised while a model is built, never later. */
export class CpuModelInconsistency extends Error {}

type MutableRow = { -readonly [K in keyof CpuidRow]: CpuidRow[K] }

/** Leaves whose answer depends on ECX; in all others ECX is not looked at (SDM Vol. 2A CPUID Table 3-8, APM Vol. 3 App. E). */
const SUBLEAF_SIGNIFICANT: ReadonlySet<number> = new Set([
  4, 7, 0xb, 0xd, 0xf, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1b, 0x1d, 0x1e, 0x1f, 0x20, 0x23, 0x24, 0x8000001d, 0x80000020, 0x80000026,
])

/** Leaves that read as zero without their feature. */
const LEAF_GATES: readonly { readonly leaf: number; readonly feature: FeatureName }[] = [
  { leaf: 5, feature: 'monitor' },
  { leaf: 0x12, feature: 'sgx' },
  { leaf: 0x14, feature: 'intel-pt' },
  { leaf: 0x19, feature: 'key-locker' },
  { leaf: 0x1c, feature: 'arch-lbr' },
  { leaf: 0x1d, feature: 'amx-tile' },
  { leaf: 0x1e, feature: 'amx-tile' },
  { leaf: 0x24, feature: 'avx10' },
  { leaf: 0x8000000a, feature: 'svm' },
]

/** The one palette there is, and its multiplier: SDM Vol. 1 §18.1, CPUID leaves 1DH and 1EH; values XSAVE-45. */
const AMX_LEAVES: readonly CpuidRow[] = [
  cpuidRow(0x1d, 0, 1, 0, 0, 0, 'XSAVE-45: highest palette 1'),
  cpuidRow(0x1d, 1, (1024 << 16) | 8192, (8 << 16) | 64, 16, 0, 'XSAVE-45: 8192 bytes, 1024 a tile, 64 a row, 8 tiles, 16 rows'),
  cpuidRow(0x1e, 0, 0, (64 << 8) | 16, 0, 0, 'XSAVE-45: maxk 16, maxn 64'),
]

const ZERO: CpuidRegisters = Object.freeze({ eax: 0, ebx: 0, ecx: 0, edx: 0 })

const key = (leaf: number, subleaf: number): number => leaf * 4096 + subleaf

const ascii4 = (text: string, at: number): number =>
  (text.charCodeAt(at) | (text.charCodeAt(at + 1) << 8) | (text.charCodeAt(at + 2) << 16) | (text.charCodeAt(at + 3) << 24)) >>> 0

/** CPUID.01H:EAX from display family, model and stepping. */
export function signature(family: number, model: number, stepping: number): number {
  const baseFamily = Math.min(family, 15)
  return (((family - baseFamily) << 20) | ((model >> 4) << 16) | (baseFamily << 8) | ((model & 15) << 4) | stepping) >>> 0
}

/** Working table of rows while a model is put together. */
class RowTable {
  readonly rows = new Map<number, MutableRow>()

  add(row: CpuidRow): void {
    if (!this.rows.has(key(row.leaf, row.subleaf))) this.rows.set(key(row.leaf, row.subleaf), { ...row })
  }
  at(leaf: number, subleaf: number): MutableRow {
    const known = this.rows.get(key(leaf, subleaf))
    if (known !== undefined) return known
    const made: MutableRow = { leaf, subleaf, eax: 0, ebx: 0, ecx: 0, edx: 0, source: 'computed' }
    this.rows.set(key(leaf, subleaf), made)
    return made
  }
  bit(feature: CpuidFeature): boolean {
    const row = this.rows.get(key(feature.leaf, feature.subleaf))
    return row !== undefined && ((row[feature.register] >>> feature.bit) & 1) === 1
  }
  setBit(feature: CpuidFeature, on: boolean): void {
    if (!on && !this.rows.has(key(feature.leaf, feature.subleaf))) return
    const row = this.at(feature.leaf, feature.subleaf)
    const register: CpuidRegister = feature.register
    const mask = 1 << feature.bit
    row[register] = (on ? row[register] | mask : row[register] & ~mask) >>> 0
  }
  zeroLeaf(leaf: number): void {
    for (const [k, row] of this.rows) if (row.leaf === leaf) this.rows.delete(k)
  }
}

function applyAdjustments(facts: CpuModelFacts, table: RowTable, msrs: Map<number, bigint>): void {
  for (const { on = [], off = [], source } of facts.adjustments) {
    const touched = new Set<number>()
    for (const [names, value] of [
      [on, true],
      [off, false],
    ] as const) {
      for (const name of names) {
        const feature = findFeature(name)!
        if (feature.kind === 'msr') {
          const bit = 1n << BigInt(feature.bit)
          const old = msrs.get(feature.msr) ?? 0n
          msrs.set(feature.msr, value ? old | bit : old & ~bit)
        } else {
          table.setBit(feature, value)
          touched.add(key(feature.leaf, feature.subleaf))
        }
      }
    }
    for (const k of touched) {
      const row = table.rows.get(k)
      if (row !== undefined) row.source = `${row.source}; ${source}`
    }
  }
}

/** Identification leaves that follow from names and numbers. */
function addIdentity(facts: CpuModelFacts, table: RowTable): void {
  const leaf0 = table.at(0, 0)
  leaf0.ebx = ascii4(facts.vendor, 0)
  leaf0.edx = ascii4(facts.vendor, 4)
  leaf0.ecx = ascii4(facts.vendor, 8)
  const leaf1 = table.at(1, 0)
  leaf1.eax = signature(facts.family, facts.model, facts.stepping)
  // CLFLUSH line of 8 quadwords; one logical processor; initial APIC id 0.
  leaf1.ebx = 0x00010800
  const ext0 = table.at(0x80000000, 0)
  if (facts.vendor === 'AuthenticAMD') {
    ext0.ebx = leaf0.ebx
    ext0.edx = leaf0.edx
    ext0.ecx = leaf0.ecx
    const ext1 = table.at(0x80000001, 0)
    ext1.eax = leaf1.eax
    ext1.edx = ((ext1.edx & ~AMD_EDX_ALIASES) | (leaf1.edx & AMD_EDX_ALIASES)) >>> 0
  }
  const brand = facts.brand.padEnd(48, '\0')
  for (let i = 0; i < 3; i++) {
    const row = table.at(0x80000002 + i, 0)
    row.eax = ascii4(brand, i * 16)
    row.ebx = ascii4(brand, i * 16 + 4)
    row.ecx = ascii4(brand, i * 16 + 8)
    row.edx = ascii4(brand, i * 16 + 12)
  }
}

/** Leaf 0DH from the geometry; sizes are those of the reset values XCR0 = 1 and IA32_XSS = 0. PERM-04. */
function addXstateLeaf(table: RowTable, layout: XstateLayout, xcr0: number, xss: number, source: string): void {
  const instructions = table.rows.get(key(0xd, 1))?.eax ?? 0
  table.zeroLeaf(0xd)
  if (xcr0 === 0) return
  table.add(cpuidRow(0xd, 0, xcr0, XSAVE_LEGACY_AND_HEADER, standardSize(layout, xcr0), 0, source))
  const compacts = (instructions & 0b1010) !== 0
  table.add(cpuidRow(0xd, 1, instructions, compacts ? XSAVE_LEGACY_AND_HEADER : 0, xss, 0, source))
  for (const c of layout.components) {
    const flags = (c.supervisor ? 1 : 0) | (c.align64 ? 2 : 0) | (c.xfd ? 4 : 0)
    table.add(cpuidRow(0xd, c.nr, c.size, c.offset, flags, 0, source))
  }
}

/** The layout of exactly the components the features bring, placed where this chip's family places them. */
function layoutOf(facts: CpuModelFacts, has: (name: FeatureName) => boolean): XstateLayout {
  if (facts.syntheticXstate) return xstateLayout(facts.xstate)
  let wanted = gatedComponents(has)
  const rows = facts.xstate.filter((r) => ((wanted >>> r.nr) & 1) === 1 && (!r.supervisor || has('xsaves')))
  if (!has('xsaves')) for (const r of facts.xstate) if (r.supervisor) wanted &= ~(1 << r.nr)
  for (const r of rows) wanted &= ~(1 << r.nr)
  if (wanted !== 0) {
    throw new CpuModelInconsistency(`${facts.name}: no known place for state components 0x${(wanted >>> 0).toString(16)}`)
  }
  return xstateLayout(rows.map((r) => (r.xfd && !has('xfd') ? { ...r, xfd: false } : r)))
}

function collectFeatures(table: RowTable, msrs: ReadonlyMap<number, bigint>): Set<FeatureName> {
  const present = new Set<FeatureName>()
  for (const feature of features.values()) {
    if (feature.kind === 'cpuid') {
      if (table.bit(feature)) present.add(feature.name)
    } else if (present.has(feature.gate) && (((msrs.get(feature.msr) ?? 0n) >> BigInt(feature.bit)) & 1n) === 1n) {
      present.add(feature.name)
    }
  }
  return present
}

/** 40000000H..4FFFFFFFH are no chip's: a hypervisor answers, and says by itself how far they go. */
const isHypervisorLeaf = (leaf: number): boolean => leaf >= 0x40000000 && leaf <= 0x4fffffff

/** MXCSR.MM, bit 17, exists with misaligned SSE mode (APM Vol. 1 §4.2.2). SDM Vol. 1 §11.6.6. */
const MXCSR_BITS = 0xffff
const MXCSR_MM = 0x20000

/** Raises the highest leaf so that every row is in range, as QEMU raises `level` and `xlevel` for an added feature. */
function highestLeaf(table: RowTable, extended: boolean, stated: number): number {
  let highest = stated
  for (const row of table.rows.values()) {
    const used = row.eax !== 0 || row.ebx !== 0 || row.ecx !== 0 || row.edx !== 0
    if (isHypervisorLeaf(row.leaf)) continue
    if (used && row.leaf >= 0x80000000 === extended && row.leaf > highest) highest = row.leaf
  }
  return highest
}

/** Computes a model from its facts. Throws `CpuModelInconsistency` if a feature's state has no geometry. */
export function buildCpuModel(facts: CpuModelFacts, spec: string = facts.name): CpuModel {
  const table = new RowTable()
  for (const row of facts.rows) table.add(row)
  const msrs = new Map(facts.msrs.map((m) => [m.index, m.value]))
  applyAdjustments(facts, table, msrs)
  const has = (name: FeatureName): boolean => {
    const feature = findFeature(name)!
    return feature.kind === 'cpuid' && table.bit(feature)
  }
  if (has('amx-tile')) for (const row of AMX_LEAVES) table.add(row)
  for (const gate of LEAF_GATES) if (!has(gate.feature)) table.zeroLeaf(gate.leaf)
  addIdentity(facts, table)
  const xstate = layoutOf(facts, has)
  const xcr0Supported = has('xsave') ? xstate.userMask : 0
  const xssSupported = xstate.supervisorMask
  addXstateLeaf(table, xstate, xcr0Supported, xssSupported, facts.xstateSource)
  const linearAddrBits = has('la57') ? 57 : 48
  const widths = table.at(0x80000008, 0)
  widths.eax = ((widths.eax & ~0xff00) | (linearAddrBits << 8)) >>> 0
  const maxBasicLeaf = highestLeaf(table, false, facts.maxBasicLeaf)
  const maxExtendedLeaf = highestLeaf(table, true, facts.maxExtendedLeaf)
  table.at(0, 0).eax = maxBasicLeaf
  table.at(0x80000000, 0).eax = maxExtendedLeaf
  const present = collectFeatures(table, msrs)
  for (const feature of features.values()) if (feature.kind === 'msr' && !present.has(feature.gate)) msrs.delete(feature.msr)
  const rows = [...table.rows.values()].sort((a, b) => a.leaf - b.leaf || a.subleaf - b.subleaf)
  const byKey = new Map<number, CpuidRegisters>(
    rows.map(({ leaf, subleaf, eax, ebx, ecx, edx }) => [key(leaf, subleaf), Object.freeze({ eax, ebx, ecx, edx })]),
  )
  const beyond = facts.outOfRangeLeaf ?? (facts.vendor === 'GenuineIntel' ? 'highest-basic' : 'zero')
  const cpuid = (leaf: number, subleaf: number): CpuidRegisters => {
    const inRange = leaf <= (leaf >= 0x80000000 ? maxExtendedLeaf : maxBasicLeaf)
    if (isHypervisorLeaf(leaf) && byKey.has(key(leaf, 0))) return byKey.get(key(leaf, 0))!
    if (!inRange && beyond === 'zero') return ZERO
    const asked = inRange ? leaf : maxBasicLeaf
    return byKey.get(key(asked, SUBLEAF_SIGNIFICANT.has(asked) ? subleaf : 0)) ?? ZERO
  }
  return {
    name: facts.name,
    spec,
    vendor: facts.vendor,
    family: facts.family,
    model: facts.model,
    stepping: facts.stepping,
    brand: facts.brand,
    maxBasicLeaf,
    maxExtendedLeaf,
    cpuid,
    has: (feature) => present.has(feature),
    features: present,
    rows,
    xstate,
    xcr0Supported,
    xssSupported,
    maxPhysAddr: widths.eax & 0xff,
    linearAddrBits,
    mxcsrMask: MXCSR_BITS | (present.has('misalignsse') ? MXCSR_MM : 0),
    msrs,
    msrWritable: new Map(facts.msrs.flatMap(({ index, writable }) => (writable === undefined ? [] : [[index, writable]]))),
    emulator: facts.emulator ?? {},
    tscKhz: facts.tscKhz,
    instructionsPerMicrosecond: facts.instructionsPerMicrosecond,
    splitLockDetect: present.has('split-lock-detect') || facts.splitLockDetectByModel === true,
    source: facts.source,
    hasRealDump: facts.hasRealDump,
    omissions: facts.omissions,
    facts,
  }
}
