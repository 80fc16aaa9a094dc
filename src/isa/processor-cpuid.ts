import { X86_CR4_OSXSAVE, X86_CR4_PKE } from './control-registers.ts'
import type { CpuidRegisters, CpuModel } from './cpu-model.ts'
import { compactedSize, standardSize } from './xstate-layout.ts'

/** What CPUID's answer depends on besides the model. */
export interface ProcessorState {
  /** x2APIC id of the executing logical processor; processors are numbered 0..logicalProcessors-1. */
  readonly apicId: number
  readonly logicalProcessors: number
  /** Hyper-threads of a core; their ids follow each other. Default 1. */
  readonly threadsPerCore?: number
  /** Low 32 bits. */
  readonly cr4: number
  readonly xcr0: number
  readonly xss: number
  /** Intel reports SYSCALL only to 64-bit code (SDM Vol. 2A CPUID 80000001H EDX[11]). */
  readonly in64BitMode: boolean
}

/**
 * CPUID as one logical processor of a machine executes it: the model's static value with the topology of one package, OSXSAVE,
 * OSPKE, APIC id and the XSAVE sizes of the moment. SDM Vol. 2A "CPUID", XSAVE-50.
 */
export function processorCpuid(model: CpuModel, state: ProcessorState, leaf: number, subleaf: number): CpuidRegisters {
  const raw = model.cpuid(leaf, subleaf)
  const inRange = leaf <= (leaf >= 0x80000000 ? model.maxExtendedLeaf : model.maxBasicLeaf)
  if (!inRange) return raw
  const answer = runtimeAnswers.get(leaf)
  return answer === undefined ? raw : answer(raw, model, state, subleaf)
}

/** Bits needed for the ids of `count` things: their ids are 0..count-1. */
const idBits = (count: number): number => (count <= 1 ? 0 : 32 - Math.clz32(count - 1))

type Answer = (raw: CpuidRegisters, model: CpuModel, state: ProcessorState, subleaf: number) => CpuidRegisters

/** Leaf 4 and 8000001DH: first and second level belong to one core, the last level to the package. */
const cacheLeaf: Answer = (raw, model, state) => {
  const level = (raw.eax >>> 5) & 7
  if ((raw.eax & 31) === 0) return raw
  const ids = 1 << idBits(state.logicalProcessors)
  const threads = state.threadsPerCore ?? 1
  const sharing = level >= 3 ? ids - 1 : threads - 1
  const cores = model.vendor === 'GenuineIntel' ? Math.min(ids / threads - 1, 63) : 0
  return { ...raw, eax: (raw.eax | (sharing << 14) | (cores << 26)) >>> 0 }
}

/** Leaves 0BH and 1FH: thread level, core level, then nothing. EDX is the x2APIC id in every subleaf. */
const topologyLeaf: Answer = (raw, model, state, subleaf) => {
  if (model.facts.topologyLeaves === false) return raw
  const edx = state.apicId
  const threads = state.threadsPerCore ?? 1
  if (subleaf === 0) return { eax: idBits(threads), ebx: threads, ecx: 0x100, edx }
  if (subleaf === 1) return { eax: idBits(state.logicalProcessors), ebx: state.logicalProcessors, ecx: 0x201, edx }
  return { eax: 0, ebx: 0, ecx: subleaf & 0xff, edx }
}

const runtimeAnswers: ReadonlyMap<number, Answer> = new Map<number, Answer>([
  [
    1,
    (raw, model, state) => {
      const counts = model.vendor === 'GenuineIntel' || model.has('ht') || state.logicalProcessors > 1
      const ids = counts ? Math.min(1 << idBits(state.logicalProcessors), 255) : 0
      const ebx = (raw.ebx & 0xffff) | (ids << 16) | ((state.apicId & 0xff) << 24)
      const osxsave = state.cr4 & X86_CR4_OSXSAVE ? 1 << 27 : 0
      return { ...raw, ebx: ebx >>> 0, ecx: (raw.ecx | osxsave) >>> 0 }
    },
  ],
  [4, cacheLeaf],
  [
    7,
    (raw, _model, state, subleaf) => {
      if (subleaf !== 0 || (state.cr4 & X86_CR4_PKE) === 0) return raw
      return { ...raw, ecx: (raw.ecx | (1 << 4)) >>> 0 }
    },
  ],
  [
    0xb, // ECX[7:0] is the subleaf asked for, also where there is no topology
    (raw, model, state, subleaf) => {
      const answer = topologyLeaf(raw, model, state, subleaf)
      return subleaf === 0 ? answer : { ...answer, ecx: (answer.ecx & ~0xff) | (subleaf & 0xff) }
    },
  ],
  [
    0xd,
    (raw, model, state, subleaf) => {
      if (model.xcr0Supported === 0 || subleaf > 1) return raw
      if (subleaf === 0) return { ...raw, ebx: standardSize(model.xstate, state.xcr0) }
      const compacts = model.has('xsavec') || model.has('xsaves') || model.emulator.compactedSizeWithoutXsavec
      return { ...raw, ebx: compacts ? compactedSize(model.xstate, state.xcr0 | state.xss) : 0 }
    },
  ],
  [0x1f, topologyLeaf],
  [
    0x80000001,
    (raw, model, state) => {
      if (model.vendor !== 'GenuineIntel' || state.in64BitMode) return raw
      return { ...raw, edx: (raw.edx & ~(1 << 11)) >>> 0 }
    },
  ],
  [
    0x80000008,
    (raw, model, state) => {
      if (model.vendor !== 'AuthenticAMD') return raw
      const bits = idBits(state.logicalProcessors)
      return { ...raw, ecx: ((raw.ecx & ~0xf0ff) | (bits << 12) | ((state.logicalProcessors - 1) & 0xff)) >>> 0 }
    },
  ],
  [0x8000001d, cacheLeaf],
  [
    0x8000001e,
    (raw, model, state) => {
      if (!model.has('topoext')) return raw
      return { eax: state.apicId, ebx: state.apicId & 0xff, ecx: 0, edx: 0 }
    },
  ],
])
