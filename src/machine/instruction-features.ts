import type { CpuModel } from '../isa/cpu-model.ts'
import { type FeatureName, findFeature } from '../isa/cpuid-features.ts'
import { CPUID_FEATURE_NAMES } from './decoder/iced-tables.ts'

/** iced's CPUID feature names that differ from QEMU's in more than case, `_` and `.`; null: every 64-bit processor has it. */
const NAMES: Readonly<Record<string, FeatureName | null>> = {
  INTEL8086: null,
  INTEL8086_ONLY: null,
  INTEL186: null,
  INTEL286: null,
  INTEL286_ONLY: null,
  INTEL386: null,
  INTEL386_ONLY: null,
  INTEL386_A0_ONLY: null,
  INTEL486: null,
  INTEL486_A_ONLY: null,
  UMOV: null,
  IA64: null,
  X64: null,
  CPUID: null,
  FPU: 'fpu',
  FPU287: 'fpu',
  FPU387: 'fpu',
  FPU287XL_ONLY: 'fpu',
  FPU387SL_ONLY: 'fpu',
  MULTIBYTENOP: null,
  PAUSE: null,
  RDPMC: null,
  SMM: null,
  NOP: null,
  DEPRECATED: null,
  HLE_or_RTM: 'rtm',
  SSE3: 'pni',
  SSE4_1: 'sse4.1',
  SSE4_2: 'sse4.2',
  CMPXCHG16B: 'cx16',
  CX8: 'cx8',
  FXSR: 'fxsr',
  LZCNT: 'abm',
  MSR: 'msr',
  SEP: 'sep',
  SYSCALL: 'syscall',
  D3NOW: '3dnow',
  PREFETCHW: null,
  PREFETCHWT1: null,
  CLFSH: 'clflush',
  AVX512_VNNI: 'avx512vnni',
  AVX512_BITALG: 'avx512bitalg',
  AVX512_VBMI: 'avx512vbmi',
  AVX512_VBMI2: 'avx512vbmi2',
  AVX512_IFMA: 'avx512ifma',
  AVX512_VPOPCNTDQ: 'avx512-vpopcntdq',
  AVX512_BF16: 'avx512-bf16',
  AVX512_FP16: 'avx512-fp16',
  AVX512_VP2INTERSECT: 'avx512-vp2intersect',
  AVX512_4FMAPS: 'avx512-4fmaps',
  AVX512_4VNNIW: 'avx512-4vnniw',
  AVX_VNNI: 'avx-vnni',
  AVX_IFMA: 'avx-ifma',
  SHA: 'sha-ni',
  PCLMULQDQ: 'pclmulqdq',
  AES: 'aes',
  MONITOR: 'monitor',
  TBM: 'tbm',
  AMX_TILE: 'amx-tile',
  AMX_INT8: 'amx-int8',
  AMX_BF16: 'amx-bf16',
  AMX_FP16: 'amx-fp16',
  AMX_COMPLEX: 'amx-complex',
  CET_SS: 'shstk',
  CET_IBT: null,
  INVPCID: 'invpcid',
  XSAVE: 'xsave',
  XSAVEC: 'xsavec',
  XSAVEOPT: 'xsaveopt',
  XSAVES: 'xsaves',
  FSGSBASE: 'fsgsbase',
  RDTSCP: 'rdtscp',
  RDPID: 'rdpid',
  PREFETCHI: null,
  CLDEMOTE: 'cldemote',
  SKINIT: 'skinit',
  VMX: 'vmx',
  SVM: 'svm',
  PKU: 'pku',
  SMAP: 'smap',
  MOVBE: 'movbe',
  UINTR: null,
  HRESET: null,
}

/** The model's feature that an iced CPUID feature stands for; null when any x86-64 processor has it; undefined when unknown. */
export function modelFeature(name: string): FeatureName | null | undefined {
  if (name in NAMES) return NAMES[name]
  const qemu = name.toLowerCase()
  for (const candidate of [qemu, qemu.replaceAll('_', '-'), qemu.replaceAll('_', '')]) {
    if (findFeature(candidate) !== undefined) return candidate as FeatureName
  }
  return undefined
}

const resolved = CPUID_FEATURE_NAMES.map(modelFeature)

/** Name of the first feature (iced's numbering) the model lacks or nobody knows, or null when it has them all. */
export function lacksFeature(features: readonly number[], model: CpuModel): string | null {
  for (const f of features) {
    const name = resolved[f]
    if (name === null) continue
    if (name === undefined || !model.has(name)) return CPUID_FEATURE_NAMES[f]
  }
  return null
}
